"""Runs that were recorded elsewhere, as places: a run file, what a built folder wrote, NumPy arrays, NIR data.

A recording may hold some of the populations and some of "s", "u" and "v". Its steps are those of each population, or
those of a pipeline that nobody took apart: then it is as many steps longer as the graph is deep.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.container import MAX_BYTES, container_kind
from spikegraph.export.errors import FileFormatError, GraphError, TargetError
from spikegraph.export.graph import Graph
from spikegraph.export.order import depths
from spikegraph.hwsim.run_file import load_run, samples_of, shape_of
from spikegraph.targets.places import VARIABLES, Execution

SUFFIXES = (".h5", ".npz", ".npy")
_LAVA = "spikegraph_recording"  # attribute of a file that a built folder wrote
_AGAIN = "record it again"
# What a peer's classes call them.
_SYNONYMS = {
    "spikes": "s",
    "spike": "s",
    "output": "s",
    "voltage": "v",
    "voltages": "v",
    "current": "u",
    "currents": "u",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """A recording, as a place: called with a graph, it returns what it holds of the samples chosen.

    Parameters
    ----------
    name : str
    shapes : mapping of population → variable → shape (T, N, …)
    read : callable(population, variable, first, last) → ndarray (T, samples, …)
    input_shapes, read_input : the same of the inputs that were recorded, if any
    index : ndarray of int (N,), optional
        Place of each sample in its data set.
    graph, data : str
        Content checksum of the graph that ran, and the data set, where they are known.
    first, last : int
        Samples chosen; by default all.
    """

    name: str
    shapes: Mapping[str, Mapping[str, Shape]]
    read: Callable[[str, str, int, int], Array]
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    read_input: Callable[[str, int, int], Array] | None = None
    index: Array | None = None
    graph: str = ""
    data: str = ""
    first: int = 0
    last: int | None = None

    @property
    def n_samples(self) -> int:
        """Number of samples, all of them."""
        return min(shape[1] for traces in self.shapes.values() for shape in traces.values())

    def samples(self, first: int, last: int) -> Recorded:
        """Return the same with these samples chosen, `last` not included."""
        return replace(self, first=first, last=last)

    def __call__(self, graph: Graph, rasters: Mapping[str, Array]) -> Execution:
        """Return what was recorded of the graph's populations.

        Raises
        ------
        TargetError
            It is not of this graph, or of other input.
        """
        strange = [name for name in self.shapes if name not in graph.populations]
        if strange:
            known = ", ".join(graph.populations)
            raise TargetError(self.name, f"holds {', '.join(strange)}, and the graph has {known}", "name them alike")
        last = self.n_samples if self.last is None else self.last
        if last > self.n_samples:
            raise TargetError(self.name, f"holds {self.n_samples} samples, {last} are compared", "compare fewer")
        self._require_input(graph, rasters)
        starts = _pipeline_starts(graph)
        return {
            name: {v: self._aligned(graph, name, v, shape, starts, last) for v, shape in traces.items()}
            for name, traces in self.shapes.items()
        }

    def rasters(self, graph: Graph) -> dict[str, Array]:
        """Return the recorded input of the samples chosen, by input → ndarray of int16 (T, samples, *shape)."""
        last, found = self.n_samples if self.last is None else self.last, {}
        for name, node in graph.inputs.items():
            shape = self.input_shapes.get(name)
            if shape is None or self.read_input is None:
                raise TargetError(self.name, f"holds no spikes of input {name}", "say which data it is of, with --data")
            expected = (graph.n_steps, shape[1], *node.shape)
            if shape != expected:
                raise TargetError(self.name, f"holds input {name} of shape {shape}, expected {expected}", _AGAIN)
            found[name] = _whole(self.read_input(name, self.first, last), f"input {name}", self.name).astype(np.int16)
        return found

    def _require_input(self, graph: Graph, rasters: Mapping[str, Array]) -> None:
        if not self.input_shapes:
            return
        for name, own in self.rasters(graph).items():
            different = np.moveaxis(own != rasters[name], 0, 1)
            if different.any():
                sample, step, *line = (int(i) for i in np.unravel_index(int(different.argmax()), different.shape))
                at = (step, sample, *line)
                where = f"sample {sample}, step {step}, line {line[0] if len(line) == 1 else tuple(line)} of {name}"
                what = f"was recorded on other input: at {where} it has {own[at]}, here is {rasters[name][at]}"
                raise TargetError(self.name, what, "compare on its own input (leave out --data), or record it again")

    def _aligned(
        self, graph: Graph, name: str, variable: str, shape: Shape, starts: Mapping[str, int], last: int
    ) -> Array:
        n_steps, node = graph.n_steps, graph.populations[name]
        whole = n_steps + max(starts.values())
        if len(shape) < 3 or prod(shape[2:]) != node.n or shape[0] not in (n_steps, whole):
            expected = f"({n_steps}, samples, {', '.join(map(str, node.shape))})"
            pipeline = f", or of {whole} steps as a pipeline" if whole > n_steps else ""
            raise TargetError(
                self.name, f"holds {name}.{variable} of shape {shape}, expected {expected}{pipeline}", _AGAIN
            )
        array = self.read(name, variable, self.first, last)
        if shape[0] != n_steps:
            array = array[starts[name] : starts[name] + n_steps]
        array = _whole(array, f"{name}.{variable}", self.name)
        return array.reshape(n_steps, last - self.first, *node.shape)


def _pipeline_starts(graph: Graph) -> dict[str, int]:
    """Step of a pipeline in which each population begins."""
    if any(p.start_step for p in graph.populations.values()):
        return {name: p.start_step for name, p in graph.populations.items()}
    try:
        depth = depths(graph)
    except GraphError:  # a loop that no pipeline can turn
        return dict.fromkeys(graph.populations, 0)
    return {name: depth[name] for name in graph.populations}


def _whole(array: Array, what: str, where: str) -> Array:
    if array.dtype.kind in "biu":
        return array
    if array.dtype.kind != "f" or not np.isfinite(array).all() or (array != np.round(array)).any():
        remedy = "record the integers; how alike floats are, `--against torch-float` tells of a trained network"
        raise TargetError(where, f"holds {what} of {array.dtype} that are not whole numbers", remedy)
    return array.astype(np.int64)


def is_recording(name: str) -> bool:
    """Tell whether what is to be compared is the name of a file."""
    return Path(name).suffix.lower() in SUFFIXES


def read_recording(path: str | os.PathLike[str], graph: Graph) -> Recorded:
    """Open a recording; what it holds is read when it is compared.

    Parameters
    ----------
    path : path
        A run file of `spikegraph simulate --record`, an .h5 file that a built folder wrote, an .npz file with arrays
        (T, N, …) called POPULATION.s, POPULATION.u, POPULATION.v (and inputs.NAME), or an .npy file with the spikes of
        the graph's output.
    graph : Graph
        For .npy: says which population that is.

    Raises
    ------
    FileFormatError
        There is no such file, or it is none of these, or damaged.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is not there"
        raise FileFormatError(str(path), what, "name a file that was recorded")
    suffix = file.suffix.lower()
    if suffix == ".npy":
        output = next(iter(graph.outputs.values())).population
        try:
            spikes = np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy evaluates a header as Python's literals: it can end in nearly any
            raise FileFormatError(str(path), "is not a whole array of numbers", "save it with np.save") from error
        return recorded({output: {"s": spikes}}, name=file.name)
    return _read_npz(file) if suffix == ".npz" else _read_hdf5(file)


def recorded(
    traces: Mapping[str, Mapping[str, Any]], *, name: str = "recording", inputs: Mapping[str, Any] | None = None
) -> Recorded:
    """Make a place of arrays.

    Parameters
    ----------
    traces : mapping of population → "s", "u", "v" → ndarray (T, N, …)
    name : str
    inputs : mapping of input → ndarray (T, N, …), optional
    """
    given = inputs or {}
    if not all(isinstance(trace, Mapping) for trace in traces.values()):
        raise TargetError(name, "is not population → variable → array", 'give such as {"output": {"s": spikes}}')
    for what, array in [(f"{p}.{v}", a) for p, t in traces.items() for v, a in t.items()] + [*given.items()]:
        if np.ndim(array) < 2:
            raise TargetError(name, f"holds {what} of shape {np.shape(array)}", "give arrays (steps, samples, …)")
    unknown = [f"{p}.{v}" for p, t in traces.items() for v in t if v not in VARIABLES]
    if unknown or not any(traces.values()):
        what = f"holds {', '.join(unknown)}" if unknown else "holds no population"
        raise TargetError(name, what, f"name arrays POPULATION.{', POPULATION.'.join(sorted(VARIABLES))}")
    return Recorded(
        name=name,
        shapes={p: {v: np.shape(a) for v, a in t.items()} for p, t in traces.items()},
        read=lambda population, variable, first, last: np.asarray(traces[population][variable][:, first:last]),
        input_shapes={n: np.shape(a) for n, a in given.items()},
        read_input=lambda which, first, last: np.asarray(given[which][:, first:last]),
    )


def recorded_nir(data: Any, name: str = "NIR data") -> Recorded:
    """Make a place of a peer's recording in the NIR data classes.

    Parameters
    ----------
    data : nir.data_ir.NIRGraphData
        Its nodes are called like the graph's populations; observables "spikes" (or "s"), "voltages" ("v") and
        "currents" ("u") as `TimeGriddedData` (samples, steps, neurons).
    name : str
    """
    traces: dict[str, dict[str, Array]] = {}
    for population, node in data.nodes.items():
        for observable, values in node.observables.items():
            if not hasattr(values, "data"):
                remedy = "bring it to the grid of steps first: to_time_gridded(dt)"
                raise TargetError(name, f"holds {population}.{observable} as events", remedy)
            variable = _SYNONYMS.get(observable.lower(), observable)
            traces.setdefault(population, {})[variable] = np.moveaxis(values.data, 0, 1)
    return recorded(traces, name=name)


def _read_npz(file: Path) -> Recorded:
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise FileFormatError(str(file), f"holds {size:,} bytes, more than {MAX_BYTES:,}", "record fewer samples")
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileFormatError:
        raise
    except Exception as error:  # as above
        raise FileFormatError(str(file), "is not a whole .npz file of numbers", "save it with np.savez") from error
    traces: dict[str, dict[str, Array]] = {}
    inputs: dict[str, Array] = {}
    for key, array in arrays.items():
        population, _, variable = key.rpartition(".")
        if population == "inputs":
            inputs[variable] = array
        else:
            traces.setdefault(population or variable, {})[variable if population else "s"] = array
    return recorded(traces, name=file.name, inputs=inputs)


def _read_hdf5(file: Path) -> Recorded:
    try:
        with h5py.File(file) as opened:
            by_folder = _LAVA in opened.attrs
            traces = {p: dict(t) for p, t in opened["recording"].items()} if by_folder else {}
            shapes = {p: {v: tuple(d.shape) for v, d in t.items()} for p, t in traces.items()}
            checksum = str(opened.attrs.get("graph", ""))
            given = {n: tuple(d.shape) for n, d in opened["inputs"].items()} if by_folder and "inputs" in opened else {}
    except (OSError, LookupError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise FileFormatError(str(file), f"is not a recording ({error})", _AGAIN) from error
    if by_folder:
        if not shapes or any(v not in VARIABLES or len(s) < 2 for t in shapes.values() for v, s in t.items()):
            raise FileFormatError(str(file), "holds no s, u or v of a population", _AGAIN)
        return Recorded(
            name=file.name,
            shapes=shapes,
            read=lambda population, variable, a, b: _slice(file, f"recording/{population}/{variable}", a, b),
            input_shapes=given,
            read_input=lambda name, a, b: _slice(file, f"inputs/{name}", a, b),
            graph=checksum,
        )
    if container_kind(file) != "run":
        what = f"is a {container_kind(file)}, not a run"
        raise FileFormatError(str(file), what, "record one: spikegraph simulate GRAPH -o run.h5 --record POPULATION")
    run = load_run(file)
    if not run.traces:
        remedy = "name populations: spikegraph simulate GRAPH -o run.h5 --record POPULATION"
        raise FileFormatError(str(file), "is a run without recorded populations", remedy)

    return Recorded(
        name=file.name,
        shapes={p: {v: shape_of(trace, v) for v in VARIABLES} for p, trace in run.traces.items()},
        read=lambda population, variable, first, last: samples_of(run.traces[population], variable, first, last),
        index=run.index,
        graph=run.graph,
        data=_said_of(run.provenance),
    )


def _said_of(provenance: Mapping[str, Any]) -> str:
    noise, data = provenance.get("noise"), str(provenance.get("data", ""))
    return f"{data} with noise {noise['kind']}:{noise['amount']}" if isinstance(noise, dict) else data


def _slice(file: Path, where: str, first: int, last: int) -> Array:
    try:
        with h5py.File(file) as opened:
            return np.asarray(opened[where][:, first:last])
    except (OSError, LookupError, RuntimeError, ValueError) as error:
        raise FileFormatError(str(file), f"cannot be read any more ({error})", _AGAIN) from error
