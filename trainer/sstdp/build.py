"""The network and the objective of a recipe with method "sstdp"."""

from __future__ import annotations

import math

import torch
from torch import nn

from spikegraph.export.connectivity import Shape
from spikegraph.export.errors import RecipeError
from spikegraph.trainer.architecture import Layer, names_of, parse, reads_images, shapes_of
from spikegraph.trainer.recipe import OneSpikeRecipe, Recipe
from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.layers import EarliestPool2d, OneSpikeLayer
from spikegraph.trainer.sstdp.network import OneSpikeNetwork
from spikegraph.trainer.sstdp.objective import Aim, OneSpikeObjective
from spikegraph.trainer.sstdp.rules import Rule
from spikegraph.trainer.sstdp.section import OneSpikeSection


def build_network(recipe: Recipe, pixels: Shape, n_classes: int) -> OneSpikeNetwork:
    """Build the network of a recipe for samples (c, h, w), its weights drawn from the recipe's seed.

    Raises
    ------
    RecipeError
        The layers do not fit such samples, or are too large: see `spikegraph.trainer.architecture.shapes_of`.
    """
    settings, n_steps = _settings(recipe), recipe.coding.n_steps
    words = parse(settings.layers)
    spatial = reads_images(words)
    shape = pixels if spatial else (math.prod(pixels),)
    layers: dict[str, OneSpikeLayer | EarliestPool2d] = {}
    rule, input_shape = _rule(settings), shape
    output = Layer(kind="dense", n=n_classes)
    shapes = shapes_of(words, shape, n_classes)
    for k, (word, name) in enumerate(zip([*words, output], [*names_of(words), "output"], strict=True)):
        if word.kind == "dropout":
            continue
        if word.kind == "maxpool":
            layers[name] = EarliestPool2d(word.kernel)
        else:
            geometry = _geometry(word, shape)
            if geometry.is_dense and reads_images(words[k + 1 :]):
                what = f"{name} sees a single pixel and becomes a dense layer, but what follows needs rows and columns"
                raise RecipeError("network.layers", what, "use dense layers from there on, such as 400")
            layers[name] = OneSpikeLayer(
                geometry,
                n_steps=n_steps,
                rule=rule,
                chip=recipe.chip,
                v_threshold=settings.v_threshold if name == "output" else 1.0,
                urgency=settings.urgency if name == "output" else 0.0,
                dropout=words[k + 1].p if k + 1 < len(words) else 0.0,
            )
        shape = shapes[k]
    network = OneSpikeNetwork(layers, input_shape, n_steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        _initialise(network, settings)
    return network


def build_objective(recipe: Recipe, network: OneSpikeNetwork) -> OneSpikeObjective:
    """Return what the network of a recipe minimises."""
    settings = _settings(recipe)
    aim = Aim(
        kind=settings.aim,
        delta=settings.delta,
        gain=settings.gain,
        margin=settings.margin,
        margin_weight=settings.margin_weight,
        at_decision=settings.at_decision,
    )
    return OneSpikeObjective(network, aim)


def _settings(recipe: Recipe) -> OneSpikeSection:
    if not isinstance(recipe, OneSpikeRecipe):
        raise RecipeError("network.method", "is not 'sstdp'", "build it as the network that it is")
    return recipe.network


def _rule(settings: OneSpikeSection) -> Rule:
    return Rule(
        kind=settings.rule,
        causal=settings.causal,
        anticausal=settings.anticausal,
        tau=settings.tau,
        offset=settings.offset,
        w_max=settings.w_max,
        mu=settings.mu,
        normalize=settings.normalize,
        surrogate=settings.surrogate,
    )


def _geometry(word: Layer, shape: Shape) -> Geometry:
    if word.kind == "dense":
        return Geometry(channels=math.prod(shape), outputs=word.n)
    return Geometry(
        channels=shape[0],
        height=shape[1],
        width=shape[2],
        outputs=word.n,
        kernel_size=word.kernel,
        stride=word.stride,
        padding=word.kernel // 2,
    )


@torch.no_grad()
def _initialise(network: OneSpikeNetwork, settings: OneSpikeSection) -> None:
    """Draw weights from torch's global generator."""
    for k, layer in enumerate(network.neurons().values()):
        fan_in = layer.weight[0].numel()
        if settings.weights == "normal":
            nn.init.normal_(layer.weight, std=settings.spread / math.sqrt(fan_in))
        else:
            nn.init.uniform_(layer.weight, 0, 2 * (settings.sums or ())[k] / fan_in)
