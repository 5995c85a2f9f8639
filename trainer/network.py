"""The network that a recipe describes: dense spiking layers, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spikegraph.trainer.layers import SpikingDense
from spikegraph.trainer.recipe import Recipe


class SpikingNetwork(nn.Module):
    """Layers by name, in order; spikes pass through all of them within one step.

    Parameters
    ----------
    layers : dict of SpikingDense by name
        The names become the populations of the graph.
    """

    def __init__(self, layers: dict[str, SpikingDense]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def named_layers(self) -> dict[str, SpikingDense]:
        """Return the layers in order, by name."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, SpikingDense)}

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Run a window: (T, B, n_in) → spikes and v before reset of the last layer, each (T, B, n_classes)."""
        v_before_reset = s
        for layer in self.layers.values():
            s, v_before_reset = layer(s)
        return s, v_before_reset


def build_network(recipe: Recipe, n_in: int, n_classes: int) -> SpikingNetwork:
    """Build the network of a recipe, its weights drawn from the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        return SpikingNetwork(_layers(recipe, [n_in, *recipe.network.hidden, n_classes]))


def _layers(recipe: Recipe, sizes: Sequence[int]) -> dict[str, SpikingDense]:
    settings = recipe.network
    n_hidden = len(sizes) - 2
    names = ["hidden"] if n_hidden == 1 else [f"hidden{k + 1}" for k in range(n_hidden)]
    largest = recipe.coding.max_value if recipe.coding.kind == "direct" else 1
    return {
        name: SpikingDense(
            n_in,
            n_out,
            tau_mem=settings.tau_mem,
            tau_syn=settings.tau_syn,
            dt=settings.dt,
            v_threshold=settings.v_threshold,
            threshold_per=settings.threshold_per,
            train_threshold=settings.train_threshold,
            bias=settings.bias,
            reset="none" if name == "output" and settings.readout == "membrane" else settings.reset,
            refractory_steps=settings.refractory_steps,
            surrogate=settings.surrogate,
            chip=recipe.chip,
            largest_input=largest if position == 0 else 1,
        )
        for position, (name, n_in, n_out) in enumerate(zip([*names, "output"], sizes[:-1], sizes[1:], strict=True))
    }
