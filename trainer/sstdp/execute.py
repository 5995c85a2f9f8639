"""Run a trained one-spike network where `verify` wants to compare it: every state of every population.

The spikes are those of the training forward pass, which walks from event to event. u and v are what docs/semantics.md
makes of the spikes of the layer before and of the layer's own; so a spike too early or too late shows in all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError
from spikegraph.export.graph import Graph, Projection
from spikegraph.trainer.sstdp.layers import EarliestPool2d, OneSpikeLayer
from spikegraph.trainer.sstdp.network import OneSpikeNetwork


@torch.no_grad()
def execute(network: OneSpikeNetwork, graph: Graph, rasters: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Run a window through the training forward pass, as it is used after training.

    Parameters
    ----------
    network : OneSpikeNetwork
        Computing in the chip that the graph was quantized for.
    graph : Graph
        What it is compared with: it says how the chip keeps a neuron from firing twice (see export/one_spike.py).
    rasters : mapping with the one input "input" → ndarray of int (T, B, *shape), at most one spike a line

    Returns
    -------
    dict of population → dict of "s", "u", "v" → ndarray (T, B, *shape)

    Raises
    ------
    OptionError
        A line spikes more than once.
    """
    raster, times = _run(network, rasters)
    states = {}
    for (name, layer), (before, own) in zip(network.named_layers().items(), pairwise(times), strict=True):
        incoming = graph.into(name)
        inhibition = incoming.pop(f"{name}_to_itself", None)
        itself = 0 if inhibition is None else fixed.shift(int(inhibition.weight), inhibition.weight_exp)
        (projection,) = incoming.values()
        steps = torch.arange(len(raster), device=raster.device).reshape(-1, 1, 1, 1, 1)
        s = own == steps
        x = torch.stack([_sums(layer, before == t, projection) for t in range(len(raster))])
        x[1:] += itself * s[:-1]
        trace = _trace(x, s, _bias(layer), held=inhibition is None)
        shape = (len(raster), len(own), *graph.populations[name].shape)
        states[name] = {key: np.asarray(value.reshape(shape).cpu().numpy()) for key, value in trace.items()}
    return states


@torch.no_grad()
def execute_spikes(network: OneSpikeNetwork, graph: Graph, rasters: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Run the same, in floats or integers, and return the spikes alone; parameters and errors as in `execute`."""
    raster, (_, *times) = _run(network, rasters)
    steps = torch.arange(len(raster), device=raster.device).reshape(-1, 1, 1, 1, 1)
    found = {}
    for name, own in zip(network.named_layers(), times, strict=True):
        shape = (len(raster), len(own), *graph.populations[name].shape)
        found[name] = {"s": np.asarray((own == steps).reshape(shape).cpu().numpy())}
    return found


def _run(network: OneSpikeNetwork, rasters: Mapping[str, Array]) -> tuple[Tensor, list[Tensor]]:
    """Return the input's raster, and the step of each spike: of the input's, then of every layer's."""
    raster = torch.from_numpy(np.asarray(rasters["input"])).to(next(network.parameters()).device)
    fired_at = _times(raster)
    fired = network.eval().run(fired_at.float())
    image = fired_at.reshape(len(fired_at), *network.input_image)
    return raster, [image, *(layer.fired_at for layer in fired.values())]


def _times(raster: Tensor) -> Tensor:
    """Step of each line's spike, n_steps for none: (T, B, ...) → (B, ...)."""
    spikes = raster != 0
    if int(spikes.sum(dim=0).max()) > 1:
        raise OptionError("input", "spikes more than once on a line", "use the coding first_spike")
    return torch.where(spikes.any(dim=0), spikes.to(torch.uint8).argmax(dim=0), len(raster))


def _sums(layer: OneSpikeLayer | EarliestPool2d, s: Tensor, projection: Projection) -> Tensor:
    """Sum what arrives in a step, in whole numbers: (B, c, h, w) → (B, c, h, w)."""
    if isinstance(layer, EarliestPool2d):
        shares = functional.avg_pool2d(s.double(), layer.kernel_size)
        n_spikes = (shares * layer.kernel_size**2).round().to(torch.int64)
        return torch.as_tensor(fixed.shift(n_spikes * int(projection.weight), projection.weight_exp))
    return layer.geometry.sum_inputs(s.double(), layer.synapses().weight.double()).to(torch.int64)


def _bias(layer: OneSpikeLayer | EarliestPool2d) -> Tensor | int:
    bias = None if isinstance(layer, EarliestPool2d) else layer.synapses().bias
    return 0 if bias is None else bias.to(torch.int64).reshape(-1, 1, 1)


def _trace(x: Tensor, s: Tensor, bias: Tensor | int, *, held: bool) -> dict[str, Tensor]:
    """Return s, u and v of a population from its input sums and its spikes (T, B, c, h, w); `held`: at 0 after them."""
    u, v = fixed.wrap24(x << fixed.ALIGN_BITS), torch.zeros_like(x)
    state, done = torch.zeros_like(x[0]), torch.zeros_like(s[0])
    for t in range(len(x)):
        state = fixed.saturate24(state + u[t] + bias).masked_fill(s[t], 0)
        done = done | s[t] if held else done
        v[t] = state = state.masked_fill(done, 0)
    return {"s": s, "u": u, "v": v}
