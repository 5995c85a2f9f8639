"""The families of networks: LIF populations (STL and its kin), one-spike networks (SSTDP), modules of one's own.

The loop and the stages ask here, and know no other difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import RecipeError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph
from spikegraph.trainer import build, lower, own
from spikegraph.trainer import execute as lif
from spikegraph.trainer.losses import LOSSES
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.objective import Objective
from spikegraph.trainer.recipe import OneSpikeRecipe, OwnRecipe, Recipe
from spikegraph.trainer.sstdp import build as one_spike_build
from spikegraph.trainer.sstdp import execute as one_spike
from spikegraph.trainer.sstdp import lower as one_spike_lower
from spikegraph.trainer.sstdp.network import OneSpikeNetwork
from spikegraph.trainer.sstdp.objective import OneSpikeObjective

Network = SpikingNetwork | OneSpikeNetwork


def readout_of(recipe: Recipe) -> Readout:
    """Return the readout of a recipe."""
    if isinstance(recipe, OneSpikeRecipe):
        return Readout(kind=recipe.network.readout, output="output")
    settings = recipe.network
    return Readout(kind=settings.readout, output="output", neurons_per_class=settings.neurons_per_class)


def build_network(recipe: Recipe, pixels: Shape, n_classes: int, module: own.Maker | None = None) -> Network:
    """Build the network of a recipe for samples (c, h, w) or (n,), its weights drawn from the recipe's seed.

    Parameters
    ----------
    module : callable, optional
        For method "module": makes the `torch.nn.Module`.
    """
    if isinstance(recipe, OwnRecipe):
        return own.build_network(recipe, pixels, n_classes, module)
    if module is not None:
        what = f"is given, and the recipe has a network, method {recipe.network.method!r}"
        raise RecipeError("module", what, "leave it out, or say [network] method = 'module'")
    if isinstance(recipe, OneSpikeRecipe):
        return one_spike_build.build_network(recipe, pixels, n_classes)
    return build.build_network(recipe, pixels, n_classes)


def build_objective(recipe: Recipe, network: Network) -> Objective | OneSpikeObjective:
    """Return what training minimises, and how the network decides."""
    if isinstance(network, OneSpikeNetwork):
        return one_spike_build.build_objective(recipe, network)
    return Objective(
        network,
        readout_of(recipe),
        recipe.coding.n_steps,
        loss=LOSSES[recipe.training.loss],
        additions_weight=recipe.training.additions_weight,
    )


def lower_network(
    network: Network,
    *,
    n_steps: int,
    coding: InputCoding | None = None,
    readout: Readout | None = None,
    provenance: dict[str, Any] | None = None,
) -> FloatGraph:
    """Write a network down as a float graph; parameters as in `spikegraph.trainer.lower.lower`."""
    if isinstance(network, OneSpikeNetwork):
        return one_spike_lower.lower(network, n_steps=n_steps, coding=coding, readout=readout, provenance=provenance)
    return lower.lower(network, n_steps=n_steps, coding=coding, readout=readout, provenance=provenance)


def execute(network: Network, graph: Graph, rasters: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Run a network's own forward pass, where `verify` compares it with the graph that it became."""
    if isinstance(network, OneSpikeNetwork):
        return one_spike.execute(network, graph, rasters)
    return lif.execute(network, rasters)


def execute_spikes(network: Network, graph: Graph, rasters: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Run a network's own forward pass, in floats if it computes so, and return the spikes of every population."""
    if isinstance(network, OneSpikeNetwork):
        return one_spike.execute_spikes(network, graph, rasters)
    return {name: {"s": traces["s"] != 0} for name, traces in lif.execute(network, rasters).items()}
