"""Populations that a chip cannot hold, because it shares what differs between their neurons → one for each value.

An exact rewrite: every neuron computes what it computed, bit for bit, and every synapse is still there once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.check import require_legal
from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Conv2d, Dense, Graph, OneToOne, Population, Projection, Sparse

MOST_PARTS = 256  # of one population
_MOST_SYNAPSES = 1 << 26  # of a projection that must be listed one by one
_BY_NEURON = "train it with one for all neurons, or choose a chip with one per neuron"


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Some neurons of a population, as a population.

    Parameters
    ----------
    name : str
    shape : (n,) or (c, h, w)
        The latter if they are whole channels.
    neurons : ndarray of int64 (n,)
        Flat indices in the population that was split, rising: its neurons in their order.
    channels : ndarray of int64 (c,)
        Empty unless they are whole channels.
    """

    name: str
    shape: Shape
    neurons: Array
    channels: Array


def split_populations(graph: Graph, chip: Chip) -> tuple[Graph, dict[str, tuple[Part, ...]]]:
    """Split each population whose neurons differ in what the chip shares: neurons that do not differ stay together.

    Population x becomes x.0, x.1, …, and a projection p at its ends p.0, p.1, …: `Dense` as a part of its matrix,
    `Conv2d` between whole channels as one of fewer channels, `OneToOne` between the same neurons as such, and all else
    as `Sparse`. Which neurons went where is also kept in the provenance, for `split_execution`.

    Requires: a legal graph.
    Ensures: no population differs in what the chip shares; every spike, u and v is that of the graph, and so is the
    number of synapses that each spike reaches. (`dense_macs` is not: a `Sparse` stands for a full matrix.)

    Returns
    -------
    Graph
    dict of population that was split → tuple of Part

    Raises
    ------
    GraphError
        A population cannot be split: an output taps it; it would take too many parts; what it sends is shifted right,
        so that parts of a sum do not add up to the whole; a part's name is taken. Every reason is listed.
    """
    require_legal(graph)
    parts = {name: _parts(name, population, chip) for name, population in graph.populations.items()}
    found = [
        problem
        for name, of in parts.items()
        if len(of) > 1
        for problem in _problems(graph, name, of, _differs(graph.populations[name], chip))
    ]
    if found:
        raise GraphError(found)
    return _split(graph, parts)


def split_groups(graph: Graph, groups: Mapping[str, Array]) -> tuple[Graph, dict[str, tuple[Part, ...]]]:
    """Split populations into groups of neurons, such as those that lie on one core; else as `split_populations`.

    A population that cannot be split is left whole.

    Parameters
    ----------
    graph : Graph
    groups : mapping of population → ndarray of int (n,)
        The group of each neuron, neurons in C order.
    """
    require_legal(graph)
    parts = {}
    for name, population in graph.populations.items():
        of = _grouped(name, population.shape, groups.get(name, np.zeros(population.n, np.int64)))
        can = len(of) == 1 or not any(_problems(graph, name, of, "lies on several cores"))
        parts[name] = of if can else _grouped(name, population.shape, np.zeros(population.n, np.int64))
    return _split(graph, parts)


def _split(graph: Graph, parts: Mapping[str, tuple[Part, ...]]) -> tuple[Graph, dict[str, tuple[Part, ...]]]:
    split = {name: of for name, of in parts.items() if len(of) > 1}
    if not split:
        return graph, {}
    whole = {name: (_part(name, node.shape, np.arange(node.n), 0, of=1),) for name, node in graph.inputs.items()}
    populations = {
        part.name: _population(population, part) if name in split else population
        for name, population in graph.populations.items()
        for part in parts[name]
    }
    projections: dict[str, Projection] = {}
    for name, p in graph.projections.items():
        if p.source in split or p.target in split:
            between = _between(graph, p, {**whole, **parts}[p.source], parts[p.target])
            projections |= {f"{name}.{k}": part for k, part in enumerate(between)}
        else:
            projections[name] = p
    kept = {name: {part.name: _runs(part.neurons) for part in of} for name, of in split.items()}
    provenance = {**graph.provenance, "split": {**graph.provenance.get("split", {}), **kept}}
    return replace(graph, populations=populations, projections=projections, provenance=provenance), split


def said_of(parts: Sequence[Part]) -> str:
    """Say in words what a population became."""
    return f"{len(parts)} populations, {parts[0].name} to {parts[-1].name}"


def split_execution(execution: Mapping[str, Mapping[str, Array]], graph: Graph) -> dict[str, Mapping[str, Array]]:
    """Give the traces of an execution, (T, B, *shape) by population and variable, to the parts of a split graph."""
    found = dict(execution)
    for name, parts in graph.provenance.get("split", {}).items():
        traces = found.pop(name, {})
        for part, runs in parts.items():
            neurons = np.concatenate([np.arange(first, last) for first, last in runs])
            node = graph.populations.get(part)  # None: it was split once more
            shape = node.shape if node is not None else (len(neurons),)
            found[part] = {
                variable: trace.reshape(*trace.shape[:2], -1)[..., neurons].reshape(*trace.shape[:2], *shape)
                for variable, trace in traces.items()
            }
    return found


def _shared(chip: Chip) -> list[str]:
    return [name for name in Population.PARAMETERS if getattr(chip, name).shared]


def _parts(name: str, population: Population, chip: Chip) -> tuple[Part, ...]:
    values = [per_neuron(getattr(population, parameter), population.shape).ravel() for parameter in _shared(chip)]
    alike = np.zeros(population.n, np.int64)
    for value in values:
        # Two neurons are alike if they were so far, and in this; numbered anew so that the product stays small.
        alike = np.unique(alike * population.n + np.unique(value, return_inverse=True)[1], return_inverse=True)[1]
    return _grouped(name, population.shape, alike)


def _grouped(name: str, shape: Shape, group: Array) -> tuple[Part, ...]:
    _, first, kind = np.unique(group, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[kind]  # parts in the order of their first neurons
    order = np.argsort(rank, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(rank))[:-1])
    return tuple(_part(name, shape, neurons, k, of=len(groups)) for k, neurons in enumerate(groups))


def _part(name: str, shape: Shape, neurons: Array, k: int, *, of: int) -> Part:
    name = name if of == 1 else f"{name}.{k}"
    if len(shape) == 3:
        channels, counts = np.unique(neurons // prod(shape[1:]), return_counts=True)
        if (counts == prod(shape[1:])).all():
            return Part(name=name, shape=(len(channels), *shape[1:]), neurons=neurons, channels=channels)
    return Part(name=name, shape=(len(neurons),), neurons=neurons, channels=np.zeros(0, np.int64))


def _differs(population: Population, chip: Chip) -> str:
    differs = ", ".join(p for p in _shared(chip) if len(np.unique(getattr(population, p))) > 1)
    return f"{differs} differs between neurons, and a population shares one on {chip.title}"


def _problems(graph: Graph, name: str, parts: tuple[Part, ...], what: str) -> Iterator[Problem]:
    """Say why a population cannot be split; `what` asks for it."""
    for output, tap in graph.outputs.items():
        if tap.population == name:
            yield Problem(where=name, what=f"{what}; output {output!r} taps it, so it is not split", remedy=_BY_NEURON)
    if len(parts) > MOST_PARTS:
        what = f"{what}; it would be split into {len(parts)} populations, more than {MOST_PARTS}"
        yield Problem(where=name, what=what, remedy="train with one per channel or layer, or choose another chip")
    for part in parts:
        if part.name in graph.populations or part.name in graph.inputs:
            yield Problem(where=part.name, what=f"is a name that a part of {name} needs", remedy="rename the node")
    for p_name, p in graph.projections.items():
        if p.source == name and p.weight_exp < 0 and (p.weight.astype(np.int64) % (1 << -p.weight_exp)).any():
            what = (
                f"shifts its sum right by {-p.weight_exp}, so that the sums of the parts of {name} do not add up to it"
            )
            yield Problem(where=p_name, what=what, remedy="use a weight_exp of 0 or more")


def _population(population: Population, part: Part) -> Population:
    values: dict[str, Any] = {}
    for parameter in Population.PARAMETERS:
        value = per_neuron(getattr(population, parameter), population.shape).ravel()[part.neurons]
        values[parameter] = value[0] if (value == value[0]).all() else value.reshape(part.shape)
    return replace(population, shape=part.shape, **values)


def _between(graph: Graph, p: Projection, sources: tuple[Part, ...], targets: tuple[Part, ...]) -> Iterator[Projection]:
    """Yield the projections from each part to each part, those without synapses left out."""
    weight, exponent = p.weight, p.weight_exp
    if exponent < 0 and len(sources) > 1:  # of multiples, which the shift does not floor
        weight, exponent = weight >> -exponent, 0
    if not _stays(p, sources, targets):
        yield from _sparse(graph, p, weight, exponent, sources, targets)
        return
    for source in sources:
        for target in targets:
            own: Any = None
            if isinstance(p, Dense):
                own = weight[np.ix_(target.neurons, source.neurons)]
            elif isinstance(p, Conv2d):
                own = weight[np.ix_(target.channels, source.channels)]
            elif np.array_equal(source.neurons, target.neurons):
                of_each = per_neuron(weight, graph.shape_of(p.source)).ravel()[source.neurons]
                own = weight if weight.ndim == 0 else of_each.reshape(source.shape)
            if own is not None:
                yield replace(p, source=source.name, target=target.name, weight=own, weight_exp=exponent)


def _stays(p: Projection, sources: tuple[Part, ...], targets: tuple[Part, ...]) -> bool:
    """Tell whether the parts of a projection are of its own kind."""
    if isinstance(p, Conv2d):
        return p.groups == 1 and all(part.channels.size for part in (*sources, *targets))
    if isinstance(p, OneToOne):  # the same neurons, or none in common
        return {part.neurons.tobytes() for part in sources} == {part.neurons.tobytes() for part in targets}
    return isinstance(p, Dense)


def _sparse(
    graph: Graph, p: Projection, weight: Array, exponent: int, sources: tuple[Part, ...], targets: tuple[Part, ...]
) -> Iterator[Sparse]:
    shapes = graph.shape_of(p.source), graph.shape_of(p.target)
    n_synapses = int(p.fan_out(p.stored(), *shapes).sum())
    if n_synapses > _MOST_SYNAPSES:
        what = f"has {n_synapses:,} synapses, which would be listed one by one, more than {_MOST_SYNAPSES:,}"
        raise GraphError([Problem(where=f"{p.source} → {p.target}", what=what, remedy=_BY_NEURON)])
    source, target, place = p.synapses(*shapes)
    (from_part, from_neuron), (to_part, to_neuron) = _places(sources, shapes[0]), _places(targets, shapes[1])
    pair = from_part[source] * len(targets) + to_part[target]
    order = np.lexsort((from_neuron[source], pair))  # stable, so that synapses of a row keep their order
    starts = np.searchsorted(pair[order], np.arange(len(sources) * len(targets) + 1))
    for number, (first, last) in enumerate(pairwise(starts)):
        if first == last:
            continue
        own, of = order[first:last], sources[number // len(targets)]
        fan_out = np.bincount(from_neuron[source[own]], minlength=len(of.neurons))
        yield Sparse(
            source=of.name,
            target=targets[number % len(targets)].name,
            delay_steps=p.delay_steps,
            weight=weight.ravel()[place[own]],
            weight_exp=exponent,
            indptr=np.concatenate([[0], np.cumsum(fan_out)]),
            indices=to_neuron[target[own]],
        )


def _places(parts: tuple[Part, ...], shape: Shape) -> tuple[Array, Array]:
    """Return, for each neuron of the whole, its part and its place there."""
    part, place = np.zeros(prod(shape), np.int64), np.zeros(prod(shape), np.int64)
    for k, one in enumerate(parts):
        part[one.neurons], place[one.neurons] = k, np.arange(len(one.neurons))
    return part, place


def _runs(neurons: Array) -> list[list[int]]:
    """Return the ranges, first and one past the last, that rising numbers make up."""
    ends = np.flatnonzero(np.diff(neurons) != 1)
    first, last = np.concatenate([[0], ends + 1]), np.concatenate([ends, [len(neurons) - 1]])
    return [[int(neurons[a]), int(neurons[b]) + 1] for a, b in zip(first, last, strict=True)]
