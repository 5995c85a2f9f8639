"""The stage `export`: the network of a training run, in a chip's integers or in floats, as a graph file."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikegraph import __version__
from spikegraph.destination import require_place_for
from spikegraph.export import formats
from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.errors import OptionError
from spikegraph.export.formats import AnyGraph
from spikegraph.export.graph import Graph
from spikegraph.export.loss import LossReport
from spikegraph.export.quantize import QuantizationReport, quantize
from spikegraph.export.rounding import FEW_BITS, weight_bits_of

if TYPE_CHECKING:
    from spikegraph.trainer.own import Maker

FLOATS = "none"  # the chip of networks that compute in floats, as recipes call it


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What came out of an export.

    Parameters
    ----------
    graph : Graph or FloatGraph
    quantization : QuantizationReport, optional
        None: the graph is in floats.
    writing : LossReport
        What the file's format lost.
    """

    graph: AnyGraph
    quantization: QuantizationReport | None
    writing: LossReport

    @property
    def integers(self) -> tuple[Graph, QuantizationReport]:
        """The integer graph, and what quantization changed; raises `OptionError` if the export was in floats."""
        if self.quantization is None or not isinstance(self.graph, Graph):
            raise OptionError("export", "was in floats", "choose another chip than none")
        return self.graph, self.quantization


def export(
    run: str | Path,
    out: str | Path,
    *,
    chip: str | None = None,
    weight_bits: int | None = None,
    fit_clip: bool | None = None,
    module: Maker | None = None,
) -> Exported:
    """Write the network of a training run as a graph to `out`, quantized.

    Parameters
    ----------
    run : path
        Folder of `train`.
    out : path
        Graph file; the suffix chooses the format.
    chip : str, optional
        Chip to quantize for; by default the one it was trained for, or Loihi 1 if it was trained in floats. "none": not
        quantized, a float graph.
    weight_bits : int, optional
        For the chip "generic".
    fit_clip : bool, optional
        Clip weights where that makes their error least; by default for weights of up to 4 bits, unless the network was
        trained with these very weights.
    module : callable, optional
        What `train` was given, for a recipe with method "module".
    """
    from spikegraph.trainer.checkpoint import read_progress
    from spikegraph.trainer.folder import load_run
    from spikegraph.trainer.loop import CHECKPOINT
    from spikegraph.trainer.method import lower_network, readout_of
    from spikegraph.trainer.stopping import is_over

    formats.require_known(out)
    require_place_for(out, "graph", "float-graph")
    if chip == FLOATS and (weight_bits is not None or fit_clip is not None):
        raise OptionError("--chip none", "leaves the weights in floats", "leave --weight-bits and --fit-clip out")
    folder = Path(run)
    recipe, network = load_run(folder, module)
    history = read_progress(folder / CHECKPOINT)["history"]
    trained_for = recipe.quantization
    trained_weights = (trained_for.chip, trained_for.weight_bits)
    if chip is None and trained_for.chip != FLOATS:
        chip, weight_bits = trained_for.chip, weight_bits or trained_for.weight_bits
    onto: Chip | None = None if chip == FLOATS else load_chip(chip or "loihi1", weight_bits=weight_bits)
    provenance: dict[str, Any] = {
        "made_by": f"spikegraph {__version__}",
        "recipe": recipe.to_toml(),
        "seed": recipe.training.seed,
        "data": f"{recipe.data.set}:train",
        "run": str(folder.resolve()),
        "epochs": len(history),
        "epochs_planned": recipe.training.epochs,
        "training_is_over": is_over(recipe.training, history),
        "checkpoint_sha256": sha256((folder / CHECKPOINT).read_bytes()).hexdigest(),
        "trained_for": trained_for.chip,
    }
    if onto is not None:
        if fit_clip is None:
            fit_clip = weight_bits_of(onto) <= FEW_BITS and trained_weights != (chip, weight_bits)
        provenance["fit_clip"] = fit_clip
    network.compute_in(onto)  # clips of weights that were trained for another chip are left out
    floats = lower_network(
        network,
        n_steps=recipe.coding.n_steps,
        coding=recipe.input_coding,
        readout=readout_of(recipe),
        provenance=provenance,
    )
    graph, quantization = (floats, None) if onto is None else quantize(floats, onto, fit_clip=bool(fit_clip))
    return Exported(graph=graph, quantization=quantization, writing=formats.save(graph, out))
