"""Projections between the same two populations → the one set of weights, and the delays of lines, of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Conv2d, OneToOne, Projection, SumPool2d
from spikegraph.export.loss import Effect, Loss

_MOST_PAIRS = 1 << 26  # of neurons, of what becomes a full matrix
_REMEDY = "save it as .h5"


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What several projections are together.

    Parameters
    ----------
    weight : ndarray of int64
        (out, in), or as the kernel; in it is what each `weight_exp` shifted.
    kernel : Conv2d, SumPool2d or OneToOne, optional
        Whose geometry it has; None: a full matrix.
    of_source, of_target : ndarray of int
        Delays, which add up: () or one for each source neuron (channel of a kernel), () or one for each target neuron.
    losses : list of Loss
    """

    weight: Array
    kernel: Conv2d | SumPool2d | OneToOne | None = None
    of_source: Array = field(default_factory=lambda: np.array(0))
    of_target: Array = field(default_factory=lambda: np.array(0))
    losses: list[Loss] = field(default_factory=list)


def merged(parts: Mapping[str, Projection], source: Shape, target: Shape, *, from_input: bool) -> Merged:
    """Merge the projections from one node to one population.

    Raises
    ------
    GraphError
        They are no matrix and no one kernel; or delays differ in more than the source neuron, or the target neuron.
    """
    first = next(iter(parts.values()))
    losses: list[Loss] = []
    if isinstance(first, (Conv2d, SumPool2d)) or (isinstance(first, OneToOne) and from_input and len(parts) == 1):
        if len(parts) == 1 and not (isinstance(first, OneToOne) and first.weight.ndim):
            weight = _shifted(next(iter(parts)), first, losses)
            return Merged(weight=weight, kernel=first, of_source=np.array(first.delay_steps), losses=losses)
        if all(isinstance(p, Conv2d) for p in parts.values()):
            return _convolutions({n: p for n, p in parts.items() if isinstance(p, Conv2d)}, source[0])
    n_source, n_target = prod(source), prod(target)
    where = f"projection {', '.join(parts)}"
    if n_source * n_target > _MOST_PAIRS:
        what = f"would be a matrix of {n_source * n_target} weights, the limit is {_MOST_PAIRS}"
        raise GraphError([Problem(where=where, what=what, remedy=_REMEDY)])
    if any(isinstance(p, (Conv2d, SumPool2d)) for p in parts.values()):
        what = (
            f"{len(parts)} of kinds {', '.join(sorted({p.kind for p in parts.values()}))} are no layer of a .net file"
        )
        raise GraphError([Problem(where=where, what=what, remedy=_REMEDY)])
    weight, delays = np.zeros((n_target, n_source), np.int64), np.full((n_target, n_source), -1)
    for name, p in parts.items():
        values = _shifted(name, p, losses).ravel()
        sources, targets, place = p.synapses(source, target)
        if ((delays[targets, sources] >= 0) & (delays[targets, sources] != p.delay_steps)).any():
            what = "two synapses between the same two neurons differ in their delay"
            raise GraphError([Problem(where=where, what=what, remedy=_REMEDY)])
        np.add.at(weight, (targets, sources), values[place])
        delays[targets, sources] = p.delay_steps
        if p.kind != "Dense":
            what = f"{p.kind} of {len(place)} synapses, held as a matrix of {n_source * n_target}"
            losses.append(Loss(node=f"projection {name}", attribute="kind", effect="none", what=what))
    leave, reach = _one_for_each(delays, 0), _one_for_each(delays, 1)
    if leave is not None:
        return Merged(weight=weight, of_source=leave, losses=losses)
    if reach is not None:
        return Merged(weight=weight, of_target=reach, losses=losses)
    leave, reach = delays.min(axis=0), delays.min(axis=1) - delays.min()
    if (delays == leave + reach[:, None]).all() and delays.min() >= 0:
        return Merged(weight=weight, of_source=leave, of_target=reach, losses=losses)
    what = "delays differ in more than the neuron they leave, or the neuron they reach"
    raise GraphError([Problem(where=where, what=what, remedy=_REMEDY)])


def _one_for_each(delays: Array, axis: int) -> Array | None:
    """Return the one delay along an axis, () where all are alike; None if there are several. -1 is any."""
    most = delays.max(axis=axis)
    if ((delays >= 0) & (delays != np.expand_dims(most, axis))).any():
        return None
    lines = np.where(most < 0, max(int(most.max()), 0), most)
    return lines[0] if (lines == lines[0]).all() else lines


def _shifted(name: str, p: Projection, losses: list[Loss]) -> Array:
    """Return weight · 2^weight_exp in whole numbers: a file has no exponent."""
    exact = np.ldexp(p.weight.astype(np.float64), p.weight_exp)
    weight = np.rint(exact)
    if p.weight_exp:
        error = float(np.abs(weight - exact).max(initial=0))
        # A negative exponent floors the sum; where no weight loses a bit, there is nothing to floor.
        what = f"weights · 2^{p.weight_exp}, because a file has no exponent"
        effect: Effect = "approximated" if error else "none"
        what += ", rounded to integers" * bool(error)
        losses.append(
            Loss(node=f"projection {name}", attribute="weight, weight_exp", effect=effect, what=what, error=error)
        )
    return np.asarray(weight.astype(np.int64))


def _convolutions(parts: Mapping[str, Conv2d], channels: int) -> Merged:
    """Merge convolutions of one geometry, each of which reads the channels of one delay."""
    first, where, losses = next(iter(parts.values())), f"projection {', '.join(parts)}", list[Loss]()
    geometry = [(p.weight.shape, p.stride, p.padding, p.dilation, p.groups) for p in parts.values()]
    if len(set(geometry)) > 1:
        what = f"{len(parts)} convolutions of different geometry are no layer of a .net file"
        raise GraphError([Problem(where=where, what=what, remedy=_REMEDY)])
    out_channels, inputs = first.weight.shape[:2]
    channel = (np.arange(out_channels) // (out_channels // first.groups))[:, None] * inputs + np.arange(inputs)
    weight, delays = np.zeros(first.weight.shape, np.int64), np.full(channels, -1)
    for name, p in parts.items():
        values = _shifted(name, p, losses)
        read = np.unique(channel[values.any(axis=(2, 3))])
        if ((delays[read] >= 0) & (delays[read] != p.delay_steps)).any():
            what = "a channel is read by convolutions of different delay"
            raise GraphError([Problem(where=where, what=what, remedy=_REMEDY)])
        weight, delays[read] = weight + values, p.delay_steps
    lines = _one_for_each(delays[None], 0)
    return Merged(weight=weight, kernel=first, of_source=np.array(0) if lines is None else lines, losses=losses)
