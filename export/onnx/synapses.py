"""The five kinds of projection as ONNX nodes: what each adds to u."""

from __future__ import annotations

from math import prod
from typing import Any, cast

import numpy as np
from onnx import helper

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.graph import Conv2d, Graph, OneToOne, SumPool2d
from spikegraph.export.onnx.nodes import DOUBLE, FLOAT, INT32, INT64, Nodes
from spikegraph.export.onnx.ranges import Ranges, SumRange


def current(nodes: Nodes, spikes: str, graph: Graph, name: str, chosen: Ranges) -> str:
    """Add the nodes of shift(weight · s, weight_exp) << 6; return the result (B, *target).

    Parameters
    ----------
    nodes : Nodes
    spikes : str
        Value (B, *source) of uint8 or int16.
    graph : Graph
    name : str
        The projection's.
    chosen : Ranges
    """
    plan, to = chosen.sums[name], chosen.neurons[graph.projections[name].target].current_type
    value = _weighted_sum(nodes, spikes, graph, name, plan)
    label, doc = f"{name}/current", f"x << {fixed.ALIGN_BITS}"
    if plan.exponent >= 0:
        by = nodes.number(1 << (plan.exponent + fixed.ALIGN_BITS), to)
        return nodes.add("Mul", [value, by], label, doc)
    # The shift floors and Div rounds toward zero: the two agree above zero, so the sum is lifted there and let down.
    of, bits, lift = plan.integer_type, -plan.exponent, 30 if plan.integer_type == INT32 else 60
    operations = [
        nodes.then("Add", nodes.number(1 << lift, of)),
        nodes.then("Div", nodes.number(1 << bits, of)),
        nodes.then("Sub", nodes.number(1 << (lift - bits), of), f"floor(sum / {1 << bits})"),
    ]
    if of != to:
        operations.append(nodes.then_cast(to))
    operations.append(nodes.then("Mul", nodes.number(1 << fixed.ALIGN_BITS, to), doc))
    return nodes.chain(value, operations, label)


def _weighted_sum(nodes: Nodes, spikes: str, graph: Graph, name: str, plan: SumRange) -> str:
    """Add the nodes of weight · s, in the integer type of the plan."""
    p = graph.projections[name]
    source, target = graph.shape_of(p.source), graph.shape_of(p.target)
    if isinstance(p, OneToOne):
        weight = per_neuron(plan.weight, target) if plan.weight.ndim else plan.weight
        wide = nodes.cast(spikes, plan.integer_type, f"{name}/spikes")
        return nodes.add("Mul", [wide, _widened(nodes, weight, plan.integer_type, name)], f"{name}/sum")
    if isinstance(p, Conv2d):
        y = _convolution(
            nodes, spikes, name, plan, plan.weight, _geometry(p, p.weight.shape[2:], p.dilation, p.groups), target
        )
        return nodes.cast(y, plan.integer_type, f"{name}/sum")
    if isinstance(p, SumPool2d):
        geometry = _geometry(p, p.kernel_size, (1, 1), source[0])
        ones = np.ones((source[0], 1, *geometry["kernel_shape"]), np.int8)
        y = _convolution(nodes, spikes, name, plan, ones, geometry, target)
        times = nodes.number(int(plan.weight), plan.integer_type)
        return nodes.chain(y, [nodes.then_cast(plan.integer_type), nodes.then("Mul", times)], f"{name}/sum")
    return _product(nodes, spikes, name, plan, source, target)


def _widened(nodes: Nodes, weight: Array, to: int, name: str) -> str:
    """Store weights as narrow as they are; they are widened once, when the model is loaded."""
    return nodes.cast(nodes.constant(weight, f"{name}/weight"), to, f"{name}/weight/wide")


def _product(nodes: Nodes, spikes: str, name: str, plan: SumRange, source: Shape, target: Shape) -> str:
    """Multiply by a matrix (source, target): whole numbers, in a type in which no partial sum rounds."""
    weight = _matrix(nodes, name, plan, (prod(source), prod(target)))
    rows = spikes if len(source) == 1 else nodes.add("Flatten", [spikes], f"{name}/rows")
    if plan.sum_type == INT32:
        y = nodes.add("MatMulInteger", [rows, weight], f"{name}/product")
    else:
        rows = nodes.cast(rows, plan.sum_type, f"{name}/spikes")
        y = nodes.add("MatMul", [rows, weight], f"{name}/product")
    if plan.sum_type != plan.integer_type:
        y = nodes.cast(y, plan.integer_type, f"{name}/sum")
    return y if len(target) == 1 else nodes.add("Reshape", [y, nodes.numbers([-1, *target])], f"{name}/image")


def _matrix(nodes: Nodes, name: str, plan: SumRange, shape: Shape) -> str:
    """Make the matrix (source, target); one of stored synapses is filled in when the model is loaded."""
    weight = plan.weight
    if plan.places is None:
        stored = nodes.constant(weight.T, f"{name}/weight")
    elif weight.nbytes + plan.places.nbytes < prod(shape) * weight.itemsize:
        values = nodes.constant(weight, f"{name}/weight")
        places = nodes.cast(nodes.constant(plan.places, f"{name}/places"), INT64, f"{name}/places/wide")
        empty = nodes.zeros(
            nodes.numbers([prod(shape)]), helper.np_dtype_to_tensor_dtype(weight.dtype), f"{name}/empty"
        )
        filled = nodes.add("ScatterElements", [empty, places, values], f"{name}/filled", axis=0)
        stored = nodes.add("Reshape", [filled, nodes.numbers(shape)], f"{name}/matrix")
    else:
        whole = np.zeros(prod(shape), weight.dtype)
        whole[plan.places] = weight
        stored = nodes.constant(whole.reshape(shape), f"{name}/weight")
    return stored if plan.sum_type == INT32 else nodes.cast(stored, plan.sum_type, f"{name}/weight/wide")


def _geometry(p: Conv2d | SumPool2d, kernel: Any, dilation: Any, groups: int) -> dict[str, Any]:
    """Return the attributes of ONNX's Conv."""
    stride, padding = cast(Any, p.stride), cast(Any, p.padding)
    return {
        "kernel_shape": list(kernel),
        "strides": list(stride),
        "pads": [*padding, *padding],
        "dilations": list(dilation),
        "group": groups,
    }


def _convolution(
    nodes: Nodes, spikes: str, name: str, plan: SumRange, weight: Array, geometry: dict[str, Any], target: Shape
) -> str:
    seen = nodes.cast(spikes, plan.sum_type, f"{name}/spikes")
    if plan.sum_type == DOUBLE:
        return _convolution_in_float64(nodes, seen, name, weight, geometry, target)
    return nodes.add("Conv", [seen, _widened(nodes, weight, FLOAT, name)], f"{name}/product", **geometry)


def _convolution_in_float64(
    nodes: Nodes, spikes: str, name: str, weight: Array, geometry: dict[str, Any], target: Shape
) -> str:
    """Convolve as a product of matrices of what each tap sees: ONNX Runtime has no Conv in float64."""
    groups, (rows, columns) = geometry["group"], geometry["kernel_shape"]
    per_group, n_taps, n_sites = weight.shape[1], rows * columns, target[1] * target[2]
    top, left, bottom, right = geometry["pads"]
    padded = nodes.add("Pad", [spikes, nodes.numbers([0, 0, top, left, 0, 0, bottom, right])], f"{name}/padded")
    taps = []
    for row in range(rows):
        for column in range(columns):
            first = [row * geometry["dilations"][0], column * geometry["dilations"][1]]
            end = [f + (n - 1) * s + 1 for f, n, s in zip(first, target[1:], geometry["strides"], strict=True)]
            window = [nodes.numbers(numbers) for numbers in (first, end, [2, 3], geometry["strides"])]
            taps.append(nodes.add("Slice", [padded, *window], f"{name}/taps/{row}.{column}"))
    together = nodes.add("Concat", taps, f"{name}/taps", axis=1)
    split = nodes.numbers([-1, n_taps, groups, per_group, n_sites])
    by_tap = nodes.add("Reshape", [together, split], f"{name}/taps/split")
    by_group = nodes.add("Transpose", [by_tap], f"{name}/taps/by_group", perm=[0, 2, 1, 3, 4])
    flat = nodes.numbers([-1, groups, n_taps * per_group, n_sites])
    seen = nodes.add("Reshape", [by_group, flat], f"{name}/taps/flat")
    matrix = weight.reshape(groups, -1, per_group, n_taps).swapaxes(2, 3).reshape(groups, -1, n_taps * per_group)
    product = nodes.add("MatMul", [_widened(nodes, matrix, DOUBLE, name), seen], f"{name}/product")
    return nodes.add("Reshape", [product, nodes.numbers([-1, *target])], f"{name}/image")
