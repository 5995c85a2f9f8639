"""Run files: written as the batches of a run come, read back with the traces left where they are.

In the file a trace begins with the samples, (N, T, *shape), so that it grows as samples come; in Python, as everywhere,
with the steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.container import ContainerWriter, Json, StoredArray, read_container
from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.hwsim.core_counts import CoreCounts
from spikegraph.hwsim.counts import QUANTITIES, UNTIL, Counts
from spikegraph.hwsim.placement import Placement
from spikegraph.hwsim.run import PER_SAMPLE, Run
from spikegraph.hwsim.tally import CORE_QUANTITIES, SOPS

SUFFIX = ".h5"
_TRACES, _CORES, _CORE_COUNTS = "recorded", "cores", "cores/counts"
_AT_ONCE = 32 << 20  # bytes of traces that are copied from one file to another at once


class Recording(Mapping[str, Array]):
    """The traces of one population in a run file: variable → ndarray (T, N, *shape), read when it is asked for."""

    def __init__(self, stored: Mapping[str, StoredArray]) -> None:
        self._stored = dict(stored)

    def __getitem__(self, variable: str) -> Array:
        return self.samples(variable)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def sample_bytes(self) -> int:
        """Size of one sample, all variables."""
        return sum(array.dtype.itemsize * prod(array.shape[1:]) for array in self._stored.values())

    def shape(self, variable: str) -> Shape:
        """Shape of a variable of all samples: (T, N, *shape)."""
        n, n_steps, *shape = self._stored[variable].shape
        return (n_steps, n, *shape)

    def samples(self, variable: str, first: int = 0, last: int | None = None) -> Array:
        """Read samples `first` up to, not including, `last`: ndarray (T, samples, *shape).

        Raises
        ------
        FileFormatError
            The file is gone, or was replaced by another.
        """
        return np.moveaxis(self._stored[variable].read(first, last), 0, 1)


class RunFile:
    """A run file that is written batch by batch, in a `with` block; until `finish` it has a temporary name.

    Parameters
    ----------
    path : path
        Its suffix must be .h5.

    Raises
    ------
    OptionError
        Another suffix.
    FileFormatError
        The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        require_run_suffix(path)
        self._path, self._writer = Path(path), ContainerWriter(path, "run")
        self._placement: Placement | None = None

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.__exit__(*error)

    def append(self, part: Run) -> Run:
        """Write the traces of a batch and its counts for each core; return the batch without them."""
        for first, last in _blocks(part):
            rows = {
                f"{_TRACES}/{population}/{variable}": np.moveaxis(samples_of(trace, variable, first, last), 1, 0)
                for population, trace in part.traces.items()
                for variable in trace
            }
            if part.cores is not None:
                self._placement = part.cores.placement
                rows[_CORE_COUNTS] = part.cores.samples(first, last)
            self._writer.append(rows)
        return replace(part, traces={}, cores=None)

    def finish(self, run: Run) -> Run:
        """Write the rest and give the file its name; return the run with the traces that the file holds."""
        tree: dict[str, Any] = {name: getattr(run, name) for name in PER_SAMPLE}
        tree |= {name: getattr(run, name) for name in ("graph", "engine", "n_steps", "depth", "until", "output")}
        tree["projections"] = {name: list(kind_and_target) for name, kind_and_target in run.projections.items()}
        counts = {"window": run.counts.window, "until_decision": run.counts.until_decision}
        tree["counts"] = {name: _copied(per_node) for name, per_node in counts.items() if per_node}
        if run.output_spikes is not None:
            tree["output_spikes"] = run.output_spikes
        tree |= {"dense_macs": dict(run.dense_macs), _TRACES: {}, "provenance": Json(value=dict(run.provenance))}
        if self._placement is not None:
            tree |= {"placement": self._placement.to_tree(), _CORES: {}}
        stored = self._writer.finish(tree)
        cores = None
        if self._placement is not None:
            cores = CoreCounts(placement=self._placement, counts=stored.pop(_CORE_COUNTS))
        traces: dict[str, dict[str, StoredArray]] = {}
        for path, array in stored.items():
            _, population, variable = path.split("/")
            traces.setdefault(population, {})[variable] = array
        return replace(run, cores=cores, traces={name: Recording(trace) for name, trace in traces.items()})


def save_run(run: Run, path: str | os.PathLike[str]) -> None:
    """Write a run to a spikegraph file; raises as `RunFile` does."""
    with RunFile(path) as file:
        file.finish(file.append(run))


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run from a spikegraph file; its traces are checked now, and read from the file when they are asked for.

    Raises
    ------
    FileFormatError
        The file is not a run, is damaged, or lacks something.
    """
    tree = read_container(path, "run", leave=(_TRACES, _CORES))
    try:
        per_sample: dict[str, Any] = {name: np.asarray(tree[name]) for name in PER_SAMPLE}
        until = tree.get("until", "window")  # files of before 23 November 2026 do not say
        per_sample["output_spikes"] = np.asarray(tree["output_spikes"]) if until == "window" else None
        counts = Counts(
            window=tree["counts"]["window"] if until == "window" else {},
            until_decision=tree["counts"]["until_decision"],
        )
        n_samples = len(tree["index"])
        _require_samples(per_sample, until, int(tree["n_steps"]))
        _require_counts(counts, until, n_samples)
        traces = tree["traces"] if "traces" in tree else {k: Recording(v) for k, v in tree[_TRACES].items()}
        plain = {name: tree[name] for name in ("graph", "engine", "n_steps", "depth", "dense_macs", "provenance")}
        # Files of before 23 November 2026 do not have these.
        plain["projections"] = {name: (kind, target) for name, (kind, target) in tree.get("projections", {}).items()}
        plain["output"] = str(tree.get("output", ""))
        _require_nodes(counts, plain)
        cores = _cores(tree, n_samples) if "placement" in tree else None
        return Run(counts=counts, until=until, traces=traces, cores=cores, **plain, **per_sample)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise FileFormatError(str(path), f"is not a whole run ({error})", "simulate again") from error


def samples_of(trace: Mapping[str, Array], variable: str, first: int, last: int) -> Array:
    """Return samples `first` up to, not including, `last` of a trace, wherever it is: ndarray (T, samples, *shape)."""
    if isinstance(trace, Recording):
        return trace.samples(variable, first, last)
    return trace[variable][:, first:last]


def shape_of(trace: Mapping[str, Array], variable: str) -> Shape:
    """Return the shape (T, N, *shape) of a trace, wherever it is."""
    return trace.shape(variable) if isinstance(trace, Recording) else np.shape(trace[variable])


def require_run_suffix(path: str | os.PathLike[str]) -> None:
    """Raise `OptionError` unless the name of a run file ends in .h5, whatever its case."""
    suffix = Path(path).suffix
    if suffix.lower() != SUFFIX:
        what = f"has the suffix {suffix!r}" if suffix else "has no suffix"
        raise OptionError(str(path), what, f"a run file is called something{SUFFIX}")


def _require_samples(per_sample: Mapping[str, Any], until: str, n_steps: int) -> None:
    lengths = {len(array) for array in per_sample.values() if array is not None}
    if until not in UNTIL or len(lengths) != 1 or lengths == {0} or any(per_sample[n].ndim != 1 for n in PER_SAMPLE):
        raise ValueError("its samples are none, or its arrays have different lengths")
    for name in PER_SAMPLE:
        if per_sample[name].dtype.kind not in ("b" if name == "decided" else "iu"):
            raise ValueError(f"{name} is of {per_sample[name].dtype}")
    step = per_sample["decision_step"]
    if step.min() < 0 or step.max() >= n_steps:
        raise ValueError(f"a sample was decided in step {step.max()}, of {n_steps}")


def _require_counts(counts: Counts, until: str, n_samples: int) -> None:
    for part in (counts.until_decision, counts.window) if until == "window" else (counts.until_decision,):
        for quantity in QUANTITIES:
            for node, array in part[quantity].items():
                if np.shape(array) != (n_samples,) or array.dtype.kind not in "iu" or array.min() < 0:
                    raise ValueError(f"its {quantity} of {node} are not numbers from 0 on, one a sample")
        populations = set(part["neuron_updates"])
        if set(part["active_updates"]) != populations or not populations <= set(part["spikes"]):
            raise ValueError("what was counted is not of the same populations")


def _require_nodes(counts: Counts, plain: Mapping[str, Any]) -> None:
    """Raise ValueError if what projections are does not go with what was counted."""
    for part in (counts.until_decision, counts.window):
        for name, (kind, target) in plain["projections"].items():
            if part and not (kind in SOPS and name in part["sops"] and target in part["neuron_updates"]):
                raise ValueError(f"nothing was counted for projection {name}: {kind} into {target}")
    if not all(type(macs) is int and macs >= 0 for macs in plain["dense_macs"].values()):
        raise ValueError("its dense_macs are not whole numbers")
    if not all(type(plain[name]) is int and plain[name] >= 0 for name in ("n_steps", "depth")):
        raise ValueError("its steps are not whole numbers")


def _cores(tree: Mapping[str, Any], n_samples: int) -> CoreCounts:
    placement, counts = Placement.from_tree(tree["placement"]), tree[_CORES]["counts"]
    shape = (n_samples, tree["n_steps"], len(CORE_QUANTITIES), placement.n_cores)
    if counts.shape != shape or counts.dtype.kind != "u":
        raise ValueError("its counts of cores have another shape")
    if tree["output"] not in placement.population:
        raise ValueError("the population that was read is on no core")
    return CoreCounts(placement=placement, counts=counts)


def _blocks(run: Run) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of parts of the samples; traces that are in memory already are one part."""
    stored = [trace.sample_bytes for trace in run.traces.values() if isinstance(trace, Recording)]
    n = max(_AT_ONCE // sum(stored), 1) if stored else max(len(run), 1)
    yield from ((first, first + n) for first in range(0, len(run), n))


def _copied(nested: Mapping[str, Mapping[str, Array]]) -> dict[str, dict[str, Array]]:
    return {outer: dict(inner) for outer, inner in nested.items()}
