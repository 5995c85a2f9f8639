"""What is known to go wrong between two executions of a graph: each as a change of what a population computes with.

A hypothesis belongs to a class, its `kind`. cause.py tries them all.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph, Projection
from spikegraph.hwsim.program import ProgramPopulation
from spikegraph.targets.otherwise import Parts, later, steps_between


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One thing that may have been done otherwise.

    Parameters
    ----------
    kind : str
        Its class.
    what : str
        In words.
    change : callable(Parts) → Parts
    of_inputs : bool
        Whether it changes what arrives, and not only what a neuron makes of it.
    """

    kind: str
    what: str
    change: Callable[[Parts], Parts]
    of_inputs: bool = False


def of_neurons(p: ProgramPopulation) -> Iterator[Hypothesis]:
    """List what neurons may make otherwise of the same input sums."""
    yield _rule("threshold", "a neuron fires at the threshold, not above it", fires=operator.ge)
    for unit, what in ((1 << fixed.ALIGN_BITS, "by one of its mantissa"), (1, "by 1")):
        for sign, more in ((1, "higher"), (-1, "lower")):
            yield _parameter("threshold", f"the threshold is {more} {what}", threshold=p.threshold + sign * unit)
    yield _parameter("threshold", "the threshold is not shifted by 6", threshold=p.threshold >> fixed.ALIGN_BITS)
    for name, decay in (("is floored, not rounded toward zero", _floored), ("is rounded to the nearest", _nearest)):
        yield _rule("decay rounding", f"the decay of v {name}", decay_v=decay)
        yield _rule("decay rounding", f"the decay of u {name}", decay_u=decay)
        yield _rule("decay rounding", f"the decay of u and v {name}", decay_u=decay, decay_v=decay)
    for change, more in ((1, "more"), (-1, "less")):
        yield _parameter("decay constant", f"decay_u is one {more}", decay_u=p.decay_u + change)
        yield _parameter("decay constant", f"decay_v is one {more}", decay_v=p.decay_v + change)
    yield _rule("wrap or saturation", "u saturates, and does not wrap", range_u=fixed.saturate24)
    yield _rule("wrap or saturation", "u is not kept to 24 bits", range_u=_any)
    yield _rule("wrap or saturation", "u wraps once only", range_u=_wrapped_once)
    yield _rule("wrap or saturation", "u = 2^23 wraps to -2^23", range_u=_wrapped_below)
    yield _rule("wrap or saturation", "v wraps, and does not saturate", range_v=fixed.wrap24)
    yield _rule("wrap or saturation", "v is not kept to 24 bits", range_v=_any)
    yield _rule("wrap or saturation", "v saturates at -2^23", range_v=_saturated_below)
    for reset in ("zero", "subtract", "none"):
        if reset != p.reset:
            yield _parameter("reset phase or kind", f"v is reset by {reset!r}, not by {p.reset!r}", reset=reset)
    yield _rule("reset phase or kind", "v is what it was before reset", reset_when="shown later")
    yield _rule("reset phase or kind", "v is reset a step late", reset_when="a step late")
    yield from _of_bias(p)
    for r in range(1, max(10, p.refractory_steps + 1) + 1):
        if r != p.refractory_steps:
            what = f"it is {r} step{'s' * (r > 1)}, not {p.refractory_steps}"
            yield _parameter("refractory period", what, refractory_steps=r)
    limited = bool(p.max_spikes)
    what = "there is none" if limited else "a neuron fires only once"
    yield _parameter("spike limit", what, max_spikes=0 if limited else 1)
    yield _rule("one-step delay", "v takes the u of the step before", v_takes="u before")


def of_state(before: Mapping[str, Array] | None) -> Iterator[Hypothesis]:
    """List what a population may begin with; `before`: the state in which the sample before ended."""
    for steps in (1, 2, 3):
        what = f"it starts {steps} step{'s' * (steps > 1)} early, and its bias integrates"
        yield Hypothesis(kind="start", what=what, change=partial(_with, steps_before=steps))
    if before is not None:
        what = "u and v are those that the sample before left"
        carried: dict[str, Any] = dict(before)
        yield Hypothesis(kind="state between samples", what=what, change=partial(_with, **carried))


def of_inputs(graph: Graph, law: Parts, other_inputs: Mapping[str, Mapping[str, Array]]) -> Iterator[Hypothesis]:
    """List what may arrive otherwise: other spikes, other weights."""
    projections = {p.name: p.projection for p in law.population.incoming}
    yield from _of_delays(projections)
    for name, p in projections.items():
        yield from _of_weights(name, p, alone=len(projections) == 1)
    for what, rasters in other_inputs.items():
        own = {n: p for n, p in projections.items() if p.source in rasters}
        spikes = {n: later(rasters[p.source], steps_between(graph, p)) for n, p in own.items()}
        if spikes:
            yield Hypothesis(kind="input coding", what=what, change=partial(_put, spikes=spikes), of_inputs=True)
    coded = {n: law.arriving[n] for n, p in projections.items() if p.source in graph.inputs}
    if any(s.max(initial=0) > 1 or s.min(initial=0) < 0 for s in coded.values()):
        yield _arrive("input coding", "each spike counts as 1", list(coded), _as_one)
        yield _arrive("input coding", "spikes are clipped to 8 bits", list(coded), _as_byte)
        yield _arrive("input coding", "spikes lose their sign", list(coded), np.abs)
    images = [name for name, s in coded.items() if s.ndim == 5]
    square = [name for name in images if coded[name].shape[3] == coded[name].shape[4]]
    if square:
        yield _arrive("input coding", "rows and columns are exchanged", square, _transposed)
    if images:
        yield _arrive("input coding", "channels come last", images, _channels_last)


def _of_bias(p: ProgramPopulation) -> Iterator[Hypothesis]:
    if not p.bias.any():
        return
    yield _parameter("bias exponent", "the bias is left out", bias=np.zeros_like(p.bias))
    for change in (*range(1, 8), *range(-1, -8, -1)):
        what = f"it is {abs(change)} {'more' if change > 0 else 'less'}"
        yield _parameter("bias exponent", what, bias=fixed.shift(p.bias, change))
    yield _rule("bias exponent", "the bias is added to u, not to v", bias_into="u")


def _of_delays(projections: Mapping[str, Projection]) -> Iterator[Hypothesis]:
    groups = {"all spikes": list(projections)}
    if len(projections) > 1:
        groups |= {f"spikes of projection {name}": [name] for name in projections}
    for who, names in groups.items():
        yield _arrive("one-step delay", f"{who} arrive one step late", names, partial(later, steps=1))
        yield _arrive("one-step delay", f"{who} arrive one step early", names, partial(later, steps=-1))


def _of_weights(name: str, p: Projection, *, alone: bool) -> Iterator[Hypothesis]:
    of = "" if alone else f" of projection {name}"
    for what, change in _roundings(p.weight):
        yield _weigh("weight rounding", f"weights{of} are {what}", name, change)
    for low, high in _ranges(p.weight):
        change = partial(np.clip, a_min=low, a_max=high)
        yield _weigh("weight clipping", f"weights{of} are clipped to {low}…{high}", name, change)
    if p.kind == "Conv2d":
        yield _weigh("weights", f"kernels{of} are flipped", name, _flipped)
    for exponent in dict.fromkeys((0, *(p.weight_exp + change for change in (-1, 1, 6, -6)))):
        if exponent != p.weight_exp:
            what = f"weight_exp{of} is {exponent}, not {p.weight_exp}"
            shifted = partial(_shift, name=name, exponent=exponent)
            yield Hypothesis(kind="weight exponent", what=what, change=shifted, of_inputs=True)


def _roundings(weight: Array) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    for step in (2, 4):
        if (weight % step != 0).any():
            yield f"floored to multiples of {step}", partial(_down_to, step=step)
            yield f"rounded up to multiples of {step}", partial(_up_to, step=step)
            yield f"rounded toward zero to multiples of {step}", partial(_toward_zero_to, step=step)
            yield f"rounded to the nearest multiple of {step}", partial(_nearest_to, step=step)


def _ranges(weight: Array) -> list[tuple[int, int]]:
    """Ranges of so many bits that not all weights fit into, in units of 1 and of what divides every weight."""
    if not weight.any():
        return []
    ranges = {}
    for unit in (1, int(np.gcd.reduce(weight, axis=None))):
        for bits in range(1, 16):
            top = ((1 << bits) - 1) * unit
            for low in (-top - unit, -top, 0):
                if weight.min() < low or weight.max() > top:
                    ranges[low, top] = True
    return list(ranges)


def _rule(kind: str, what: str, **rules: Any) -> Hypothesis:
    def change(parts: Parts) -> Parts:
        return replace(parts, rules=replace(parts.rules, **rules))

    return Hypothesis(kind=kind, what=what, change=change)


def _parameter(kind: str, what: str, **parameters: Any) -> Hypothesis:
    def change(parts: Parts) -> Parts:
        return replace(parts, population=replace(parts.population, **parameters))

    return Hypothesis(kind=kind, what=what, change=change)


def _arrive(kind: str, what: str, names: list[str], moved: Callable[[Array], Array]) -> Hypothesis:
    def change(parts: Parts) -> Parts:
        return _put(parts, {name: moved(parts.arriving[name]) for name in names})

    return Hypothesis(kind=kind, what=what, change=change, of_inputs=True)


def _weigh(kind: str, what: str, name: str, changed: Callable[[Array], Array]) -> Hypothesis:
    def change(parts: Parts) -> Parts:
        return replace(parts, weights={**parts.weights, name: changed(parts.weights[name])})

    return Hypothesis(kind=kind, what=what, change=change, of_inputs=True)


def _with(parts: Parts, **fields: Any) -> Parts:
    return replace(parts, **fields)


def _put(parts: Parts, spikes: Mapping[str, Array]) -> Parts:
    return replace(parts, arriving={**parts.arriving, **spikes})


def _shift(parts: Parts, name: str, exponent: int) -> Parts:
    return replace(parts, exponents={**parts.exponents, name: exponent})


def _floored(y: Any, d: Any) -> Any:
    return (y * (fixed.DECAY_ONE - d)) >> fixed.DECAY_BITS


def _nearest(y: Any, d: Any) -> Any:
    return (y * (fixed.DECAY_ONE - d) + fixed.DECAY_ONE // 2) >> fixed.DECAY_BITS


def _any(y: Any) -> Any:
    return y


def _wrapped_once(y: Any) -> Any:
    whole = 1 << fixed.STATE_BITS
    return y - whole * (y > fixed.STATE_HALF) + whole * (y <= -fixed.STATE_HALF)


def _wrapped_below(y: Any) -> Any:
    return -fixed.wrap24(-y)


def _saturated_below(y: Any) -> Any:
    return y.clip(-fixed.STATE_HALF, fixed.STATE_MAX)


def _down_to(w: Array, step: int) -> Array:
    return w // step * step


def _up_to(w: Array, step: int) -> Array:
    return -(-w // step) * step


def _toward_zero_to(w: Array, step: int) -> Array:
    return np.asarray(np.sign(w) * (abs(w) // step) * step)


def _nearest_to(w: Array, step: int) -> Array:
    return np.asarray(np.round(w / step) * step).astype(np.int64)


def _flipped(w: Array) -> Array:
    return w[:, :, ::-1, ::-1]


def _as_one(s: Array) -> Array:
    return np.asarray(s != 0).astype(s.dtype)


def _as_byte(s: Array) -> Array:
    return np.asarray(s.clip(-128, 127))


def _transposed(s: Array) -> Array:
    return s.swapaxes(3, 4)


def _channels_last(s: Array) -> Array:
    """Read (T, B, c, h, w) where (T, B, h, w, c) was written."""
    return np.moveaxis(s, 2, 4).reshape(s.shape)
