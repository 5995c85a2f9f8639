"""What a group of neurons takes of a core: neurons, synaptic memory, axons in, profiles.

The synapses that one source neuron has in a core are a *list*. Lists lie in memory as the chip's packing says
(export/chips/*.toml). Behind a convolution or a pool, equal lists at other offsets are stored once, and the channels of
a source pixel share an axon: Loihi's population axons, as nengo-loihi uses them for convolutions.
"""

from __future__ import annotations

from math import prod

import numpy as np

from spikegraph.export.chips import Packing
from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.graph import Conv2d, Dense, Graph, Projection, SumPool2d

NEURONS, MEMORY, AXONS_IN, AXONS_OUT = "neurons", "synapse_bits", "axons_in", "axons_out"
DECAYS, THRESHOLDS = "decay_profiles", "threshold_profiles"
SOURCES = (
    "sources"  # source neurons that reach a group: the messages that come in if each fires once; no chip limits them
)
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
        self._lists = [_Lists(graph, p, place, packing) for p in graph.into(population).values()]
        decays = [per_neuron(getattr(node, name), node.shape).ravel()[order] for name in ("decay_u", "decay_v")]
        self._decays = decays[0].astype(np.int64) << 13 | decays[1]
        self._thresholds = per_neuron(node.threshold_mant, node.shape).ravel()[order]

    def groups(self, n_groups: int) -> Array:
        """Return the group of each neuron in the order: groups of alike size, whole units if there are enough."""
        unit = self._unit if n_groups <= self.n // self._unit else 1
        return np.arange(self.n) // unit * n_groups // (self.n // unit)

    def loads(self, n_groups: int) -> dict[str, Array]:
        """Return, for each resource, what each of the groups takes: ndarray of int64 (n_groups,)."""
        group = self.groups(n_groups)
        bits = np.zeros(n_groups, np.int64)
        sources, axons = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for lists in self._lists:
            owner, source, axon, taken = lists.packed(group)
            bits += np.bincount(owner, taken, n_groups).astype(np.int64)
            sources.append(source * n_groups + owner)
            axons.append(axon * n_groups + owner)
        reached, entered = (np.unique(np.concatenate(pairs)) % n_groups for pairs in (sources, axons))
        return {
            NEURONS: np.bincount(group, minlength=n_groups),
            MEMORY: bits,
            SOURCES: np.bincount(reached, minlength=n_groups),
            AXONS_IN: np.bincount(entered, minlength=n_groups),
            DECAYS: _distinct(group, self._decays, n_groups),
            THRESHOLDS: _distinct(group, self._thresholds, n_groups),
        }


def _distinct(group: Array, value: Array, n_groups: int) -> Array:
    _, kind = np.unique(value, return_inverse=True)
    return np.bincount(np.unique(kind * n_groups + group) % n_groups, minlength=n_groups)


class _Lists:
    """The synapses of one projection, sorted by source neuron and then by the place of the target in the order."""

    def __init__(self, graph: Graph, p: Projection, place: Array, packing: Packing) -> None:
        shape = graph.shape_of(p.source)
        sources, targets, weights = p.synapses(shape, graph.shape_of(p.target))
        position = place[targets]
        by_source = np.argsort(sources * len(place) + position)
        self._source, self._position, self._weight = sources[by_source], position[by_source], weights[by_source]
        self._shared = isinstance(p, (Conv2d, SumPool2d))
        self._dense = isinstance(p, Dense)
        self._n_axons = prod(shape[1:]) if self._shared else prod(shape)
        self._node = [*graph.inputs, *graph.populations].index(p.source) * 2**40  # tells neurons of sources apart
        self._pixels = 2**39 if self._shared else 0  # and axons of pixels from those of neurons
        self._width = weight_bits(p.weight, packing) + (packing.delay_bits if p.delay_steps > 1 else 0)
        self._packing = packing

    def packed(self, group: Array) -> tuple[Array, Array, Array, Array]:
        """Return the owner, the source neuron, the axon and the bits of each list; `group` is that of each position.

        A list that is stored already takes no bits.
        """
        owner = group[self._position]
        starts = np.flatnonzero((np.diff(self._source, prepend=-1) != 0) | (np.diff(owner, prepend=-1) != 0))
        length = np.diff(starts, append=len(self._source))
        owner, source = owner[starts], self._source[starts]
        # A list of a population axon counts its targets from its own base, any other from the group's first neuron.
        base = self._position[starts] if self._shared else np.searchsorted(group, owner)
        last = self._position[starts + length - 1] - base
        index_bits = np.zeros(len(starts), np.int64) if self._dense else _at_least(last + 1, self._packing)
        bits = _packed(length, self._width + index_bits, self._packing)
        if self._shared and len(starts):
            bits[_seen_before(owner, length, self._names(starts, length, base))] = 0
        return owner, source + self._node, source % self._n_axons + self._pixels + self._node, bits

    def _names(self, starts: Array, length: Array, base: Array) -> Array:
        """Return a number for each list that is the same where offsets and weights are (and else differs: 64 bits)."""
        offset = (self._position - np.repeat(base, length)).astype(np.uint64)
        mixed = offset * _MIX[0] ^ (self._weight.astype(np.uint64) + np.uint64(1)) * _MIX[1]
        mixed = (mixed ^ mixed >> np.uint64(29)) * _MIX[2]
        return np.add.reduceat(mixed ^ mixed >> np.uint64(32), starts).view(np.int64)


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
