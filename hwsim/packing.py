"""What a group of neurons takes of a core: neurons, synaptic memory, axons in, profiles.

The synapses that one source neuron has in a core are a *list*. Lists lie in memory as the chip's packing says
(export/chips/*.toml). Behind a convolution or a pool, equal lists at other offsets are stored once, and the channels of
a source pixel share an axon: Loihi's population axons, as nengo-loihi uses them for convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from spikegraph.export.chips import Packing
from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.graph import Conv2d, Dense, Graph, Projection, SumPool2d

NEURONS, MEMORY, AXONS_IN, AXONS_OUT = "neurons", "synapse_bits", "axons_in", "axons_out"
DECAYS, THRESHOLDS = "decay_profiles", "threshold_profiles"
SOURCES = (
    "sources"  # source neurons that reach a group: the messages that come in if each fires once; no chip limits them
)
_NONE = np.zeros(0, np.int64)
_MIX = tuple(np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class Demand:
    """What a population takes, if its neurons, in a given order, are cut into groups.

    Parameters
    ----------
    graph : Graph
        Pipelined: a delay beyond one step takes memory.
    population : str
    order : ndarray of int64 (n,)
        Its neurons, as flat indices in C order, in the order in which they are cut.
    unit : int
        Neurons in a row that stay together as long as there are fewer groups than units.
    packing : Packing
    """

    def __init__(self, graph: Graph, population: str, order: Array, packing: Packing, unit: int = 1) -> None:
        node = graph.populations[population]
        self.n, self._unit = node.n, unit
        place = np.argsort(order)
        by_source: dict[str, list[_Lists | _DenseLists]] = {}
        for p in graph.into(population).values():
            lists = _DenseLists(p, packing) if isinstance(p, Dense) else _Lists(graph, p, place, packing)
            by_source.setdefault(p.source, []).append(lists)
        self._lists = list(by_source.values())
        decays = [per_neuron(getattr(node, name), node.shape).ravel()[order] for name in ("decay_u", "decay_v")]
        self._decays = _kinds(decays[0].astype(np.int64) << 13 | decays[1])
        self._thresholds = _kinds(per_neuron(node.threshold_mant, node.shape).ravel()[order])

    def groups(self, n_groups: int) -> Array:
        """Return the group of each neuron in the order: groups of alike size, whole units if there are enough."""
        unit = self._unit if n_groups <= self.n // self._unit else 1
        return np.arange(self.n) // unit * n_groups // (self.n // unit)

    def loads(self, n_groups: int) -> dict[str, Array]:
        """Return, for each resource, what each of the groups takes: ndarray of int64 (n_groups,)."""
        group = self.groups(n_groups)
        bits, reached, entered = (np.zeros(n_groups, np.int64) for _ in range(3))
        for of_one_source in self._lists:
            packed = [lists.packed(group, n_groups) for lists in of_one_source]
            bits += sum(one.bits for one in packed)
            reached += _together([one.sources for one in packed], n_groups)
            entered += _together([one.axons for one in packed], n_groups)
        return {
            NEURONS: np.bincount(group, minlength=n_groups),
            MEMORY: bits,
            SOURCES: reached,
            AXONS_IN: entered,
            DECAYS: _distinct(group, self._decays, n_groups),
            THRESHOLDS: _distinct(group, self._thresholds, n_groups),
        }


def _kinds(value: Array) -> Array:
    return np.unique(value, return_inverse=True)[1]


def _distinct(group: Array, kind: Array, n_groups: int) -> Array:
    if not kind.any():
        return np.minimum(np.bincount(group, minlength=n_groups), 1)
    return np.bincount(np.unique(kind * n_groups + group) % n_groups, minlength=n_groups)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reached:
    """What enters each group: how many (n_groups,), and which, as pairs · n_groups + group, if that must be known.

    `whole`: every source neuron enters every group. `pixels`: they are axons of pixels, not of neurons.
    """

    counts: Array
    pairs: Callable[[], Array]
    whole: bool = False
    pixels: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class _Packed:
    """The lists of one projection, cut into groups: bits (n_groups,), source neurons and axons."""

    bits: Array
    sources: _Reached
    axons: _Reached


def _together(reached: list[_Reached], n_groups: int) -> Array:
    """Count what enters each group by projections of one source, once however many of them it enters by."""
    whole = [one for one in reached if one.whole]
    if whole:
        pixels = [one for one in reached if one.pixels]
        return whole[0].counts + (_together(pixels, n_groups) if pixels else 0)
    if len(reached) == 1:
        return reached[0].counts
    pairs = np.unique(np.concatenate([one.pairs() for one in reached]))
    return np.bincount(pairs % n_groups, minlength=n_groups)


class _DenseLists:
    """The lists of a dense projection: every source neuron has one of all neurons of a group, without an index."""

    def __init__(self, p: Dense, packing: Packing) -> None:
        self._n = p.weight.shape[1]
        self._width, self._packing = _width(p, packing), packing

    def packed(self, group: Array, n_groups: int) -> _Packed:
        n_targets = np.bincount(group, minlength=n_groups)

        reached = _Reached(counts=np.full(n_groups, self._n), pairs=lambda: _NONE, whole=True)
        bits = self._n * _packed(n_targets, np.full(n_groups, self._width), self._packing)
        return _Packed(bits=bits, sources=reached, axons=reached)


class _Lists:
    """The synapses of one projection, sorted by source neuron and then by the place of the target in the order.

    Of the channels of a convolution's source only one is listed: the others' lists differ from it in their weights.
    """

    def __init__(self, graph: Graph, p: Projection, place: Array, packing: Packing) -> None:
        one, shape, self._alike = one_channel(p, graph.shape_of(p.source))
        sources, targets, taps = one.synapses(shape, graph.shape_of(p.target))
        position = place[targets]
        by_source = np.argsort(sources * len(place) + position)
        self._source, self._position, self._tap = sources[by_source], position[by_source], taps[by_source]
        self._shared = isinstance(p, (Conv2d, SumPool2d))
        self._pixels = prod(shape[1:]) if self._shared else 0
        self._meet = self._shared and shape[0] > 1  # channels on the axon of their pixel
        self._width, self._packing = _width(p, packing), packing

    def packed(self, group: Array, n_groups: int) -> _Packed:
        """Pack the lists that this cut makes, equal ones once; `group` is that of each position."""
        owner = group[self._position]
        starts = np.flatnonzero((np.diff(self._source, prepend=-1) != 0) | (np.diff(owner, prepend=-1) != 0))
        length = np.diff(starts, append=len(self._source))
        owner, source = owner[starts], self._source[starts]
        # A list of a population axon counts its targets from its own base, any other from the group's first neuron.
        base = self._position[starts] if self._shared else np.searchsorted(group, owner)
        last = self._position[starts + length - 1] - base
        bits = _packed(length, self._width + _at_least(last + 1, self._packing), self._packing)
        if self._shared and len(starts):
            bits[_seen_before(owner, length, self._names(starts, length, base))] = 0

        def every_source() -> Array:
            block, pixel = np.divmod(source, self._pixels or 1)
            each = (block * self._alike + np.arange(self._alike)[:, None]) * (self._pixels or 1) + pixel
            return (each * n_groups + owner).ravel()

        sources = np.bincount(owner, minlength=n_groups) * self._alike
        # Axons of pixels are others than those of single neurons.
        axon = 2**39 + source % self._pixels if self._shared else source
        axons = np.unique(axon * n_groups + owner) if self._meet else axon * n_groups + owner
        return _Packed(
            bits=np.bincount(owner, bits, n_groups).astype(np.int64) * self._alike,
            sources=_Reached(counts=sources, pairs=every_source),
            axons=_Reached(
                counts=np.bincount(axons % n_groups, minlength=n_groups), pairs=lambda: axons, pixels=self._shared
            ),
        )

    def _names(self, starts: Array, length: Array, base: Array) -> Array:
        """Return a number for each list that is the same where offsets and taps are (and else differs: 64 bits)."""
        offset = (self._position - np.repeat(base, length)).astype(np.uint64)
        mixed = offset * _MIX[0] ^ (self._tap.astype(np.uint64) + np.uint64(1)) * _MIX[1]
        mixed = (mixed ^ mixed >> np.uint64(29)) * _MIX[2]
        return np.add.reduceat(mixed ^ mixed >> np.uint64(32), starts).view(np.int64)


def one_channel(p: Projection, shape: Shape) -> tuple[Projection, Shape, int]:
    """Return what the synapses of a projection are like, seen from one source channel of each group of a convolution.

    Returns
    -------
    Projection
        For a convolution one with a single source channel a group, and each tap's number as its weight; else itself.
    shape : (n,) or (c, h, w)
        Of its source.
    int
        Source channels that are alike but for their weights: 1 of what is no convolution.
    """
    if not isinstance(p, Conv2d):
        return p, shape, 1
    taps = (len(p.weight), 1, *p.weight.shape[2:])
    return replace(p, weight=np.arange(prod(taps)).reshape(taps)), (p.groups, *shape[1:]), p.weight.shape[1]


def _width(p: Projection, packing: Packing) -> int:
    """Return the bits of a synapse without its index."""
    return weight_bits(p.weight, packing) + (packing.delay_bits if p.delay_steps > 1 else 0)


def _seen_before(*columns: Array) -> Array:
    """Mark rows that equal an earlier one."""
    order = np.lexsort(columns)
    same = np.ones(len(order), bool)
    for column in columns:
        same &= np.diff(column[order], prepend=column[order][:1] - 1) == 0
    seen = np.empty(len(order), bool)
    seen[order] = same
    return seen


def weight_bits(weight: Array, packing: Packing) -> int:
    """Return the narrowest width that the chip has for these weights, which are multiples of 2^(8 + sign - width)."""
    step = int(np.gcd.reduce(weight, axis=None)) if weight.size else 0
    needed = 8 + packing.sign_bits - ((step & -step).bit_length() - 1 if step else 8)
    return next((bits for bits in packing.weight_bits if bits >= needed), packing.weight_bits[-1])


def _at_least(n_values: Array, packing: Packing) -> Array:
    """Return the narrowest index width for each number of values."""
    widths = np.array(packing.index_bits)
    return widths[np.minimum(np.searchsorted(2**widths, n_values), len(widths) - 1)]


def _packed(length: Array, width: Array, packing: Packing) -> Array:
    """Return the bits of lists of so many synapses of so many bits each: blocks, each in whole words."""
    full, rest = np.divmod(length, packing.synapses_per_block)

    def block(n: Array) -> Array:
        return -(-(n * width + packing.header_bits) // packing.word_bits) * packing.word_bits

    return full * block(np.full_like(length, packing.synapses_per_block)) + np.where(rest > 0, block(rest), 0)
