"""Linear maps between layers of neurons, and their composition: a chain of NIR's linear nodes becomes one projection.

Structure is kept where it can be: a convolution behind a pool is a convolution, a matrix behind a pool is a matrix.
What is neither becomes a list of synapses. Flattened arrays are in C order, so that a change of shape changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from spikegraph.export.connectivity import Array, Shape, pair, per_neuron
from spikegraph.export.float_graph import (
    FloatConv2d,
    FloatDense,
    FloatOneToOne,
    FloatProjection,
    FloatSparse,
    FloatSumPool2d,
)
from spikegraph.export.nir.windows import as_conv, narrowed, require_few, times, windows

_LARGEST_MATRIX = 1 << 26  # weights


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMap:
    """What leads from neurons of one shape to neurons of another: y = weight · s.

    Parameters
    ----------
    source, target : (n,) or (c, h, w)
    op : a float projection
        Without ends. Where its kind knows no shapes, they may differ from it: a OneToOne that flattens.
    where : str
        The NIR node, for messages.
    """

    source: Shape
    target: Shape
    op: FloatProjection
    where: str

    @property
    def is_identity(self) -> bool:
        """Whether each neuron is passed on as it is."""
        return isinstance(self.op, FloatOneToOne) and bool((self.op.weight == 1).all())

    @property
    def keeps_neurons(self) -> bool:
        """Whether neuron i leads to neuron i alone."""
        return isinstance(self.op, FloatOneToOne)

    @property
    def each(self) -> Array:
        """The weight of each neuron, flattened, where each has one."""
        weight = self.op.weight
        if weight.ndim == 0:
            return np.broadcast_to(weight, (prod(self.target),))  # in no memory
        return per_neuron(weight, self.source).ravel()

    def apply(self, x: Array) -> Array:
        """Return weight · x, flattened."""
        if isinstance(self.op, FloatOneToOne):
            return np.asarray(x.ravel() * self.each.astype(np.float64))
        if isinstance(self.op, FloatDense):
            return np.asarray(self.op.weight.astype(np.float64) @ x.ravel())
        return np.asarray(matrix(self) @ x.ravel())


def scaled(shape: Shape, weight: Array, where: str, *, flattened: Shape | None = None) -> LinearMap:
    """Return the map that multiplies each neuron by its own weight (or by one, or one per channel)."""
    op = FloatOneToOne(source="", target="", weight=reduced(weight, shape))
    return LinearMap(source=shape, target=flattened or shape, op=op, where=where)


def identity(source: Shape, target: Shape, where: str) -> LinearMap:
    """Return the map that passes every neuron on, in another shape."""
    return scaled(source, np.ones((), np.float32), where, flattened=target)


def reduced(parameter: Array, shape: Shape) -> Array:
    """Return a parameter of a population of this shape as one number, one per channel, or one per neuron."""
    if parameter.size == 1:
        return parameter.reshape(())
    if len(shape) == 3 and parameter.shape in (shape[:1], (shape[0], 1, 1)):
        each = np.broadcast_to(parameter.reshape(-1, 1, 1), shape)
    else:
        each = np.broadcast_to(parameter, shape) if parameter.size != prod(shape) else parameter.reshape(shape)
    first = each.reshape(-1)[:1]
    if (each == first).all():
        return first.reshape(())
    if len(shape) == 3 and (each == each[:, :1, :1]).all():
        return np.array(each[:, 0, 0])
    return np.array(each)


def compose(second: LinearMap, first: LinearMap) -> LinearMap:
    """Return the map that does `first`, then `second`."""
    made = _structured(second, first)
    return made if made is not None else _product(second, first)


def _structured(second: LinearMap, first: LinearMap) -> LinearMap | None:
    """Return the composition with its structure; None where only a list of synapses is left."""
    ends: dict[str, Any] = {"source": first.source, "target": second.target, "where": second.where}
    a, b = first.op, second.op
    if first.is_identity and (first.source == first.target or _shapeless(b)):
        return LinearMap(op=_seen_from(second, first.source), **ends)
    if second.is_identity and (second.source == second.target or _shapeless(a)):
        return LinearMap(op=_seen_from(first, first.source), **ends)
    if isinstance(b, FloatOneToOne):
        op = _scaled_behind(first, second, b)
    elif isinstance(a, FloatOneToOne):
        op = _scaled_before(second, first, a)
    elif first.target == second.source and not _shapeless(a) and not _shapeless(b):
        op = windows(second.op, first.op, first.source, second.source)
    else:
        op = None
    return None if op is None else LinearMap(op=op, **ends)


def _seen_from(of: LinearMap, source: Shape) -> FloatProjection:
    """Return what a map does, with weights per neuron in the shape of another source of as many neurons."""
    op = of.op
    if isinstance(op, FloatOneToOne) and op.weight.ndim:
        return replace(op, weight=reduced(of.each.reshape(source), source))
    return op


def _scaled_behind(first: LinearMap, second: LinearMap, scale: FloatOneToOne) -> FloatProjection | None:
    op, each = first.op, second.each
    if isinstance(op, FloatOneToOne) and op.weight.ndim == scale.weight.ndim == 0:
        return replace(op, weight=times(op.weight, scale.weight))
    if isinstance(op, FloatOneToOne):
        return replace(op, weight=reduced(times(first.each, each).reshape(first.source), first.source))
    if isinstance(op, FloatDense):
        return replace(op, weight=times(op.weight, each[:, None]))
    if isinstance(op, FloatSparse):
        return replace(op, weight=times(op.weight, each[op.indices]))
    if second.source != second.target or not _by_channel(scale.weight, second.source):
        return None
    if isinstance(op, FloatSumPool2d) and scale.weight.ndim == 0:
        return replace(op, weight=times(op.weight, scale.weight))
    conv = as_conv(first.op, first.source)
    return replace(conv, weight=times(conv.weight, scale.weight.reshape(-1, 1, 1, 1)))


def _scaled_before(second: LinearMap, first: LinearMap, scale: FloatOneToOne) -> FloatProjection | None:
    op, each = second.op, first.each
    if isinstance(op, FloatDense):
        return replace(op, weight=times(op.weight, each))
    if isinstance(op, FloatSparse):
        return replace(op, weight=times(op.weight, np.repeat(each, np.diff(op.indptr))))
    if first.source != first.target or not _by_channel(scale.weight, first.source):
        return None
    if isinstance(op, FloatSumPool2d) and scale.weight.ndim == 0:
        return replace(op, weight=times(op.weight, scale.weight))
    conv = as_conv(second.op, second.source)
    of_group = np.broadcast_to(scale.weight, first.source[:1]).reshape(conv.groups, -1)
    of_output = np.repeat(of_group, len(conv.weight) // conv.groups, axis=0)
    return replace(conv, weight=times(conv.weight, of_output[:, :, None, None]))


def _shapeless(op: FloatProjection) -> bool:
    return isinstance(op, FloatDense | FloatSparse | FloatOneToOne)


def _by_channel(weight: Array, shape: Shape) -> bool:
    return weight.ndim == 0 or (weight.ndim == 1 and len(shape) == 3)


def _product(second: LinearMap, first: LinearMap) -> LinearMap:
    ends: dict[str, Any] = {"source": first.source, "target": second.target, "where": second.where}
    made_of = (first.op.weight, second.op.weight)
    if isinstance(first.op, FloatDense) or isinstance(second.op, FloatDense):
        n_target, n_source = prod(second.target), prod(first.source)
        require_few(n_target * n_source, f"{second.where}, behind {first.where}", _LARGEST_MATRIX)
        if isinstance(second.op, FloatDense) and isinstance(first.op, FloatDense):
            product = second.op.weight.astype(np.float64) @ first.op.weight.astype(np.float64)
        elif isinstance(second.op, FloatDense):
            product = np.asarray((matrix(first).T @ second.op.weight.T.astype(np.float64)).T)
        else:
            product = np.asarray(matrix(second) @ first.op.weight.astype(np.float64))
        return LinearMap(op=FloatDense(source="", target="", weight=narrowed(product, *made_of)), **ends)
    if second.is_identity:  # in another shape, which the list of synapses does not know
        return LinearMap(op=listed(matrix(first), made_of), **ends)
    if first.is_identity:
        return LinearMap(op=listed(matrix(second), made_of), **ends)
    return LinearMap(op=listed(csr_array(matrix(second) @ matrix(first)), made_of), **ends)


def listed(synapses: csr_array, made_of: tuple[Array, ...]) -> FloatSparse:
    """Return a matrix (target, source) as the list of its synapses."""
    require_few(synapses.nnz, "a chain of linear nodes")
    by_source = csr_array(synapses.T)
    by_source.sort_indices()
    weight = narrowed(by_source.data, *made_of)
    return FloatSparse(source="", target="", weight=weight, indptr=by_source.indptr, indices=by_source.indices)


def matrix(of: LinearMap) -> csr_array:
    """Return the weights as a sparse matrix (target, source), both flattened; float64."""
    op, shape = of.op, (prod(of.target), prod(of.source))
    if isinstance(op, FloatOneToOne):
        places = np.arange(shape[0])
        return csr_array((of.each.astype(np.float64), (places, places)), shape=shape)
    taps = prod(op.weight.shape[1:]) if isinstance(op, FloatConv2d) else 1
    taps = prod(pair(op.kernel_size)) if isinstance(op, FloatSumPool2d) else taps
    require_few(op.weight.size if isinstance(op, FloatDense | FloatSparse) else taps * shape[0], of.where)
    source, target, place = op.synapses(of.source, of.target)
    weight = op.weight.reshape(-1)[place].astype(np.float64)
    return csr_array((weight, (target, source)), shape=shape)


def as_projection(of: LinearMap, source: str, target: str, delay_steps: int) -> FloatProjection:
    """Return the map as a projection between two named nodes."""
    op = of.op
    if isinstance(op, FloatOneToOne) and of.source != of.target:
        op = listed(matrix(of), (op.weight,))
    return replace(op, source=source, target=target, delay_steps=delay_steps)


def masked(of: LinearMap, kept: Array) -> LinearMap:
    """Return the map with only the synapses that leave some of its neurons, as a list."""
    synapses = matrix(of).tocoo()
    chosen = kept.ravel()[synapses.col]
    places = (synapses.row[chosen], synapses.col[chosen])
    part = csr_array((synapses.data[chosen], places), shape=synapses.shape)
    return replace(of, op=listed(part, (of.op.weight,)))
