"""Weights that a chip lacks → weights that it has, and the same sums to the last bit.

Two ways, the first that does: another exponent (an odd weight w is 2w with one exponent less), or several projections
whose sums add up (the high bits of the weights in one, the low bits in another).
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array
from spikegraph.export.fixed import IntegerFormat
from spikegraph.export.graph import Dense, Graph, Projection, Sparse

_MOST_SLICES = 4
_FEW = 0.25  # share of weights that are not 0, below which a slice lists them


def legal_weights(graph: Graph, chip: Chip) -> tuple[Graph, dict[str, str]]:
    """Rewrite the projections whose weights or exponent the chip lacks.

    Requires: a legal graph.
    Ensures: every x, and so every u, v and spike, is what it was. A projection in several slices costs one addition for
    each. What neither way brings onto the chip is left as it is.

    Returns
    -------
    Graph
    dict of projection → what was done
    """
    projections: dict[str, Projection] = {}
    done: dict[str, str] = {}
    for name, p in graph.projections.items():
        parts, what = _rewritten(p, chip)
        if what:
            done[name] = what
        for k, part in enumerate(parts):
            own = name if len(parts) == 1 else _free(f"{name}.{'high' if k else 'low'}{k if k > 1 else ''}", graph)
            whole = prod(graph.shape_of(p.source))
            projections[own] = _listed(part, whole) if k else part
    return (replace(graph, projections=projections), done) if done else (graph, {})


def _free(name: str, graph: Graph) -> str:
    while name in graph.projections:
        name += "_"
    return name


def _rewritten(p: Projection, chip: Chip) -> tuple[list[Projection], str]:
    weight, limit, exponents = p.weight.astype(np.int64), chip.weight.format, chip.weight_exp.format
    if limit.holds_all(weight) and exponents.holds(p.weight_exp):
        return [p], ""
    by_distance = sorted(range(exponents.minimum, exponents.maximum + 1), key=lambda e: (abs(e - p.weight_exp), e))
    for exponent in by_distance:
        shifted = _scaled(weight, p.weight_exp - exponent)
        if shifted is not None and limit.holds_all(shifted) and fixed.WEIGHT.holds_all(shifted):
            return [replace(p, weight=shifted, weight_exp=exponent)], (
                f"weights × 2^{p.weight_exp - exponent}, weight_exp {p.weight_exp} → {exponent}"
            )
    slices = _slices(weight, p.weight_exp, limit, exponents)
    if not slices:
        return [p], ""
    said = " + ".join(f"{_bits(w // limit.step)}-bit weights × 2^{e}" for w, e in reversed(slices))
    return [replace(p, weight=w, weight_exp=e) for w, e in slices], f"weights in {len(slices)} slices: {said}"


def _scaled(weight: Array, exponent: int) -> Array | None:
    """Return weight · 2^exponent, if those are integers."""
    if exponent >= 0:
        return weight << exponent
    return None if (weight & ((1 << -exponent) - 1)).any() else weight >> -exponent


def common_twos(weight: Array) -> int:
    """Return by how many twos every integer of an array can be divided; none where all are zero."""
    bits = int(np.bitwise_or.reduce(weight, axis=None)) if weight.size else 0
    return (bits & -bits).bit_length() - 1 if bits else 0


def _slices(weight: Array, exponent: int, limit: IntegerFormat, exponents: IntegerFormat) -> list[tuple[Array, int]]:
    """Return weights and exponents that add up to weight · 2^exponent, lowest bits first; none if there are none.

    All but the first are of integers, so that only one sum is floored, and floor(a + n) = floor(a) + n.
    """
    step_bits = limit.step.bit_length() - 1
    if limit.offset or limit.step != 1 << step_bits:
        return []
    lowest, highest = -(-limit.minimum // limit.step), limit.maximum // limit.step
    width = min(-lowest, highest + 1).bit_length()  # bits of a digit of either sign
    if width < 2:
        return []
    at = min(max(exponent + common_twos(weight) - step_bits, exponents.minimum), exponents.maximum)
    rest = _scaled(weight, exponent - at - step_bits)  # in units of step · 2^at
    found: list[tuple[Array, int]] = []
    while rest is not None and (rest.any() or not found):
        bits = min(width, exponents.maximum - at)
        if bits > 0 and not ((rest >= lowest) & (rest <= highest)).all():
            half = 1 << (bits - 1)
            digit = ((rest + half) & (2 * half - 1)) - half
            above, up = (rest - digit) >> bits, bits
        else:
            digit = rest.clip(lowest, highest)
            above, up = rest - digit, 0
        if len(found) == _MOST_SLICES or (found and at + step_bits < 0):
            return []
        found.append((digit * limit.step, at))
        rest, at = above, at + up
    return found if rest is not None else []


def _bits(digit: Array) -> int:
    low, high = int(digit.min(initial=0)), int(digit.max(initial=0))
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


def _listed(p: Projection, n_source: int) -> Projection:
    """Return a projection with few weights that are not 0 as a list of these."""
    if not isinstance(p, (Dense, Sparse)) or np.count_nonzero(p.weight) > _FEW * p.weight.size:
        return p
    source, target, place = p.synapses((n_source,), (len(p.weight),))
    kept = np.flatnonzero(p.weight.ravel()[place])
    kept = kept[np.argsort(source[kept], kind="stable")]
    return Sparse(
        source=p.source,
        target=p.target,
        delay_steps=p.delay_steps,
        weight=p.weight.ravel()[place[kept]],
        weight_exp=p.weight_exp,
        indptr=np.concatenate([[0], np.cumsum(np.bincount(source[kept], minlength=n_source))]),
        indices=target[kept],
    )
