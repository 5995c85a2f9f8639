"""The network of a recipe with method "module": a `torch.nn.Module` of one's own, handed over in Python."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import nn

from spikegraph.export.connectivity import Shape
from spikegraph.export.errors import RecipeError
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.recipe import OwnRecipe

Maker = Callable[[], nn.Module]
_REMEDY = "from Python, hand over the class, or a function that makes it: stages.train(…, module=Net)"


def build_network(recipe: OwnRecipe, sample_shape: Shape, n_classes: int, make: Maker | None) -> SpikingNetwork:
    """Make the module, its weights drawn from the recipe's seed, and its network for samples of this shape.

    Raises
    ------
    RecipeError
        There is nothing to make it with; or it does not end in one population with the output's neurons.
    GraphError
        The module does something that no spike graph can.
    """
    if make is None:
        raise RecipeError("network", "is a module of your own (method 'module')", _REMEDY)
    if isinstance(make, nn.Module):
        raise RecipeError("module", "is made already, its weights not drawn from the recipe's seed", _REMEDY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        module = make()
        if not isinstance(module, nn.Module):
            raise RecipeError("module", f"gave a {type(module).__name__} in place of a torch.nn.Module", _REMEDY)
        network = SpikingNetwork(module, sample_shape, chip=recipe.chip, largest_input=recipe.input_coding.largest)
    _require_output(recipe, network, n_classes)
    return network


def _require_output(recipe: OwnRecipe, network: SpikingNetwork, n_classes: int) -> None:
    shapes = [network.nodes[name].shape for name in network.outputs]
    wanted = n_classes * recipe.network.neurons_per_class
    if len(shapes) != 1 or prod(shapes[0]) != wanted or len(shapes[0]) != 1:
        what = f"returns the spikes of {' and '.join(map(str, shapes))} neurons"
        per_class = f"{n_classes} classes, {recipe.network.neurons_per_class} neurons_per_class"
        raise RecipeError("module", what, f"end it in one population ({wanted},): {per_class}")
