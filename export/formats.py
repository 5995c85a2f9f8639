"""Graph files of every format, chosen by the suffix of the name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from spikegraph.export.assumptions import NOTHING_ASSUMED, Assumptions
from spikegraph.export.container import container_kind
from spikegraph.export.container.trust import opened
from spikegraph.export.demands import as_asked
from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import load_graph, save_graph
from spikegraph.export.log import LOG
from spikegraph.export.loss import LossReport

AnyGraph = Graph | FloatGraph


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one file format is written and read; either says what it lost."""

    save: Callable[[AnyGraph, Path, Assumptions], LossReport]
    load: Callable[[Path, Assumptions], tuple[AnyGraph, LossReport]]
    continuous: bool = False  # a file holds equations in continuous time, and leaves open how steps are made of it
    analogue: bool = False  # a file may leave open between which numbers its input lies


def _save_hdf5(graph: AnyGraph, path: Path, _: Assumptions) -> LossReport:
    save_graph(graph, path)
    return LossReport(step=f"write {path.name}")


def _load_hdf5(path: Path, asked: Assumptions) -> tuple[AnyGraph, LossReport]:
    graph, losses = as_asked(load_graph(path), asked)
    return graph, LossReport(step=f"read {path.name}", losses=losses)


def _save_netx(graph: AnyGraph, path: Path, assumed: Assumptions) -> LossReport:
    from spikegraph.export.netx import save_netx

    return save_netx(graph, path, assumed)


def _load_netx(path: Path, assumed: Assumptions) -> tuple[AnyGraph, LossReport]:
    from spikegraph.export.netx import load_netx

    return load_netx(path, assumed)


def _save_nir(graph: AnyGraph, path: Path, assumed: Assumptions) -> LossReport:
    from spikegraph.export.nir import save_nir

    return save_nir(graph, path, assumed)


def _load_nir(path: Path, assumed: Assumptions) -> tuple[AnyGraph, LossReport]:
    from spikegraph.export.nir import load_nir

    return load_nir(path, assumed)


OWN, OWN_MARK = ".h5", b"spikegraph"
FORMATS = {
    OWN: Format(save=_save_hdf5, load=_load_hdf5),
    ".net": Format(save=_save_netx, load=_load_netx, analogue=True),
    ".nir": Format(save=_save_nir, load=_load_nir, continuous=True),
}


def looks_like(path: str | os.PathLike[str]) -> str | None:
    """Return the suffix that belongs to what is in a file; None if no format knows it."""
    try:
        with opened(path) as file:
            if file.attrs.get("format") == OWN_MARK:
                return OWN
            return next((suffix for suffix, group in {".nir": "node", ".net": "layer"}.items() if group in file), None)
    except FileFormatError:
        return None


def made_here(path: str | os.PathLike[str]) -> bool:
    """Tell whether spikegraph wrote a graph file of another format."""
    try:
        with opened(path) as file:
            return "node/metadata/spikegraph" in file or file.attrs.get("made_by") == "spikegraph"
    except FileFormatError:
        return False


def save(graph: AnyGraph, path: str | os.PathLike[str], assumed: Assumptions = NOTHING_ASSUMED) -> LossReport:
    """Write a graph in the format that the suffix names; raises `OptionError` for another suffix."""
    return _format(path).save(graph, Path(path), assumed)


def read(path: str | os.PathLike[str], assumed: Assumptions = NOTHING_ASSUMED) -> tuple[AnyGraph, LossReport]:
    """Read a graph in the format that the suffix names, and what was lost; raises `OptionError` for another suffix."""
    own = _format(path)
    try:
        return own.load(Path(path), assumed)
    except FileFormatError:
        suffix = looks_like(path)
        if suffix is None or FORMATS[suffix] is own:
            raise
        what = f"is a {suffix} file by what is in it"
        raise FileFormatError(str(path), what, f"give it a name that ends in {suffix}") from None


def load(path: str | os.PathLike[str], assumed: Assumptions = NOTHING_ASSUMED) -> AnyGraph:
    """Read a graph in the format that the suffix names; raises `OptionError` for another suffix.

    What was assumed and lost goes to the log, so that it is told by whoever reads a file.
    """
    graph, report = read(path, assumed)
    for fact in report.facts:
        LOG.warning("%s: %s", report.step, fact)
    lost = sum(loss.effect != "none" for loss in report.losses)
    if lost:
        LOG.warning("%s: %d attributes are approximated or dropped; spikegraph convert lists them", report.step, lost)
    return graph


def load_integer(path: str | os.PathLike[str]) -> Graph:
    """Read a graph and insist on an integer graph; raises `FileFormatError` for a float graph."""
    graph = load(path)
    if isinstance(graph, FloatGraph):
        what, remedy = "is a float graph, expected an integer graph", "quantize it first: spikegraph convert --chip"
        raise FileFormatError(str(path), what, remedy)
    return graph


def is_float(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file holds a float graph; raises as `load` does."""
    if Path(path).suffix.lower() == OWN:
        return container_kind(path) == "float-graph"
    return isinstance(read(path)[0], FloatGraph)


def is_continuous(path: str | os.PathLike[str]) -> bool:
    """Tell whether the suffix names a format that leaves open how steps are made of continuous time."""
    return _format(path).continuous


def assumed_of(path: str | os.PathLike[str], other: str | os.PathLike[str], assumed: Assumptions) -> Assumptions:
    """Return what is assumed of one of two files: without what the format of the other alone leaves open."""
    own, others = _format(path), _format(other)
    if others.continuous and not own.continuous:
        assumed = replace(assumed, convention=None, dt=None)
    if others.analogue and not own.analogue:
        assumed = replace(assumed, input_range=None)
    return assumed


def require_known(path: str | os.PathLike[str]) -> None:
    """Raise `OptionError` for a suffix that no format has."""
    _format(path)


def require_own(path: str | os.PathLike[str]) -> None:
    """Raise `OptionError` for any suffix but spikegraph's own: of what other formats lose, `convert` tells."""
    if Path(path).suffix.lower() != OWN:
        raise OptionError(str(path), f"is not a {OWN} file", f"write {OWN}, then spikegraph convert")


def _format(path: str | os.PathLike[str]) -> Format:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        what = f"has the suffix {suffix!r}" if suffix else "has no suffix"
        then = ", then spikegraph build --target onnx" if suffix == ".onnx" else ""  # a model cannot be read back
        raise OptionError(str(path), what, f"use one of {', '.join(FORMATS)}{then}")
    return FORMATS[suffix]
