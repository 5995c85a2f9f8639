"""Run a graph in several places and compare them: every spike and state, at every step.

The reference engine is the definition, and what places are compared with unless another is chosen. A place is anything
that can run a graph; it exposes at least the spikes of every population, and u and v where it can. A recording of a run
elsewhere may hold less. The command line turns a difference into exit code 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError, OptionError, SpikegraphError, TargetError
from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.order import topological_order
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.rasters import checked_samples
from spikegraph.targets.difference import Difference, OtherInputs, explained, first_difference
from spikegraph.targets.places import PLACES, VARIABLES, Execution, Place, native, reference
from spikegraph.targets.recording import Recorded


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One place against another.

    Parameters
    ----------
    place, to : str
        The place, and what it is compared with.
    populations : tuple of str
        Those that both expose.
    n_populations, n_steps, n_samples : int
    variables : tuple of str
        Those of "s", "u", "v" that the place exposes for at least one population.
    n_compared, n_different : int
        Numbers compared, and how many of them differ.
    first : Difference, optional
        None if the executions are identical.
    note : str
        What is to be known of a difference beforehand.
    """

    place: str
    to: str = "reference"
    populations: tuple[str, ...]
    n_populations: int
    n_steps: int
    n_samples: int
    variables: tuple[str, ...]
    n_compared: int
    n_different: int
    first: Difference | None
    note: str = ""

    @property
    def identical(self) -> bool:
        """Whether not one number differs."""
        return self.first is None

    def __str__(self) -> str:
        if self.first is None:
            counts = {"step": self.n_steps, "sample": self.n_samples}
            size = " × ".join([self._compared, *(f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items())])
            return f"{self.place}: identical: {size} ({', '.join(self.variables)}; {self.n_compared:,} values)"
        d = self.first
        values = f"{self.to} {d.expected}, {self.place} {d.got}"
        share = f"{self.n_different:,} of {self.n_compared:,} values differ"
        lines = [f"{self.place}: first difference at {d.where}: {values} ({share})"]
        lines += [f"  {self.note}"] if self.note else []
        lines += [f"  what arrived {arrived}" for arrived in d.arrived]
        if d.departs == self.to:
            lines.append(f"  {self.to} departs from what a graph means, not {self.place}")
        if d.cause is not None:
            lines.append(f"  {d.cause}")
        return "\n".join(lines)

    @property
    def _compared(self) -> str:
        n = len(self.populations)
        if n == self.n_populations:
            return f"{n} population{'s' * (n != 1)}"
        return f"{n} of {self.n_populations} populations ({', '.join(self.populations)})"

    def then(self, later: Comparison) -> Comparison:
        """Join with the same place's comparison over the samples that follow."""
        first, note = self.first, self.note
        if first is None and later.first is not None:
            note = later.note
            first = replace(later.first, sample=later.first.sample + self.n_samples)
        return replace(
            self,
            n_samples=self.n_samples + later.n_samples,
            n_compared=self.n_compared + later.n_compared,
            n_different=self.n_different + later.n_different,
            first=first,
            note=note,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain JSON."""
        first = None if self.first is None else self.first.to_json()
        lists = {name: list(getattr(self, name)) for name in ("populations", "variables")}
        return {**vars(self), **lists, "identical": self.identical, "first": first}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Every place against the one that they are compared with.

    Parameters
    ----------
    comparisons : tuple of Comparison
    refusals : mapping of place → error
        Places that cannot run the graph, and why: the others' answers stand.
    """

    comparisons: tuple[Comparison, ...]
    refusals: Mapping[str, SpikegraphError] = field(default_factory=dict)

    @property
    def identical(self) -> bool:
        """Whether every place ran and computes the same."""
        return not self.refusals and all(comparison.identical for comparison in self.comparisons)

    def then(self, later: Verification) -> Verification:
        """Join with the verification over the samples that follow, of the same places or those that still run."""
        following = {comparison.place: comparison for comparison in later.comparisons}
        joined = (one.then(following[one.place]) if one.place in following else one for one in self.comparisons)
        return Verification(comparisons=tuple(joined), refusals={**self.refusals, **later.refusals})

    def __str__(self) -> str:
        return "\n".join(str(comparison) for comparison in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """Return the verification as plain JSON."""
        places = [comparison.to_json() for comparison in self.comparisons]
        refusals = {name: str(error) for name, error in self.refusals.items()}
        return {"identical": self.identical, "places": places, "refusals": refusals}


def verify(
    graph: Graph,
    rasters: Mapping[str, Array],
    places: Mapping[str, Place],
    *,
    to: tuple[str, Place] = ("reference", reference),
    unexplained: Collection[str] = (),
    other_inputs: OtherInputs = dict,
) -> Verification:
    """Compare places with one place on the same input.

    Parameters
    ----------
    graph : Graph
        Each population is compared in its own time, so pipelined or not is all the same; targets take it as it was
        before, because they pipeline it themselves.
    rasters : mapping of input name → ndarray of int (T, B, *shape)
    places : mapping of name → Place
        Some of `PLACES`, or others, such as the network in the framework that trained it, or a `Recorded` run.
    to : (name, Place)
        What they are compared with.
    unexplained : collection of str
        Places whose first difference is not explained: one was found before.
    other_inputs : callable() → mapping of what → rasters, optional
        What other ways to encode the same samples make; a hypothesis on the cause of a difference each. Called only
        where a difference is found.

    Raises
    ------
    GraphError, DataError, OptionError
        The graph is not legal, the rasters do not fit it, or there is no place.
    TargetError
        A place does not return what a place must, or the one that the others are compared with cannot run the graph.
    """
    if not places:
        raise OptionError("places", "is empty", f"name at least one of {', '.join(PLACES)}")
    program = compile_program(graph)
    n_samples = checked_samples(graph, rasters)
    if n_samples == 0:
        raise DataError("rasters", "hold no sample", "give at least one")
    expected = _run(graph, rasters, *to)
    _require_complete(graph, *to, expected, n_samples)
    comparisons, refusals = [], {}
    for name, place in places.items():
        try:
            got = _run(graph, rasters, name, place)
        except TargetError as error:
            refusals[name] = error
            continue
        _require_complete(graph, name, place, got, n_samples)
        comparison = _compare(graph, name, got, to[0], expected, n_samples)
        if comparison.first is not None and name not in unexplained:
            first = explained(comparison.first, program, (expected, got), (to[0], name), rasters, other_inputs)
            comparison = replace(comparison, first=first, note=_of_other_graphs(graph, {name: place, to[0]: to[1]}))
        comparisons.append(comparison)
    return Verification(comparisons=tuple(comparisons), refusals=refusals)


def _of_other_graphs(graph: Graph, places: Mapping[str, Place]) -> str:
    own = graph_checksum(graph)
    others = {name: place.graph for name, place in places.items() if isinstance(place, Recorded) and place.graph}
    said = [f"{name} was recorded with another graph ({of[:16]})" for name, of in others.items() if of != own]
    return f"{', '.join(said)}, this one is {own[:16]}" if said else ""


def _run(graph: Graph, rasters: Mapping[str, Array], name: str, place: Place) -> Execution:
    pipelined = any(p.start_step for p in graph.populations.values())
    if pipelined and place not in (reference, native) and not isinstance(place, Recorded):
        raise TargetError(name, "takes no pipelined graph", "pass the original one: a target pipelines it itself")
    return place(graph, rasters)


def _require_complete(graph: Graph, name: str, place: Place, execution: Execution, n_samples: int) -> None:
    remedy = "a place returns population → variable → array (T, B, *shape), spikes at least"
    for population, node in graph.populations.items():
        traces, shape = execution.get(population, {}), (graph.n_steps, n_samples, *node.shape)
        if "s" not in traces and not isinstance(place, Recorded):
            raise TargetError(name, f"returned no spikes of population {population}", remedy)
        for variable, array in traces.items():
            if variable not in VARIABLES:
                what = f"returned {population}.{variable}, which is none of {', '.join(VARIABLES)}"
                raise TargetError(name, what, remedy)
            if np.shape(array) != shape:
                what = f"returned {population}.{variable} of shape {np.shape(array)}, expected {shape}"
                raise TargetError(name, what, remedy)


def _compare(graph: Graph, place: str, got: Execution, to: str, expected: Execution, n_samples: int) -> Comparison:
    order = sorted(topological_order(graph), key=lambda name: graph.populations[name].start_step)
    shared = {name: [v for v in got.get(name, {}) if v in expected.get(name, {})] for name in order}
    compared = tuple(name for name in order if shared[name])
    if not compared:
        raise TargetError(place, f"shares no population and variable with {to}", "record what the other one has")
    pairs = [(got[name][v], expected[name][v]) for name in compared for v in shared[name]]
    return Comparison(
        place=place,
        to=to,
        populations=compared,
        n_populations=len(order),
        n_steps=graph.n_steps,
        n_samples=n_samples,
        variables=tuple(v for v in ("s", "u", "v") if any(v in shared[name] for name in compared)),
        n_compared=sum(np.size(ours) for ours, _ in pairs),
        n_different=sum(int((np.asarray(ours) != np.asarray(theirs)).sum()) for ours, theirs in pairs),
        first=first_difference(expected, got, order),
    )
