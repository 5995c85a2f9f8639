"""What must hold before a traced network runs: one step for all, graded input where it can go, room in u, numbers."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from spikegraph.export.chips import Chip
from spikegraph.export.errors import GraphError, OptionError, Problem
from spikegraph.export.fixed import ALIGN_BITS, STATE_HALF
from spikegraph.trainer.traced import INPUT, Node


def common_dt(nodes: Mapping[str, Node]) -> float:
    """Return the seconds per step, which all populations share; relays have no time constants, and take any."""
    own = {
        name: node.neurons.dt for name, node in nodes.items() if not isinstance(node.branches[0].synapse, nn.MaxPool2d)
    }
    if len(set(own.values())) > 1:
        what = f"have different steps: {', '.join(f'{name} {dt} s' for name, dt in own.items())}"
        raise GraphError([Problem(where="populations", what=what, remedy="give all LIF the same dt")])
    return next(iter(own.values()), 1e-3)


def require_ungraded(nodes: Mapping[str, Node]) -> None:
    """Refuse graded input where only spikes of one size can go."""
    for name, node in nodes.items():
        for branch in node.branches:
            sources = {route.source for route in branch.routes}
            if INPUT not in sources:
                continue
            if isinstance(branch.synapse, nn.MaxPool2d):
                remedy = "put neurons (LIF) before nn.MaxPool2d, or use another coding"
                raise GraphError([Problem(where=name, what="pools graded input by its maximum", remedy=remedy)])
            if len(sources) > 1:
                remedy = "give each synapses of its own, or use another coding"
                raise GraphError([Problem(where=name, what="adds graded input to spikes", remedy=remedy)])


def require_chip(nodes: Mapping[str, Node], chip: Chip) -> None:
    """Refuse resets that the chip has not, and max pools whose spikes, by its largest weight, are more than u holds."""
    for name, node in nodes.items():
        reset = node.neurons.dynamics.reset
        if reset not in chip.reset.modes:
            what = f"reset = {reset!r}, but {chip.title} has {' and '.join(chip.reset.modes)} only"
            raise GraphError([Problem(where=name, what=what, remedy="train with that reset, or for another chip")])
        pool = node.branches[0].synapse
        if isinstance(pool, nn.MaxPool2d):
            kernel: Any = pool.kernel_size
            if prod(kernel) * chip.weight.format.largest << ALIGN_BITS >= STATE_HALF:
                what = f"pools {prod(kernel)} spikes, which overflow with weights of up to {chip.weight.maximum}"
                remedy = "use weights of fewer bits, or a smaller kernel"
                raise GraphError([Problem(where=name, what=what, remedy=remedy)])


def require_numbers(s: Tensor) -> None:
    """Refuse input spikes among which is NaN or infinity: comparisons would take them for silence."""
    if not s.detach().sum(dtype=torch.float32).isfinite():  # far faster than to look at each
        raise OptionError("input", "holds NaN or infinity", "hand in spikes: 0, 1, or numbers up to largest_input")


def require_statistics(nodes: Mapping[str, Node], n_samples: int) -> None:
    """Refuse a batch of which a batch norm that is in training would see a single value of each channel."""
    for name, node in nodes.items():
        in_training = any(branch.norm is not None and branch.norm.training for branch in node.branches)
        if in_training and n_samples * prod(node.shape[1:]) == 1:
            what = "its batch norm sees a single value of each channel in a batch of one sample, which has no variance"
            raise OptionError(name, what, "choose a batch_size that leaves more than one for the last batch")
