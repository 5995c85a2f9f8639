"""A run: what came out when a graph met data, sample by sample, and what it cost. Kept in a file of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.container import Json, read_container, write_container
from spikegraph.export.errors import FileFormatError
from spikegraph.hwsim.counts import QUANTITIES, Counts

_PER_SAMPLE = ("index", "label", "predicted", "decided", "decision_step")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The results of N samples.

    Parameters
    ----------
    graph : str
        Content checksum of the graph that ran.
    engine : str
    n_steps, depth : int
        Length of the window; steps that a pipelined graph takes beyond it.
    index, label : ndarray of int64 (N,)
        Place of each sample in its data set, and its class.
    predicted : ndarray of int64 (N,); decided : ndarray of bool (N,); decision_step : ndarray of int64 (N,)
        See `spikegraph.export.coding.Decision`.
    output_spikes : ndarray of int64 (N, n_outputs)
        Spikes of the output population over the window.
    counts : Counts
    dense_macs : mapping of projection → int
        Multiply-accumulates of a dense network of the same shape, once (a dense SNN would do them in every step).
    traces : mapping of population → variable → ndarray (T, N, *shape)
        x, u, v, s and v_before_reset of the populations asked for.
    provenance : mapping
        What was run on what: plain JSON.
    """

    graph: str
    engine: str
    n_steps: int
    depth: int
    index: Array
    label: Array
    predicted: Array
    decided: Array
    decision_step: Array
    output_spikes: Array
    counts: Counts
    dense_macs: Mapping[str, int]
    traces: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def accuracy(self) -> float:
        """Share of samples that were decided, and rightly: a tie or silence is wrong."""
        return float((self.decided & (self.predicted == self.label)).mean())

    def summary(self) -> dict[str, Any]:
        """Return the main figures as plain JSON: means per sample, over the window and until decision."""

        def means(*, until_decision: bool) -> dict[str, float]:
            return {quantity: self.counts.mean(quantity, until_decision=until_decision) for quantity in QUANTITIES}

        macs = sum(self.dense_macs.values())
        return {
            "samples": len(self),
            "accuracy": self.accuracy,
            "undecided": int((~self.decided).sum()),
            "n_steps": self.n_steps,
            "decision_latency_steps": {
                "mean": float(self.decision_step.mean() + 1),
                "with_pipeline_depth": float(self.decision_step.mean() + 1 + self.depth),
            },
            "per_sample": {"window": means(until_decision=False), "until_decision": means(until_decision=True)},
            "dense_macs": {"once": macs, "every_step": macs * self.n_steps},
            "wraps": self.counts.total("wraps"),
            "saturations": self.counts.total("saturations"),
            "engine": self.engine,
            "graph": self.graph,
        }

    @classmethod
    def concatenate(cls, parts: Sequence[Run]) -> Run:
        """Join runs of consecutive batches."""
        first = parts[0]
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in (*_PER_SAMPLE, "output_spikes")}
        traces = {
            population: {name: np.concatenate([p.traces[population][name] for p in parts], axis=1) for name in kept}
            for population, kept in first.traces.items()
        }
        return cls(
            graph=first.graph,
            engine=first.engine,
            n_steps=first.n_steps,
            depth=first.depth,
            counts=Counts.concatenate([p.counts for p in parts]),
            dense_macs=first.dense_macs,
            traces=traces,
            provenance=first.provenance,
            **joined,
        )


def save_run(run: Run, path: str | os.PathLike[str]) -> None:
    """Write a run to a spikegraph file; raises `FileFormatError` if it cannot be written."""
    tree: dict[str, Any] = {name: getattr(run, name) for name in (*_PER_SAMPLE, "output_spikes")}
    tree |= {"graph": run.graph, "engine": run.engine, "n_steps": run.n_steps, "depth": run.depth}
    tree |= {"counts": {"window": _copied(run.counts.window), "until_decision": _copied(run.counts.until_decision)}}
    tree |= {"dense_macs": dict(run.dense_macs), "traces": _copied(run.traces)}
    write_container(path, "run", {**tree, "provenance": Json(value=dict(run.provenance))})


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run from a spikegraph file.

    Raises
    ------
    FileFormatError
        The file is not a run, is damaged, or lacks something.
    """
    tree = read_container(path, "run")
    try:
        n_samples = len(tree["index"])
        per_sample: dict[str, Any] = {name: np.asarray(tree[name]) for name in (*_PER_SAMPLE, "output_spikes")}
        if any(len(array) != n_samples for array in per_sample.values()):
            raise ValueError("its arrays have different lengths")
        counts = Counts(window=tree["counts"]["window"], until_decision=tree["counts"]["until_decision"])
        plain = {name: tree[name] for name in ("graph", "engine", "n_steps", "depth", "dense_macs", "traces")}
        return Run(counts=counts, provenance=tree["provenance"], **plain, **per_sample)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(str(path), f"is not a whole run ({error})", "simulate again") from error


def _copied(nested: Mapping[str, Mapping[str, Array]]) -> dict[str, dict[str, Array]]:
    return {outer: dict(inner) for outer, inner in nested.items()}
