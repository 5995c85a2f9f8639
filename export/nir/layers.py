"""The linear nodes of NIR as linear maps, once the shape of what they take is known."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from scipy.sparse import csr_array, eye_array, kron

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import FileFormatError
from spikegraph.export.float_graph import FloatConv2d, FloatDense, FloatProjection, FloatSumPool2d
from spikegraph.export.nir.fields import WRITE_AGAIN, require_declared
from spikegraph.export.nir.maps import LinearMap, identity, listed, reduced, scaled
from spikegraph.export.nir.nodes import NirNode
from spikegraph.export.nir.windows import require_few, undilated

LINEAR = frozenset(
    {"Identity", "Output", "Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten"}
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A linear node between shapes.

    Parameters
    ----------
    map : LinearMap
    bias : ndarray of float64, the flattened target
        None: none, or all 0.
    shape : tuple
        What the node gives, as NIR counts dimensions (a Conv1d has two).
    """

    map: LinearMap
    bias: Array | None
    shape: Shape


def graph_shape(shape: Shape, where: str) -> Shape:
    """Return NIR's shape as (n,) or (c, h, w): two dimensions get a height of 1, leading ones of more than three go."""
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) > 3:
        raise FileFormatError(where, f"has the shape {shape}", "use at most three dimensions: (c, h, w)")
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape or (1,)


def spread(parameter: Array, shape: Shape, where: str) -> Array:
    """Return a node's parameter as one number, one per channel or one per neuron of a graph's shape."""
    fits = parameter.size in (1, prod(shape))
    if len(shape) == 3 and parameter.shape in (shape[:1], (shape[0], 1, 1)):
        if parameter.ndim == 1 and shape[0] == shape[2] > 1 and not fits:
            what = f"has the shape {parameter.shape}, and {shape} has as many channels as columns"
            raise FileFormatError(where, what, f"write it in the shape {(shape[0], 1, 1)} if it is one per channel")
        fits = True
    if not fits:
        try:
            np.broadcast_to(parameter, shape)
        except ValueError as error:
            what = f"has the shape {parameter.shape}, and its neurons have {shape}"
            raise FileFormatError(where, what, WRITE_AGAIN) from error
    return reduced(parameter, shape)


def layer_of(node: NirNode, shape: Shape) -> Layer:
    """Return what a linear node does to neurons of this shape (as NIR counts dimensions).

    Raises
    ------
    FileFormatError
        The shapes do not fit.
    """
    if node.type in ("Affine", "Linear"):
        return _dense(node, shape)
    if node.type in ("Conv1d", "Conv2d"):
        return _conv(node, shape)
    if node.type in ("SumPool2d", "AvgPool2d"):
        return _pool(node, shape)
    ours = graph_shape(shape, node.where)
    if node.type == "Scale":
        scale = spread(node["scale"], ours, f"{node.where}: scale")
        return Layer(map=scaled(ours, scale, node.where), bias=None, shape=shape)
    after = _flattened(node, shape) if node.type == "Flatten" else shape
    return Layer(map=identity(ours, graph_shape(after, node.where), node.where), bias=None, shape=after)


def _flattened(node: NirNode, shape: Shape) -> Shape:
    first, last = (n + len(shape) if n < 0 else n for n in (node["start_dim"], node["end_dim"]))
    if not shape:
        return (1,)
    first, last = min(first, len(shape) - 1), min(last, len(shape) - 1)
    if first < 0 or last < first:
        what = f"flattens the dimensions {node['start_dim']} to {node['end_dim']} of {shape}"
        raise FileFormatError(node.where, what, "count them from 0, without the batch")
    return (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])


def _dense(node: NirNode, shape: Shape) -> Layer:
    weight, ours = node["weight"], graph_shape(shape, node.where)
    op: FloatProjection
    if weight.shape[1] == prod(shape):
        after: Shape = (weight.shape[0],)
        op = FloatDense(source="", target="", weight=weight)
    elif shape and weight.shape[1] == shape[-1]:  # of each row by itself, as PyTorch does
        after = (*shape[:-1], weight.shape[0])
        require_few(prod(shape[:-1]) * weight.size, node.where)
        each_row = kron(eye_array(prod(shape[:-1])), csr_array(weight.astype(np.float64)), format="csr")
        op = listed(csr_array(each_row), (weight,))
    else:
        raise FileFormatError(node.where, f"reads {weight.shape[1]} numbers, and gets {shape}", WRITE_AGAIN)
    bias = node.fields.get("bias")
    if bias is not None and bias.size not in (1, weight.shape[0]):
        what = f"has {bias.size} numbers, the weight has {weight.shape[0]} rows"
        raise FileFormatError(f"{node.where}: bias", what, WRITE_AGAIN)
    target = graph_shape(after, node.where)
    every = None if bias is None else np.tile(np.broadcast_to(bias.ravel(), weight.shape[:1]), prod(after[:-1]))
    return Layer(map=LinearMap(source=ours, target=target, op=op, where=node.where), bias=_any(every), shape=after)


def _any(bias: Array | None) -> Array | None:
    return None if bias is None or not bias.any() else np.asarray(bias, np.float64).ravel()


def _conv(node: NirNode, shape: Shape) -> Layer:
    flat, ours = node.type == "Conv1d", graph_shape(shape, node.where)
    if len(ours) != 3 or (flat and ours[1] != 1):
        raise FileFormatError(node.where, f"({node.type}) gets the shape {shape}", "put no Flatten in front of it")
    weight = node["weight"][:, :, None] if flat else node["weight"]
    stride, dilation, padding = node["stride"], node["dilation"], node["padding"]
    if flat:
        stride, dilation = (1, stride[-1]), (1, dilation[-1])
        padding = padding if isinstance(padding, str) else (0, padding[-1])
    if padding == "same" and stride != (1, 1):
        raise FileFormatError(node.where, f'has padding "same" and a stride of {stride}', "give the padding in numbers")
    weight, dilation, padding = _padded(weight, dilation, padding, node.where)
    geometry: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": node["groups"]}
    op = FloatConv2d(source="", target="", weight=weight, **geometry)
    return _windowed(node, op, ours, len(weight), flat=flat)


def _padded(weight: Array, dilation: Shape, padding: Shape | str, where: str) -> tuple[Array, Shape, Shape]:
    """Return the kernel with its padding in numbers, the same on both sides, and no wider than the kernel reaches.

    Taps of weight 0 make it so: one in front where "same" pads more behind than in front, and as many around the kernel
    as the padding is wider.
    """
    reach = tuple(d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
    if padding == "valid":
        return weight, dilation, (0, 0)
    if isinstance(padding, str):
        front, pads = tuple(r % 2 for r in reach), tuple((r + 1) // 2 for r in reach)
        around = (0, 0)
    else:
        around = tuple(max(0, p - r) for p, r in zip(padding, reach, strict=True))
        front, pads = (0, 0), tuple(p + a for p, a in zip(padding, around, strict=True))
    if not any(front) and not any(around):
        return weight, dilation, pads
    size = [r + 1 + f + 2 * a for r, f, a in zip(reach, front, around, strict=True)]
    require_few(len(weight) * weight.shape[1] * prod(size), where)
    zeros = [(0, 0), (0, 0), *((f + a, a) for f, a in zip(front, around, strict=True))]
    return np.pad(undilated(weight, (dilation[0], dilation[1])), zeros), (1, 1), pads


def _pool(node: NirNode, shape: Shape) -> Layer:
    ours, (height, width) = graph_shape(shape, node.where), node["kernel_size"]
    if len(ours) != 3:
        raise FileFormatError(node.where, f"({node.type}) gets the shape {shape}", "put no Flatten in front of it")
    weight = np.array(1.0, np.float32) if node.type == "SumPool2d" else _share(height * width)
    geometry: dict[str, Any] = {"kernel_size": (height, width), "stride": node["stride"], "padding": node["padding"]}
    op = FloatSumPool2d(source="", target="", weight=weight, **geometry)
    return _windowed(node, op, ours, ours[0], flat=False)


def _share(n: int) -> Array:
    exact = np.array(1 / n)
    return exact.astype(np.float32) if np.float32(exact) == exact else exact


def _windowed(node: NirNode, op: FloatConv2d | FloatSumPool2d, source: Shape, channels: int, *, flat: bool) -> Layer:
    out = op.window().output(source[1:])
    target = (channels, *out)
    problem = op.shape_problem(source, target)
    if problem:
        raise FileFormatError(f"{node.where} ({node.type})", problem, "make the shapes meet")
    require_declared(target, node.where)
    bias = node.fields.get("bias")
    if bias is not None and bias.size not in (1, channels):
        what = f"has {bias.size} numbers for {channels} channels"
        raise FileFormatError(f"{node.where}: bias", what, WRITE_AGAIN)
    every = None if bias is None else np.broadcast_to(bias.reshape(-1, 1, 1), target)
    return Layer(
        map=LinearMap(source=source, target=target, op=op, where=node.where),
        bias=_any(every),
        shape=(channels, out[1]) if flat else target,
    )
