"""Random networks of every module that the trainer accepts, as hypothesis strategies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Shape
from spikegraph.trainer.modules import LIF

Draw = Callable[[Any], Any]


@dataclass(frozen=True)
class Value:
    """What a step of a forward leaves: spikes that synapses may take, or currents."""

    place: int
    shape: Shape
    pooled: bool = False  # average pooling lies behind it
    from_input: bool = False
    kinds: frozenset[str] = field(default_factory=frozenset)  # of the synapses behind currents
    normed: bool = False


class Program(nn.Module):
    """A forward of single steps: each calls a module by name, or adds ("+"), the values of earlier steps."""

    def __init__(self, modules: dict[str, nn.Module], steps: list[tuple[str, tuple[int, ...]]], outputs: list[int]):
        super().__init__()
        self.parts = nn.ModuleDict(modules)
        self.steps, self.outputs = steps, outputs

    def forward(self, s: Tensor) -> Any:
        values = [s]
        for name, places in self.steps:
            taken = [values[place] for place in places]
            values.append(taken[0] + taken[1] if name == "+" else self.parts[name](*taken))
        outputs = tuple(values[place] for place in self.outputs)
        return outputs if len(outputs) > 1 else outputs[0]


class _Builder:
    def __init__(self, draw: Draw, chip: Chip, input_shape: Shape, binary: bool) -> None:
        self.draw, self.chip, self.binary = draw, chip, binary
        self.modules: dict[str, nn.Module] = {}
        self.steps: list[tuple[str, tuple[int, ...]]] = []
        self.spikes = [Value(0, input_shape, from_input=True)]

    def chosen(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def call(self, module: nn.Module | None, *values: Value, shape: Shape, **changes: Any) -> Value:
        name = "+" if module is None else f"{type(module).__name__.lower()}{len(self.steps)}"
        if module is not None:
            self.modules[name] = module
        self.steps.append((name, tuple(value.place for value in values)))
        return Value(len(self.steps), shape, **changes)

    def pair(self, least: int, most: int) -> tuple[int, int]:
        return self.draw(st.integers(least, most)), self.draw(st.integers(least, most))

    def source(self, *, spatial: bool) -> Value:
        """Spikes on their way to synapses: of one source or of two, pooled, dropped, flattened."""
        usable = [value for value in self.spikes if len(value.shape) == 3 or not spatial]
        value = self.chosen(*usable)
        like = [v for v in usable if v.shape == value.shape and v.from_input == value.from_input and v != value]
        if like and self.chosen(True, False):
            value = self.call(None, value, self.chosen(*like), shape=value.shape, from_input=value.from_input)
        if self.chosen(True, False, False):
            value = self.call(nn.Dropout(0.4), value, shape=value.shape, from_input=value.from_input)
        sizes = [(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a * b > 1 and value.shape[1:]]
        sizes = [k for k in sizes if not (value.shape[1] % k[0] or value.shape[2] % k[1])]
        if sizes and self.chosen(True, False, False):
            kernel = self.chosen(*sizes)
            shape = (value.shape[0], value.shape[1] // kernel[0], value.shape[2] // kernel[1])
            value = self.call(nn.AvgPool2d(kernel), value, shape=shape, pooled=True, from_input=value.from_input)
        return value

    def convolution(self, value: Value, *, n: int, keep: bool = False) -> Value:
        """Synapses that stay in rows and columns; `keep` the size."""
        c, h, w = value.shape
        groups = self.chosen(*[g for g in (1, 2, 3) if c % g == 0 and n % g == 0])
        kernel, stride, padding, dilation = (1, 1), (1, 1), (0, 0), (1, 1)
        if not keep:
            kernel = (min(self.chosen(1, 2, 3), h), min(self.chosen(1, 2, 3), w))
            padding = (self.chosen(*range(kernel[0])), self.chosen(*range(kernel[1])))
            stride = self.pair(1, 2)
            if not value.pooled and all(2 * (k - 1) < size for k, size in zip(kernel, (h, w), strict=True)):
                dilation = self.chosen((1, 1), (2, 2), (1, 2))
        module = nn.Conv2d(c, n, kernel, stride, padding, dilation, groups, bias=self.chosen(True, False))
        with torch.no_grad():
            shape = tuple(module(torch.zeros(1, c, h, w)).shape[1:])
        return self.call(module, value, shape=shape, kinds=frozenset({"Conv2d"}))

    def linear(self, value: Value, *, n: int) -> Value:
        if len(value.shape) == 3:
            shape = (math.prod(value.shape),)
            value = self.call(nn.Flatten(), value, shape=shape, pooled=value.pooled, from_input=value.from_input)
        module = nn.Linear(value.shape[0], n, bias=self.chosen(True, False))
        return self.call(module, value, shape=(n,), kinds=frozenset({"Dense"}))

    def currents(self) -> Value:
        """Synapses of one kind or none, with a batch norm or not; and perhaps a second term beside them."""
        spatial = any(len(value.shape) == 3 for value in self.spikes) and self.chosen(True, True, False)
        value = self.source(spatial=spatial)
        if self.chosen(True, True, True, False):
            n = self.draw(st.integers(1, 4))
            value = self.convolution(value, n=n) if spatial else self.linear(value, n=n)
            if self.chosen(True, False):
                value = self.normalised(value)
        else:
            kind = "SumPool2d" if value.pooled else "OneToOne"
            value = Value(value.place, value.shape, pooled=value.pooled, kinds=frozenset({kind}))
        return self.with_more(value)

    def normalised(self, value: Value) -> Value:
        kind = nn.BatchNorm2d if len(value.shape) == 3 else nn.BatchNorm1d
        norm = kind(value.shape[0], affine=self.chosen(True, False))
        return self.call(norm, value, shape=value.shape, kinds=value.kinds, normed=True)

    def with_more(self, value: Value) -> Value:
        """Add spikes of the same shape, or what a 1 x 1 convolution or dense synapses make of others."""
        if value.pooled or not self.chosen(True, False):
            return value
        like = [v for v in self.spikes if v.shape == value.shape]
        if like and self.chosen(True, False):
            other = self.chosen(*like)
            if other.place == value.place or (not value.kinds - {"OneToOne"} and other.from_input):
                return value
            kinds = value.kinds | {"OneToOne"}
        else:
            spatial = len(value.shape) == 3
            like = [v for v in self.spikes if v.shape[1:] == value.shape[1:] or not spatial]
            if not like:
                return value
            source = self.chosen(*like)
            n = value.shape[0]
            other = self.convolution(source, n=n, keep=True) if spatial else self.linear(source, n=n)
            kinds = value.kinds | other.kinds
        return self.call(None, value, other, shape=value.shape, kinds=kinds, normed=value.normed)

    def threshold_per(self, value: Value) -> str:
        """How fine thresholds may be: a chip that shares them needs them folded into weights of their own."""
        if not self.chip.threshold_mant.shared or len(value.shape) == 1:
            return str(self.chosen("layer", "channel", "neuron"))
        if "SumPool2d" in value.kinds:
            return "layer"
        return str(self.chosen("layer", "channel", *(["neuron"] * ("Conv2d" not in value.kinds))))

    def population(self, currents: Value, **changes: Any) -> Value:
        settings = {
            "tau_mem": self.chosen(2e-3, 1e-2, math.inf, 1e-9),
            "tau_syn": 0.0 if currents.normed else self.chosen(0.0, 0.0, 3e-3),
            "v_threshold": self.chosen(0.2, 1.0),
            "threshold_noise": self.chosen(0.0, 0.1),
            "threshold_per": self.threshold_per(currents),
            "train_tau": self.chosen(True, False),
            "recurrent": len(currents.shape) == 1 and self.chosen(True, False, False),
            "reset": self.chosen(*self.chip.reset.modes),
            "refractory_steps": self.chosen(1, 1, 2, 4),
            "max_spikes": self.chosen(0, 1, 2) if self.chip.max_spikes.value else 0,
        }
        return self.call(LIF(**{**settings, **changes}), currents, shape=currents.shape)

    def layer(self) -> None:
        value = self.population(self.currents())
        self.spikes.append(value)
        if len(value.shape) == 3 and self.chosen(True, False, False):
            self.pool(value)

    def pool(self, value: Value) -> None:
        kernel = (min(self.chosen(1, 2, 3), value.shape[1]), min(self.chosen(1, 2, 3), value.shape[2]))
        if math.prod(kernel) * self.chip.weight.format.largest << 6 >= 1 << 23:  # more than u holds: refused
            kernel = (1, 2) if value.shape[2] > 1 else (1, 1)
        padding = (self.chosen(0, kernel[0] // 2), self.chosen(0, kernel[1] // 2))
        if self.chosen(True, False, False):
            value = self.call(nn.Dropout(0.4), value, shape=value.shape, from_input=value.from_input)
        module = nn.MaxPool2d(kernel, self.pair(1, 3), padding)
        shape = tuple(module(torch.zeros(1, *value.shape)).shape[1:])
        self.spikes.append(self.call(module, value, shape=shape))


@st.composite
def programs(draw: Draw, chip: Chip, n_classes: int, *, binary: bool) -> tuple[Program, Shape]:
    """Return a module and the shape of its input; its first output has `n_classes` neurons.

    Its weights, thresholds and running statistics are random, drawn from torch's global generator.
    """
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    input_shape = draw(st.sampled_from([(1, 4, 4), (2, 6, 4), (3, 3, 6), (1, 1, 1), (5,), (1,)]))
    builder = _Builder(draw, chip, input_shape, binary)
    if binary and len(input_shape) == 3 and draw(st.sampled_from([True, False, False])):
        builder.pool(builder.spikes[0])
    for _ in range(draw(st.integers(0, 3))):
        builder.layer()
    output = builder.population(builder.linear(builder.source(spatial=False), n=n_classes))
    outputs = [output.place]
    if len(builder.spikes) > 1 and draw(st.booleans()):
        outputs.append(draw(st.sampled_from(builder.spikes[1:])).place)
    module = Program(builder.modules, builder.steps, outputs)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            scramble(part)
    return module, input_shape


@torch.no_grad()
def scramble(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """Give a batch norm a history."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_(0, 0.3)
    norm.running_var.uniform_(0.05, 2)
    if norm.affine:
        norm.weight.normal_(1, 0.5)
        norm.bias.normal_(0, 0.3)


def binary_raster(rng: np.random.Generator, n_steps: int, n_samples: int, shape: Shape) -> Tensor:
    return torch.from_numpy((rng.random((n_steps, n_samples, *shape)) < 0.5).astype(np.float32))
