"""Which neurons share a core, before it is said where the core lies; and every reason why a graph has too few cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from scipy.sparse import coo_array, csr_array

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import ChipError, Problem
from spikegraph.export.graph import Dense, Graph, Projection
from spikegraph.hwsim.cuts import REMEDIES, Cut, cut, limits_of, memory_problem
from spikegraph.hwsim.packing import AXONS_OUT, one_channel
from spikegraph.progress import Progress


@dataclass(frozen=True, kw_only=True, eq=False)
class Assignment:
    """Populations in groups, one a core.

    Parameters
    ----------
    cuts : mapping of population → Cut
        Without those of which not even one neuron fits, or which need far more cores than there are.
    problems : tuple of Problem
        Every limit of a core or of the chip that is passed; none: all neurons have a core.
    population : tuple of str (n_cores,)
        The population that each core holds a part of.
    core_of : mapping of population → ndarray of int64 (n,)
    loads : mapping of resource → ndarray of int64 (n_cores,)
        What each core holds. Without axons_out where there are too few cores.
    sent : mapping of population → csr_array (n, n_cores)
        The cores that each neuron reaches; empty where there are too few cores.
    """

    cuts: Mapping[str, Cut]
    problems: tuple[Problem, ...]
    population: tuple[str, ...]
    core_of: Mapping[str, Array]
    loads: Mapping[str, Array]
    sent: Mapping[str, csr_array]


def assign(
    graph: Graph, chip: Chip, *, at_most: int | None = None, naive: bool = False, progress: Progress | None = None
) -> Assignment:
    """Cut every population of a graph into groups that a core can hold.

    Parameters
    ----------
    graph : Graph
        Pipelined. Weights that the chip lacks are taken to be of its widest.
    chip : Chip
    at_most : int, optional
        Groups of a population beyond which none is tried; the chip's cores unless said.
    naive : bool
        See `place`.
    progress : callable(what, done, total), optional

    Raises
    ------
    ChipError
        The chip has no cores.
    """
    if chip.core is None:
        raise ChipError(f"chip {chip.name!r}", "has no cores to place on", "choose loihi1 or loihi2")
    cuts: dict[str, Cut] = {}
    too_much = memory_problem(graph, chip)
    if too_much is not None:
        return _assignment(graph, chip, cuts, [too_much])
    problems = []
    for done, name in enumerate(graph.populations):
        if progress:
            progress(f"place on {chip.name}", done, len(graph.populations))
        try:
            cuts[name] = cut(graph, name, chip, at_most=at_most, naive=naive)
        except ChipError as error:
            problems.append(error.problem)
    if sum(c.n_groups for c in cuts.values()) > chip.core.mesh.cores:
        problems.append(_too_many(cuts, chip, at_least=bool(problems)))
    found = _assignment(graph, chip, cuts, problems)
    if problems:
        return found
    limit = limits_of(chip).get(AXONS_OUT)
    while limit is not None and (over := _over(found, limit)):
        for name in over:  # smaller groups send less each, and together no less
            if cuts[name].n_groups == graph.populations[name].n:
                most = int(found.loads[AXONS_OUT][found.core_of[name]].max())
                what = f"one neuron needs {most:,} {AXONS_OUT}, a core has {limit:,}"
                where = f"{name} on {chip.name}"
                problems.append(Problem(where=where, what=what, remedy=REMEDIES[AXONS_OUT], found=most, limit=limit))
            else:
                sent = found.loads[AXONS_OUT][np.unique(found.core_of[name])].sum()
                at_least = max(cuts[name].n_groups + 1, -(-int(sent) // limit))
                try:
                    smaller = cut(graph, name, chip, at_least=at_least, at_most=at_most, naive=naive)
                    cuts[name] = replace(smaller, binding=AXONS_OUT)
                except ChipError as error:
                    problems.append(error.problem)
        if sum(c.n_groups for c in cuts.values()) > chip.core.mesh.cores:
            problems.append(_too_many(cuts, chip))
        found = _assignment(graph, chip, cuts, problems)
        if problems:
            break
    return found


def _over(found: Assignment, limit: int) -> list[str]:
    return list(dict.fromkeys(found.population[core] for core in np.flatnonzero(found.loads[AXONS_OUT] > limit)))


def _assignment(graph: Graph, chip: Chip, cuts: Mapping[str, Cut], problems: list[Problem]) -> Assignment:
    first = np.cumsum([0, *(c.n_groups for c in cuts.values())])
    core_of = {name: c.group_of + first[k] for k, (name, c) in enumerate(cuts.items())}
    population = tuple(name for name, c in cuts.items() for _ in range(c.n_groups))
    resources = next(iter(cuts.values())).loads if cuts else {}
    loads = {r: np.concatenate([c.loads[r] for c in cuts.values()]) for r in resources}
    sent: dict[str, csr_array] = {}
    if chip.core and set(cuts) == set(graph.populations) and len(population) <= chip.core.mesh.cores:
        synapses = synapses_by_core(graph, core_of, len(population))
        sent = {name: destinations(graph, name, synapses, len(population)) for name in graph.populations}
        loads[AXONS_OUT] = np.zeros(len(population), np.int64)
        for name, matrix in sent.items():
            np.add.at(loads[AXONS_OUT], core_of[name], np.diff(matrix.indptr))
    return Assignment(
        cuts=dict(cuts), problems=tuple(problems), population=population, core_of=core_of, loads=loads, sent=sent
    )


def synapses_by_core(graph: Graph, core_of: Mapping[str, Array], n_cores: int) -> dict[str, csr_array]:
    """Count the synapses that each source neuron of each projection has in each core: (n_source, n_cores)."""
    return {name: _by_core(graph, p, core_of[p.target], n_cores) for name, p in graph.projections.items()}


def _by_core(graph: Graph, p: Projection, core: Array, n_cores: int) -> csr_array:
    source, target = graph.shape_of(p.source), graph.shape_of(p.target)
    if isinstance(p, Dense):
        return csr_array(np.broadcast_to(np.bincount(core, minlength=n_cores), (prod(source), n_cores)))
    one, shape, n_alike = one_channel(p, source)
    sources, targets, _ = one.synapses(shape, target)
    pairs = (np.ones(len(sources), np.int64), (sources, core[targets]))
    of_one = csr_array(coo_array(pairs, shape=(prod(shape), n_cores)))  # which adds up what meets
    if n_alike == 1:
        return of_one
    rows = np.arange(prod(shape)).reshape(shape[0], 1, -1)
    return csr_array(of_one[np.repeat(rows, n_alike, axis=1).ravel()])


def destinations(graph: Graph, source: str, synapses: Mapping[str, csr_array], n_cores: int) -> csr_array:
    """Mark the cores that each neuron of a source reaches, by whatever projection: (n_source, n_cores), stored ones."""
    total = csr_array((prod(graph.shape_of(source)), n_cores), dtype=np.int64)
    for name, p in graph.projections.items():
        if p.source == source:
            total = csr_array(total + synapses[name])
    total.data[:] = 1
    return total


def _too_many(cuts: Mapping[str, Cut], chip: Chip, *, at_least: bool = False) -> Problem:
    largest = max(cuts, key=lambda name: cuts[name].n_groups)
    needs = ", ".join(f"{name} {c.n_groups} for its {c.binding}" for name, c in cuts.items())
    n_cores, limit = sum(c.n_groups for c in cuts.values()), chip.core.mesh.cores if chip.core else 0
    what = f"the graph needs {'at least ' if at_least else ''}{n_cores} cores ({needs}), the chip has {limit}"
    remedy = f"begin with {largest}: {REMEDIES[cuts[largest].binding]}"
    return Problem(where=f"chip {chip.name!r}", what=what, remedy=remedy, found=n_cores, limit=limit)
