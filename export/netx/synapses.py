"""The synapses of a layer: its members as a projection."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.graph import Conv2d, Projection, SumPool2d
from spikegraph.export.netx.members import Members

COMPLEX = "complex weights belong to resonate-and-fire neurons, which are not modelled here yet"
_MOST_WEIGHTS = 1 << 24  # of a pool whose taps differ, as a convolution


def matrix(layer: Members, name: str, n_out: int) -> Array:
    """Read the weights of a dense layer; older files hold them as one row after the other."""
    weight = _weights(layer, name)
    if weight.ndim == 1 and weight.size % n_out == 0:
        weight = weight.reshape(n_out, -1)
    weight = weight.reshape(weight.shape[:2]) if prod(weight.shape[2:]) == 1 else weight
    if weight.ndim != 2 or len(weight) != n_out:
        raise layer.refusal(name, f"has shape {weight.shape}, expected ({n_out}, inputs)")
    return weight


def _weights(layer: Members, name: str) -> Array:
    if isinstance(layer.tree.get(name), dict):
        remedy = "use a network of CUBA or LOIHI neurons"
        raise layer.refusal(name, f"is complex: {COMPLEX}", remedy)
    return layer.integers(name)


def convolution(layer: Members, source: str, target: str) -> Conv2d:
    """Read a convolution."""
    weight = _weights(layer, "weight")
    if weight.ndim not in (4, 5) or (weight.ndim == 5 and weight.shape[4] != 1):
        raise layer.refusal("weight", f"has shape {weight.shape}, expected (out, in, height, width) or one more 1")
    weight = weight.reshape(weight.shape[:4])
    kernel = layer.pair("kernelSize", 1, 1) if "kernelSize" in layer else weight.shape[2:]
    if kernel != weight.shape[2:]:
        raise layer.refusal("kernelSize", f"is {kernel}, the weights have {weight.shape[2:]}")
    groups = layer.integer("groups", 1)
    return Conv2d(source=source, target=target, weight=weight, groups=groups, **_window(layer))


def _window(layer: Members, stride: tuple[int, int] = (1, 1)) -> dict[str, Any]:
    return {
        "stride": layer.pair("stride", 1, 1) if "stride" in layer else stride,
        "padding": layer.pair("padding", 0, 0),
        "dilation": layer.pair("dilation", 1, 1),
    }


def pool(layer: Members, source: str, target: str, channels: int, *, flat: bool) -> Projection:
    """Read a pool: its taps are all alike, or else make a convolution channel by channel."""
    if flat:
        raise layer.refusal("type", "is 'pool', but the layer before is flat")
    weight, kernel = _weights(layer, "weight"), layer.pair("kernelSize", 1, 1)
    if weight.size not in (1, prod(kernel)):
        raise layer.refusal("weight", f"holds {weight.size} numbers, expected 1 or {prod(kernel)}")
    window = _window(layer, stride=kernel)
    if (weight == weight.ravel()[0]).all() and window.pop("dilation") == (1, 1):
        return SumPool2d(source=source, target=target, weight=weight.ravel()[0], kernel_size=kernel, **window)
    window = _window(layer, stride=kernel)
    if channels * prod(kernel) > _MOST_WEIGHTS:
        raise layer.refusal("kernelSize", f"is {kernel} on {channels} channels")
    each = np.broadcast_to(weight.reshape(kernel) if weight.size > 1 else weight.ravel()[0], (channels, 1, *kernel))
    return Conv2d(source=source, target=target, weight=each, groups=channels, **window)


def fits(p: Projection, layer: Members, source: Shape, target: Shape) -> None:
    """Refuse synapses that do not fit between two shapes, or are not what the layer says of them."""
    problem = p.shape_problem(source, target)
    if problem:
        raise layer.refusal("weight", f"{problem} ({source} → {target})", "export the network again")
    for name, expected in (("inFeatures", prod(source)), ("outFeatures", prod(target))):
        if name in layer and layer.integer(name) != expected:
            raise layer.refusal(name, f"is {layer.integer(name)}, expected {expected}")
    for name, expected in (("inChannels", source[0]), ("outChannels", target[0])):
        if name in layer and layer.integer(name) != expected:
            raise layer.refusal(name, f"is {layer.integer(name)}, expected {expected}")
