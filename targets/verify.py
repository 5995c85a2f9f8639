"""Run a graph in several places and compare them with the reference engine: every spike and state, at every step.

The reference engine is the definition. A place is anything that can run a graph; it exposes at least the spikes of
every population, and u and v where it can. The command line turns a difference into exit code 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError, OptionError, SpikegraphError, TargetError
from spikegraph.export.graph import Graph
from spikegraph.export.order import topological_order
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.rasters import checked_samples
from spikegraph.targets.places import PLACES, VARIABLES, Execution, Place, reference


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first difference: earliest sample, then step, population in topological order, variable, neuron.

    Parameters
    ----------
    sample, step : int
    population, variable : str
    neuron : tuple of int
        Index in the population's shape.
    expected, got : int
        What the reference engine has, and what the place has.
    """

    sample: int
    step: int
    population: str
    variable: str
    neuron: tuple[int, ...]
    expected: int
    got: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One place against the reference engine.

    Parameters
    ----------
    n_populations, n_steps, n_samples : int
    variables : tuple of str
        Those of "s", "u", "v" that the place exposes for at least one population.
    n_compared, n_different : int
        Numbers compared, and how many of them differ.
    first : Difference, optional
        None if the executions are identical.
    """

    place: str
    n_populations: int
    n_steps: int
    n_samples: int
    variables: tuple[str, ...]
    n_compared: int
    n_different: int
    first: Difference | None

    @property
    def identical(self) -> bool:
        """Whether not one number differs."""
        return self.first is None

    def __str__(self) -> str:
        if self.first is None:
            counts = {"population": self.n_populations, "step": self.n_steps, "sample": self.n_samples}
            size = " × ".join(f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items())
            return f"{self.place}: identical: {size} ({', '.join(self.variables)}; {self.n_compared:,} values)"
        d = self.first
        neuron = d.neuron[0] if len(d.neuron) == 1 else d.neuron
        where = f"sample {d.sample}, step {d.step}, population {d.population}, neuron {neuron}, {d.variable}"
        values = f"reference {d.expected}, {self.place} {d.got}"
        share = f"{self.n_different:,} of {self.n_compared:,} values differ"
        return f"{self.place}: first difference at {where}: {values} ({share})"

    def then(self, later: Comparison) -> Comparison:
        """Join with the same place's comparison over the samples that follow."""
        first = self.first
        if first is None and later.first is not None:
            first = replace(later.first, sample=later.first.sample + self.n_samples)
        return replace(
            self,
            n_samples=self.n_samples + later.n_samples,
            n_compared=self.n_compared + later.n_compared,
            n_different=self.n_different + later.n_different,
            first=first,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as plain JSON."""
        first = None if self.first is None else {**vars(self.first), "neuron": list(self.first.neuron)}
        return {**vars(self), "variables": list(self.variables), "identical": self.identical, "first": first}


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Every place against the reference engine.

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
        """Whether every place ran and computes the same as the reference engine."""
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


def verify(graph: Graph, rasters: Mapping[str, Array], places: Mapping[str, Place]) -> Verification:
    """Compare places with the reference engine on the same input.

    Parameters
    ----------
    graph : Graph
        Not pipelined: each population is compared in its own time.
    rasters : mapping of input name → ndarray of int (T, B, *shape)
    places : mapping of name → Place
        Some of `PLACES`, or others, such as the network in the framework that trained it.

    Raises
    ------
    GraphError, DataError, OptionError
        The graph is not legal, the rasters do not fit it, or there is no place.
    TargetError
        A place does not return what a place must.
    """
    if not places:
        raise OptionError("places", "is empty", f"name at least one of {', '.join(PLACES)}")
    program = compile_program(graph)
    if program.depth:
        raise OptionError("graph", "is pipelined", "pass the original graph; targets pipeline it themselves")
    n_samples = checked_samples(graph, rasters)
    if n_samples == 0:
        raise DataError("rasters", "hold no sample", "give at least one")
    definition, order = reference(graph, rasters), topological_order(graph)
    comparisons, refusals = [], {}
    for name, place in places.items():
        try:
            execution = place(graph, rasters)
        except TargetError as error:
            refusals[name] = error
            continue
        _require_complete(name, execution, definition)
        comparisons.append(_compare(name, execution, definition, order, graph.n_steps, n_samples))
    return Verification(comparisons=tuple(comparisons), refusals=refusals)


def _require_complete(place: str, execution: Execution, definition: Execution) -> None:
    remedy = "a place returns population → variable → array (T, B, *shape), spikes at least"
    for name, traces in definition.items():
        if "s" not in execution.get(name, {}):
            raise TargetError(place, f"returned no spikes of population {name}", remedy)
        for variable, array in execution[name].items():
            if variable not in traces:
                raise TargetError(place, f"returned {name}.{variable}, which is none of {', '.join(VARIABLES)}", remedy)
            if np.shape(array) != traces[variable].shape:
                what = f"returned {name}.{variable} of shape {np.shape(array)}, expected {traces[variable].shape}"
                raise TargetError(place, what, remedy)


def _compare(
    place: str, execution: Execution, definition: Execution, order: list[str], n_steps: int, n_samples: int
) -> Comparison:
    n_compared, n_different = 0, 0
    first: tuple[tuple[int, ...], Difference] | None = None
    for position, name in enumerate(order):
        for rank, variable in enumerate(VARIABLES):
            if variable not in execution[name]:
                continue
            got, expected = np.asarray(execution[name][variable]), definition[name][variable]
            different = np.moveaxis(got != expected, 0, 1)  # sample first, then step
            n_compared += different.size
            n_different += int(different.sum())
            if not different.any():
                continue
            sample, step, *neuron = (int(i) for i in np.unravel_index(int(different.argmax()), different.shape))
            key, at = (sample, step, position, rank), (step, sample, *neuron)
            if first is None or key < first[0]:
                first = (
                    key,
                    Difference(
                        sample=sample,
                        step=step,
                        population=name,
                        variable=variable,
                        neuron=tuple(neuron),
                        expected=int(expected[at]),
                        got=int(got[at]),
                    ),
                )
    return Comparison(
        place=place,
        n_populations=len(order),
        n_steps=n_steps,
        n_samples=n_samples,
        variables=tuple(v for v in ("s", "u", "v") if any(v in execution[name] for name in order)),
        n_compared=n_compared,
        n_different=n_different,
        first=None if first is None else first[1],
    )
