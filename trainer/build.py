"""The network of a recipe: layers and settings → a torch.nn.Module → a `SpikingNetwork`."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from spikegraph.export.connectivity import Shape
from spikegraph.trainer.architecture import Layer, names_of, parse, reads_images, shapes_of
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.recipe import Recipe
from spikegraph.trainer.sections import NetworkSection


def build_network(recipe: Recipe, pixels: Shape, n_classes: int) -> SpikingNetwork:
    """Build the network of a recipe for samples (c, h, w), its weights drawn from the recipe's seed.

    Raises
    ------
    RecipeError
        The layers do not fit such samples, or are too large: see `spikegraph.trainer.architecture.shapes_of`.
    """
    settings, layers = recipe.network, parse(recipe.network.layers)
    spatial = reads_images(layers)
    input_shape = pixels if spatial else (math.prod(pixels),)

    with torch.random.fork_rng(devices=[]):
        module = build_module(layers, input_shape, n_classes * settings.neurons_per_class, settings)
        torch.manual_seed(recipe.training.seed)  # after what torch's own constructors draw
        _draw_weights(module)
        network = SpikingNetwork(module, input_shape, chip=recipe.chip, largest_input=recipe.input_coding.largest)
    if settings.method == "tl":  # thresholds alone
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.endswith("v_threshold"))
    return network


def build_module(
    layers: Sequence[Layer],
    input_shape: Shape,
    n_outputs: int,
    settings: NetworkSection,
) -> nn.Module:
    """Build the module of an architecture, ended by a dense population "output".

    Parameters
    ----------
    input_shape : (n,) or (c, h, w)
    n_outputs : int
        Neurons of the output.
    settings : NetworkSection
        Of the neurons, and of what stands beside the layers. A convolution with a batch norm has no bias of its own.
    """

    def neurons(*, last: bool = False, recurrent: bool = False) -> LIF:
        return LIF(
            tau_mem=settings.tau_mem,
            tau_syn=settings.tau_syn,
            dt=settings.dt,
            v_threshold=settings.v_threshold,
            threshold_noise=settings.threshold_noise,
            threshold_per=settings.threshold_per,
            train_threshold=settings.method != "sl",
            train_tau=settings.train_tau,
            recurrent=recurrent,
            reset="none" if last and settings.readout == "membrane" else settings.reset,
            refractory_steps=settings.refractory_steps,
            surrogate=settings.surrogate,
        )

    modules: OrderedDict[str, nn.Module] = OrderedDict()
    shape, flat = input_shape, len(input_shape) == 1
    output = Layer(kind="dense", n=n_outputs)
    shapes = shapes_of(layers, input_shape, n_outputs)
    for layer, name, behind in zip([*layers, output], [*names_of(layers), "output"], shapes, strict=True):
        if layer.kind in ("dense", "recurrent") and not flat:
            modules["flatten"], shape, flat = nn.Flatten(), (math.prod(shape),), True
        if layer.kind == "conv":
            padding, normed = layer.kernel // 2, settings.batch_norm
            modules[f"{name}_synapses"] = nn.Conv2d(
                shape[0], layer.n, layer.kernel, layer.stride, padding, bias=settings.bias and not normed
            )
            if normed:
                modules[f"{name}_norm"] = nn.BatchNorm2d(layer.n)
            modules[name] = neurons()
        elif layer.kind == "residual":
            modules[name] = ResidualBlock(shape[0], layer.n, layer.stride, neurons)
        elif layer.kind in ("maxpool", "avgpool"):
            modules[name] = (nn.MaxPool2d if layer.kind == "maxpool" else nn.AvgPool2d)(layer.kernel)
        elif layer.kind == "dropout":
            modules[name] = nn.Dropout(layer.p)
        else:
            modules[f"{name}_synapses"] = nn.Linear(shape[0], layer.n, bias=settings.bias)
            modules[name] = neurons(last=name == "output", recurrent=layer.kind == "recurrent")
        shape = behind
    return nn.Sequential(modules)


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm; the spikes that enter skip both and join the second one's currents.

    Where the shape changes, they pass a 1 x 1 convolution with batch norm on their way.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, neurons: Callable[[], LIF]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)
        self.norm1, self.lif1 = nn.BatchNorm2d(n_out), neurons()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.norm2, self.lif2 = nn.BatchNorm2d(n_out), neurons()
        self.skip: nn.Module = nn.Identity()
        if n_in != n_out or stride != 1:
            self.skip = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride=stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, s: Tensor) -> Tensor:
        """Spikes of a step → spikes of the step."""
        inner = self.lif1(self.norm1(self.conv1(s)))
        joined: Tensor = self.lif2(self.norm2(self.conv2(inner)) + self.skip(s))
        return joined


@torch.no_grad()
def _draw_weights(module: nn.Module) -> None:
    """Draw weights uniformly with a variance of 1 / fan-in, from torch's global generator; biases start at 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            widest = math.sqrt(3 / part.weight[0].numel())
            nn.init.uniform_(part.weight, -widest, widest)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
