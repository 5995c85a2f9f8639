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
from spikegraph.trainer.traced import Branch, Drop, Route

Masks = dict[Drop, Tensor]


def gathered(branch: Branch, spikes: Mapping[str, Tensor], masks: Masks | None) -> Tensor:
    """Add up what the routes of a branch bring to its synapses: (T, B, *shape).

    Parameters
    ----------
    branch : Branch
    spikes : dict of Tensor (T, B, *shape) by name
    masks : dict of Tensor (B, *shape) by Drop
        Those of the dropouts that were passed in this window; what is passed first is added. None: nothing is dropped.
    """
    return reduce(torch.add, [_passed(route, spikes[route.source], masks, branch) for route in branch.routes])


def _passed(route: Route, s: Tensor, masks: Masks | None, branch: Branch) -> Tensor:
    whole = isinstance(branch.synapse, nn.MaxPool2d)  # what is kept stays 1: its relays fire 0 or 1
    if masks is not None and not whole:
        s = reduce(torch.mul, [drop.scale for drop in route.kept], s)
    for part in route.path:
        if isinstance(part, nn.Flatten):
            s = s.flatten(2)
        elif isinstance(part, nn.AvgPool2d):  # as sums: folded synapses are per spike
            s = each_step(_sum_pool(part), s)
        elif masks is not None:  # the same neurons in every step of the window
            if part not in masks:
                masks[part] = part.module(torch.ones_like(s[0]))
            s = s * (masks[part].sign() if whole else masks[part])
    return s


def drops(branch: Branch) -> bool:
    """Tell whether dropout scales the spikes that come to the synapses of a branch."""
    return not isinstance(branch.synapse, nn.MaxPool2d) and any(
        route.kept or any(isinstance(part, Drop) for part in route.path) for route in branch.routes
    )


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
