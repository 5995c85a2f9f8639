"""Everything linear around synapses, folded into their weights and bias: batch norm, average pooling, graded input.

The forward pass and the lowering take their weights from here, so that both have the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikegraph.trainer.traced import INPUT, Branch, Route

Kind = Literal["Dense", "Conv2d", "SumPool2d", "OneToOne"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Folded:
    """Synapses of a branch as they act on each spike, and what they add to the bias of the neurons.

    Attributes
    ----------
    kind : str
        Kind of the projection that they become.
    weight : Tensor of float
        For the spikes behind the branch's average pooling, taken as sums.
    bias : Tensor of float, () or (out,)
    """

    kind: Kind
    weight: Tensor
    bias: Tensor


def pool_of(route: Route) -> nn.AvgPool2d | None:
    """Return the average pooling that a route passes."""
    return next((module for module in route.path if isinstance(module, nn.AvgPool2d)), None)


def window_size(route: Route) -> int:
    """Return how many spikes a route's average pooling puts together: 1 without one."""
    pool: Any = pool_of(route)
    return 1 if pool is None else prod(pool.kernel_size)  # a pair: trace.py made it one


def unfolded(branch: Branch, largest_input: int) -> Folded:
    """Return the synapses of a branch before its batch norm, per spike and unit of input.

    Parameters
    ----------
    largest_input : int
        Largest magnitude that an input spike carries: synapses from the input are divided by it.
    """
    unit = window_size(branch.routes[0]) * (largest_input if branch.routes[0].source == INPUT else 1)
    zero = torch.zeros(())
    if branch.synapse is None or isinstance(branch.synapse, nn.MaxPool2d):
        pooled = branch.synapse is not None or pool_of(branch.routes[0]) is not None
        return Folded(kind="SumPool2d" if pooled else "OneToOne", weight=torch.ones(()) / unit, bias=zero)
    weight = branch.synapse.weight if unit == 1 else branch.synapse.weight / unit
    bias = zero if branch.synapse.bias is None else branch.synapse.bias
    return Folded(kind="Dense" if isinstance(branch.synapse, nn.Linear) else "Conv2d", weight=weight, bias=bias)


def folded(branch: Branch, largest_input: int) -> Folded:
    """Return the same with the batch norm folded in, by its running statistics."""
    own = unfolded(branch, largest_input)
    norm: Any = branch.norm
    if norm is None:
        return own
    scale = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight)
    bias = (own.bias - norm.running_mean) * scale + (0 if norm.bias is None else norm.bias)
    return Folded(kind=own.kind, weight=own.weight * scale.reshape(-1, *[1] * (own.weight.ndim - 1)), bias=bias)
