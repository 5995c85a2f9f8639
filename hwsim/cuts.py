"""Populations → groups of neurons that a core can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import ChipError, Problem
from spikegraph.export.graph import Conv2d, Dense, Graph, SumPool2d
from spikegraph.hwsim.packing import (
    AXONS_IN,
    AXONS_OUT,
    DECAYS,
    MEMORY,
    NEURONS,
    SOURCES,
    THRESHOLDS,
    Demand,
    weight_bits,
)

REMEDIES = {
    NEURONS: "use fewer neurons, or a chip with larger cores",
    MEMORY: "prune synapses, use convolutions or fewer weight bits, or a chip with more memory",
    AXONS_IN: "let fewer neurons reach it: pool before it, use a stride, or prune",
    AXONS_OUT: "let its neurons reach fewer cores: make the population behind it smaller",
    DECAYS: "let more neurons share their decays",
    THRESHOLDS: "let more neurons share their threshold",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Cut:
    """A population in equal groups, one a core.

    Parameters
    ----------
    group_of : ndarray of int64 (n,)
        The group of each neuron, neurons in C order.
    loads : mapping of resource → ndarray of int64 (n_groups,)
    binding : str
        The resource that asks for so many groups.
    """

    group_of: Array
    loads: Mapping[str, Array]
    binding: str

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.loads[NEURONS])


def limits_of(chip: Chip) -> dict[str, int]:
    """Return the limits of one core, by resource; a resource whose limit is not published is absent."""
    return {name: limit.maximum for name in REMEDIES if (limit := getattr(chip.core, name)) is not None}


def memory_problem(graph: Graph, chip: Chip) -> Problem | None:
    """Say if synapses that would be listed one by one are more than the chip holds, before they are."""
    if chip.core is None:
        return None
    packing = chip.core.packing
    listed = {name: p for name, p in graph.projections.items() if not isinstance(p, (Conv2d, Dense, SumPool2d))}
    bits = {name: p.weight.size * weight_bits(p.weight, packing) for name, p in listed.items()}
    needed, room = sum(bits.values()), chip.core.mesh.cores * chip.core.synapse_bits.maximum
    if needed <= room:
        return None
    what = f"its weights need {needed:,} {MEMORY}, its cores have {room:,} in all"
    remedy = f"begin with {max(bits, key=lambda n: bits[n])}: {REMEDIES[MEMORY]}"
    return Problem(where=f"chip {chip.name!r}", what=what, remedy=remedy, found=needed, limit=room)


def cut(
    graph: Graph, population: str, chip: Chip, *, at_least: int = 1, at_most: int | None = None, naive: bool = False
) -> Cut:
    """Cut a population into the fewest groups that fit: whole channels, rows or pixels, whichever is better.

    Parameters
    ----------
    graph : Graph
        Pipelined.
    population : str
    chip : Chip
        With cores.
    at_least : int
        Number of groups to begin with.
    at_most : int, optional
        Number of groups beyond which none is tried: as many as the chip has cores, unless said.
    naive : bool
        Cut in C order, wherever a core is full.

    Raises
    ------
    ChipError
        Not even one neuron of it fits into a core, or it needs more than `at_most` groups.
    """
    if chip.core is None:
        raise ChipError(f"chip {chip.name!r}", "has no cores to place on", "choose loihi1 or loihi2")
    shape = graph.populations[population].shape
    numbers = np.arange(graph.populations[population].n).reshape(shape)
    ways = [(numbers.ravel(), 1)]
    if not naive and len(shape) == 3:
        channels, pixels = numbers.ravel(), np.moveaxis(numbers, 0, -1).ravel()
        ways = [(channels, shape[1] * shape[2]), (pixels, shape[2] * shape[0]), (pixels, shape[0])]
    most = at_most or chip.core.mesh.cores
    limits, best = limits_of(chip), None
    for order, unit in ways:
        demand = Demand(graph, population, order, chip.core.packing, unit)
        found = _in_order(demand, order, limits, at_least, best.n_groups if best else most)
        if found and (best is None or _better(found, best)):
            best = found
    if best is None:
        raise _too_small(demand, limits, f"{population} on {chip.name}", most, chip.core.mesh.cores)
    return best


def _better(one: Cut, other: Cut) -> bool:
    ours, others = ((c.n_groups, int(c.loads[SOURCES].sum())) for c in (one, other))
    return ours < others


def _in_order(demand: Demand, order: Array, limits: Mapping[str, int], at_least: int, at_most: int) -> Cut | None:
    """Cut neurons in this order into the fewest groups; None if those are more than `at_most`."""
    binding, most = NEURONS, min(at_most, demand.n)
    few = min(max(at_least, -(-demand.n // limits[NEURONS])), demand.n) - 1  # known to be too few
    n_groups = few + 1
    while (worst := _worst(demand.loads(n_groups), limits))[1] > 1:
        if n_groups >= most:
            return None
        binding, excess = worst
        few, n_groups = n_groups, min(max(n_groups + 1, int(n_groups * min(excess, 2))), most)
    while n_groups - few > 1:  # between the last number that was too few, and one that is enough
        middle = (few + n_groups) // 2
        few, n_groups = (few, middle) if _worst(demand.loads(middle), limits)[1] <= 1 else (middle, n_groups)
    group_of = np.empty(demand.n, np.int64)
    group_of[order] = demand.groups(n_groups)
    return Cut(group_of=group_of, loads=demand.loads(n_groups), binding=binding)


def _too_small(demand: Demand, limits: Mapping[str, int], where: str, most: int, n_cores: int) -> ChipError:
    alone = demand.loads(demand.n)  # if no two neurons shared a core
    resource, excess = _worst(alone, limits)
    if excess > 1:
        found, limit = int(alone[resource].max()), limits[resource]
        what = f"one neuron needs {found:,} {resource}, a core has {limit:,}"
        return ChipError(where, what, REMEDIES[resource], found, limit)
    resource, _ = _worst(demand.loads(min(most, demand.n)), limits)
    what = f"needs more than {most} cores for its {resource}, the chip has {n_cores}"
    return ChipError(where, what, REMEDIES[resource], f"more than {most}", n_cores)


def _worst(loads: Mapping[str, Array], limits: Mapping[str, int]) -> tuple[str, float]:
    """Return the resource of which the fullest group takes the largest share of its limit, and that share."""
    share = {name: int(loads[name].max()) / limits[name] for name in loads if name in limits}
    worst = max(share, key=lambda name: share[name])
    return worst, share[worst]
