"""A run: what came out when a graph met data, sample by sample, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.hwsim.core_counts import CoreCounts
from spikegraph.hwsim.counts import QUANTITIES, Counts, Until

PER_SAMPLE = ("index", "label", "predicted", "decided", "decision_step")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """The results of N samples.

    Parameters
    ----------
    graph : str
        Content checksum of the graph that ran.
    engine : str
    n_steps, depth : int
        Length of the window; steps by which a chip, where each projection takes one, delays the output.
    index, label : ndarray of int64 (N,)
        Place of each sample in its data set, and its class.
    predicted : ndarray of int64 (N,); decided : ndarray of bool (N,); decision_step : ndarray of int64 (N,)
        See `spikegraph.export.coding.Decision`.
    until : "window" or "decision"
        What was run of each sample. With "decision" nothing is known of what would have followed.
    output_spikes : ndarray of int64 (N, neurons that are read), or None
        Spikes over the window, of one output after the other; None if `until` is "decision".
    counts : Counts
    dense_macs : mapping of projection → int
        Multiply-accumulates of a dense network of the same shape, once (a dense SNN would do them in every step).
    output : str
        The population that was read, of several the deepest: a decision waits for it. "" in files of before 23
        November 2026.
    projections : mapping of projection → (str, str)
        Which of `CORE_QUANTITIES` its synaptic operations are, and the population in which it ends.
    cores : CoreCounts, optional
        What was counted on the chip on which the graph was placed.
    traces : mapping of population → variable → ndarray (T, N, *shape)
        x, u, v, s and v_before_reset of the populations asked for. Those in a file are a `run_file.Recording`, which
        reads them when they are asked for.
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
    output_spikes: Array | None
    counts: Counts
    dense_macs: Mapping[str, int]
    until: Until = "window"
    output: str = ""
    projections: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    cores: CoreCounts | None = None
    traces: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def accuracy(self) -> float:
        """Share of samples that were decided, and rightly: a tie or silence is wrong."""
        return float((self.decided & (self.predicted == self.label)).mean())

    @cached_property
    def core_sums(self) -> dict[Until, dict[str, Array]]:
        """Counts of each core over all samples, see `CoreCounts.sums`; read once, because they may lie in a file."""
        return self.cores.sums(self.decision_step) if self.cores is not None else {}

    def summary(self) -> dict[str, Any]:
        """Return the main figures as plain JSON: means per sample, over the window (if known) and until decision."""

        def means(*, until_decision: bool) -> dict[str, float]:
            nodes = {quantity: self.counts.mean(quantity, until_decision=until_decision) for quantity in QUANTITIES}
            if self.cores is None:
                return nodes
            on_chip = self.core_sums["decision" if until_decision else "window"]
            hops = on_chip["hops_east_west"].sum() + on_chip["hops_north_south"].sum()
            messages = {name: on_chip[name].sum() / len(self) for name in ("messages", "messages_in")}
            return nodes | messages | {"hops": hops / len(self)}

        macs, whole = sum(self.dense_macs.values()), self.until == "window"
        window = {"window": means(until_decision=False)} if whole else {}
        totals = {quantity: self.counts.total(quantity) for quantity in ("wraps", "saturations")} if whole else {}
        return {
            "samples": len(self),
            "accuracy": self.accuracy,
            "undecided": int((~self.decided).sum()),
            "n_steps": self.n_steps,
            "until": self.until,
            "decision_latency_steps": {
                "mean": float(self.decision_step.mean() + 1),
                "with_pipeline_depth": float(self.decision_step.mean() + 1 + self.depth),
            },
            "per_sample": {**window, "until_decision": means(until_decision=True)},
            "dense_macs": {"once": macs, "every_step": macs * self.n_steps},
            **totals,
            "engine": self.engine,
            "graph": self.graph,
        }

    @classmethod
    def concatenate(cls, parts: Sequence[Run]) -> Run:
        """Join runs of consecutive batches."""
        first = parts[0]
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in PER_SAMPLE}
        spikes = [p.output_spikes for p in parts if p.output_spikes is not None]
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
            until=first.until,
            output=first.output,
            projections=first.projections,
            cores=CoreCounts.concatenate([p.cores for p in parts if p.cores is not None]),
            output_spikes=np.concatenate(spikes) if spikes else None,
            traces=traces,
            provenance=first.provenance,
            **joined,
        )
