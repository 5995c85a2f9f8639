"""From spikes to input sums, all steps of a window at once: what routes pass, and the synapses of a branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikegraph.trainer.exact import dtype_for, exact_conv2d, exact_linear, largest_sum
from spikegraph.trainer.trace import Branch, Route


def gathered(routes: tuple[Route, ...], spikes: Mapping[str, Tensor], *, training: bool) -> Tensor:
    """Add up what the routes of a branch bring to its synapses: (T, B, *shape)."""
    return reduce(torch.add, [_passed(route, spikes[route.source], training) for route in routes])


def _passed(route: Route, s: Tensor, training: bool) -> Tensor:
    for module in route.path:
        if isinstance(module, nn.Flatten):
            s = s.flatten(2)
        elif isinstance(module, nn.AvgPool2d):  # as sums: folded synapses are per spike
            s = each_step(_sum_pool(module), s)
        elif training:  # dropout: the same neurons in every step of the window
            s = s * module(torch.ones_like(s[0]))
    return s


def drops(branch: Branch) -> bool:
    """Tell whether spikes on their way to a branch pass a dropout."""
    return any(isinstance(module, nn.Dropout | nn.Dropout2d) for route in branch.routes for module in route.path)


def rounded(x: Tensor) -> Tensor:
    """Bring input sums back to whole numbers that dropout has scaled, gradients passed straight through."""
    return x + (x.round() - x).detach()


def each_step(function: Callable[[Tensor], Tensor], s: Tensor) -> Tensor:
    """Apply what knows no time to every step of a window (T, B, …) at once."""
    flat = function(s.flatten(0, 1))
    return flat.view(*s.shape[:2], *flat.shape[1:])


def _sum_pool(pool: nn.AvgPool2d | nn.MaxPool2d) -> Callable[[Tensor], Tensor]:
    return partial(
        functional.avg_pool2d,
        kernel_size=pool.kernel_size,
        stride=pool.stride,
        padding=pool.padding,
        divisor_override=1,
    )


def through(branch: Branch, s: Tensor, weight: Tensor, largest: int | None = None) -> Tensor:
    """Input sums of the synapses of a branch; without rounding if the largest magnitude in s is given."""
    synapse = branch.synapse
    if isinstance(synapse, nn.Linear):
        return functional.linear(s, weight) if largest is None else exact_linear(s, weight, largest)
    if isinstance(synapse, nn.Conv2d):
        names = ("stride", "padding", "dilation", "groups")
        geometry: dict[str, Any] = {name: getattr(synapse, name) for name in names}
        if largest is None:
            return each_step(lambda step: functional.conv2d(step, weight, **geometry), s)
        return each_step(lambda step: exact_conv2d(step, weight, largest, **geometry), s)
    if isinstance(synapse, nn.MaxPool2d):
        s = each_step(_sum_pool(synapse), s)
    if largest is None:
        return s * weight
    dtype = dtype_for(largest_sum_of(branch, weight, largest))
    return s.to(dtype) * weight.to(dtype)


def largest_sum_of(branch: Branch, weight: Tensor, largest: int) -> float:
    """Return a bound on the input sums of a branch whose inputs are at most `largest`."""
    if isinstance(branch.synapse, nn.Linear | nn.Conv2d):
        return largest_sum(weight, largest)
    window: Any = branch.synapse.kernel_size if isinstance(branch.synapse, nn.MaxPool2d) else (1,)
    return float(weight.detach().abs().max()) * largest * int(prod(window))
