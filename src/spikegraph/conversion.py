"""The stages `convert` and `diff`: graphs from one file format to another, and what was lost on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spikegraph import __version__
from spikegraph.destination import require_place_for
from spikegraph.export import formats
from spikegraph.export.assumptions import Assumptions
from spikegraph.export.check import require_legal
from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.diff import Difference, differences
from spikegraph.export.errors import OptionError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import AnyGraph
from spikegraph.export.graph import Graph
from spikegraph.export.loss import LossReport
from spikegraph.export.quantize import QuantizationReport, quantize
from spikegraph.hwsim.calibrate import quantize_calibrated
from spikegraph.hwsim.calibration import Calibration
from spikegraph.hwsim.simulate import rasters_of, samples_per_batch
from spikegraph.progress import Progress, silent
from spikegraph.trainer.data import Split, load_split

CALIBRATION_SAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a graph on its way from one file to another.

    Parameters
    ----------
    reading, writing : LossReport
        What each of the two formats lost.
    quantization : QuantizationReport, optional
        What the chip's integers changed, where a float graph was brought onto a chip.
    calibration : Calibration, optional
        What was measured on calibration data.
    written : str, optional
        The new file; None: nothing was written, because something was lost, and nothing was to be.
    """

    reading: LossReport
    writing: LossReport
    quantization: QuantizationReport | None
    calibration: Calibration | None
    written: str | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "written": self.written,
            "reading": self.reading.to_json(),
            "quantization": self.quantization.to_json() if self.quantization else None,
            "calibration": self.calibration.to_json() if self.calibration else None,
            "writing": self.writing.to_json(),
        }


def convert(
    path: str | Path,
    out: str | Path,
    *,
    chip: str | None = None,
    weight_bits: int | None = None,
    assumed: Assumptions | None = None,
    calibrate: str | Split | None = None,
    data_dir: str | Path | None = None,
    samples: int | None = None,
    coding: InputCoding | None = None,
    readout: Literal["count", "membrane", "first_spike"] | None = None,
    strict: bool = False,
    progress: Progress = silent,
) -> Conversion:
    """Read a graph in the format of one suffix and write it in the format of another.

    Parameters
    ----------
    path, out : path
        Graph files: .h5, .nir, .net.
    chip : str, optional
        Quantize a float graph for this chip; of an integer graph: refuse it if it is not legal there.
    weight_bits : int, optional
        For the chip "generic".
    assumed : Assumptions, optional
        What the format leaves open.
    calibrate : str or Split, optional
        "mnist:train", …, or samples in memory: choose scales that keep the spikes on this data (see
        `quantize_calibrated`). Not the data that accuracy is to be told on.
    data_dir : path, optional
        Folder (or archive) of the data set's files.
    samples : int, optional
        As many are calibrated on, the first; `CALIBRATION_SAMPLES` unless said.
    coding : InputCoding, optional
        How data become spikes, in place of what the file says.
    readout : optional
        How the output becomes a decision, likewise; by default, where the file says nothing and there is one output:
        "count" of its spikes, or "membrane" of its potential.
    strict : bool
        Write nothing if reading or writing loses anything. What quantization changes is no loss: it was asked for.
    progress : callable(what, done, total)

    Raises
    ------
    SpikegraphError
        A file cannot be read or written, or the target format cannot hold the graph at all.
    """
    target = Path(out)
    formats.require_known(target)
    require_place_for(out, "graph", "float-graph", not_of=[path])
    if chip is None and weight_bits is not None:
        raise OptionError("--weight-bits", "is of the chip generic, and none is named", "add --chip generic")
    for option, given in (("--samples", samples), ("--data-dir", data_dir)):
        if given is not None and calibrate is None:
            raise OptionError(
                option, "is for calibration, and no data is named", "add --calibrate, such as mnist:train"
            )
    profile = load_chip(chip, weight_bits=weight_bits) if chip else None
    progress(f"read {path}", 0, 1)
    terms = assumed or Assumptions()
    of_out_only = formats.is_continuous(out) and not formats.is_continuous(path)
    graph, reading = formats.read(path, replace(terms, convention=None, dt=None) if of_out_only else terms)
    graph, facts = _decided(graph, coding, readout)
    reading = replace(reading, facts=(*reading.facts, *facts))
    quantized: QuantizationReport | None = None
    calibration: Calibration | None = None
    if calibrate is not None and (profile is None or not isinstance(graph, FloatGraph)):
        what = "is for quantizing a float graph"
        raise OptionError("--calibrate", what, "add --chip" if profile is None else "leave it out: these are integers")
    if profile is not None and isinstance(graph, FloatGraph):
        progress(f"quantize for {chip}", 0, 1)
        if calibrate is None:
            graph, quantized = quantize(graph, profile)
        else:
            split = load_split(calibrate, data_dir, CALIBRATION_SAMPLES if samples is None else samples)
            graph, calibration = _calibrated(graph, profile, split, progress)
            quantized = calibration.quantization
    elif profile is not None:
        require_legal(graph, profile)
    provenance = {**graph.provenance, "converted_by": f"spikegraph {__version__}", "converted_from": str(path)}
    graph = replace(graph, provenance=provenance)
    progress(f"write {out}", 0, 1)
    kept = True
    if strict:  # what a format loses is known once it has written
        with tempfile.TemporaryDirectory() as folder:
            writing = formats.save(graph, Path(folder) / target.name, terms)
        kept = reading.lossless and writing.lossless
    if kept:
        writing = formats.save(graph, target, terms)
    progress(f"write {out}", 1, 1)
    return Conversion(
        reading=reading,
        quantization=quantized,
        calibration=calibration,
        writing=writing,
        written=str(out) if kept else None,
    )


def _calibrated(graph: FloatGraph, chip: Chip, split: Split, progress: Progress) -> tuple[Graph, Calibration]:
    batches = list(split.batches(next(iter(graph.inputs.values())).shape, samples_per_batch(graph)))
    rasters = (rasters_of(graph, x, index) for x, _, index in batches)
    label = np.concatenate([label for _, label, _ in batches])
    return quantize_calibrated(graph, chip, rasters, label=label, progress=progress)


def diff(a: str | Path, b: str | Path, assumed: Assumptions | None = None) -> list[Difference]:
    """Compare two graph files of any format; see `spikegraph.export.diff.differences`.

    What is assumed is assumed of both; but what only the format of one leaves open is of that one.
    """
    terms = assumed or Assumptions()
    pairs = ((a, b), (b, a))
    return differences(*(formats.load(one, formats.assumed_of(one, other, terms)) for one, other in pairs))


def _decided(graph: AnyGraph, coding: InputCoding | None, readout: str | None) -> tuple[AnyGraph, Sequence[str]]:
    """Give a graph a code and a readout where it has none, or others are asked for."""
    facts = []
    if coding is not None:
        inputs = {
            name: replace(node, min_value=min(coding.largest, 0), max_value=max(coding.largest, 0))
            for name, node in graph.inputs.items()
        }
        graph = replace(graph, coding=coding, inputs=inputs)
    if readout is not None or (coding is not None and graph.readout is None and len(graph.outputs) == 1):
        if len(graph.outputs) != 1:
            what = f"has {len(graph.outputs)} outputs ({', '.join(graph.outputs)})"
            raise OptionError("--readout", what, "is for graphs of one output")
        ((name, output),) = graph.outputs.items()
        kind = readout or ("membrane" if output.variable == "v" else "count")
        graph = replace(graph, readout=Readout(kind=kind, output=name))  # type: ignore[arg-type]
        why = "as nothing else is said (--readout)" if readout is None else "as asked for"
        facts.append(f"readout: {kind} of {name}, {why}")
    return graph, facts
