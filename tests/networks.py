"""Small networks that several tests of the trainer train, quantize and compare."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Any

from torch import nn

from spikegraph.export.chips import Chip
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork


def dense_network(
    *sizes: int, chip: Chip | None = None, largest_input: int = 1, bias: bool = True, **neurons: Any
) -> SpikingNetwork:
    """Join populations "hidden1", "hidden2", …, "output" all to all; `neurons` are the settings of each LIF."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for k, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
        name = "output" if k == len(sizes) - 1 else f"hidden{k}"
        modules[f"{name}_synapses"] = nn.Linear(n_in, n_out, bias=bias)
        modules[name] = LIF(**neurons)
    return SpikingNetwork(nn.Sequential(modules), sizes[:1], chip=chip, largest_input=largest_input)
