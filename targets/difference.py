"""Where two executions part: the first difference in causal order, what had reached that neuron, and the cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.hwsim.program import Program
from spikegraph.targets.cause import Cause, find_cause, makes
from spikegraph.targets.fan_in import fan_in
from spikegraph.targets.otherwise import computed, input_sums, parts_of, steps_between
from spikegraph.targets.places import VARIABLES, Execution, reference

OtherInputs = Callable[[], Mapping[str, Mapping[str, Array]]]  # what was done otherwise → input → raster

_MOST_VALUES = 1 << 21  # of a population, in the samples that its cause is sought in
_MOST_SAMPLES = 8
_SHOWN = 6  # spikes of a projection in a message


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """What reached a neuron in a step by one projection.

    Parameters
    ----------
    projection, source : str
    step : int
        Step in which the source fired.
    expected, got : tuple of (neuron, spike, weight), or None
        The source's spikes that end at the neuron, synapse by synapse, in either execution; `neuron` is the place in
        the flattened source. None: that execution does not say.
    """

    projection: str
    source: str
    step: int
    expected: tuple[tuple[int, int, int], ...] | None
    got: tuple[tuple[int, int, int], ...] | None

    def __str__(self) -> str:
        if self.expected is None or self.got is None:
            known = self.expected if self.expected is not None else self.got
            return f"{self._who}: {'not recorded' if known is None else _listed(known)}"
        if self.got != self.expected:
            return f"{self._who}: {_listed(self.expected)}; in the other {_listed(self.got)}"
        return f"{self._who}: {_listed(self.expected)}, in both"

    @property
    def _who(self) -> str:
        return f"by {self.projection} from {self.source}, step {self.step}"


def _listed(spikes: Sequence[tuple[int, int, int]]) -> str:
    if not spikes:
        return "nothing"
    each = [f"{neuron}: {weight}" if s == 1 else f"{neuron}: {s} · {weight}" for neuron, s, weight in spikes[:_SHOWN]]
    more = f", and {len(spikes) - _SHOWN} more" if len(spikes) > _SHOWN else ""
    return f"{sum(s * weight for _, s, weight in spikes)} ({', '.join(each)}{more})"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first difference: earliest sample, then step, population in topological order, variable, neuron.

    Samples do not act on each other, so the first in time of each is as good as any.

    Parameters
    ----------
    sample, step : int
    population, variable : str
    neuron : tuple of int
        Index in the population's shape.
    expected, got : int
        What the one execution has, and what the other.
    arrived : tuple of Arrived
        What reached the neuron in this step.
    departs : str
        The place that does not do what docs/semantics.md says, where it is known.
    cause : Cause, optional
    """

    sample: int
    step: int
    population: str
    variable: str
    neuron: tuple[int, ...]
    expected: int
    got: int
    arrived: tuple[Arrived, ...] = ()
    departs: str = ""
    cause: Cause | None = None

    @property
    def where(self) -> str:
        """Its place, in words."""
        neuron = self.neuron[0] if len(self.neuron) == 1 else self.neuron
        return f"sample {self.sample}, step {self.step}, population {self.population}, neuron {neuron}, {self.variable}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            **vars(self),
            "neuron": list(self.neuron),
            "arrived": [vars(one) for one in self.arrived],
            "cause": None if self.cause is None else vars(self.cause),
        }


def first_difference(expected: Execution, got: Execution, order: Sequence[str]) -> Difference | None:
    """Find the first difference in all that both executions have, populations being in this order."""
    first: tuple[tuple[int, ...], Difference] | None = None
    for position, name in enumerate(order):
        for rank, variable in enumerate(VARIABLES):
            if variable not in got.get(name, {}) or variable not in expected.get(name, {}):
                continue
            ours, theirs = np.asarray(expected[name][variable]), np.asarray(got[name][variable])
            different = np.moveaxis(ours != theirs, 0, 1)  # sample first, then step
            if not different.any():
                continue
            sample, step, *neuron = (int(i) for i in np.unravel_index(int(different.argmax()), different.shape))
            key, at = (sample, step, position, rank), (step, sample, *neuron)
            if first is None or key < first[0]:
                found = Difference(
                    sample=sample,
                    step=step,
                    population=name,
                    variable=variable,
                    neuron=tuple(neuron),
                    expected=int(ours[at]),
                    got=int(theirs[at]),
                )
                first = (key, found)
    return None if first is None else first[1]


def explained(
    first: Difference,
    program: Program,
    executions: tuple[Execution, Execution],
    names: tuple[str, str],
    rasters: Mapping[str, Array],
    other_inputs: OtherInputs = dict,
) -> Difference:
    """Return a first difference with what reached the neuron, which execution departs from the law, and the cause.

    Parameters
    ----------
    first : Difference
    program : Program
    executions, names : pairs
        The expected one and the other; what they are called.
    rasters : mapping of input → ndarray (T, B, *shape)
    other_inputs : callable() → mapping of what → rasters, optional
        See `find_cause`. Called only where a difference is found.
    """
    expected, got = executions
    first = replace(first, arrived=_arrived(first, program.graph, expected, got, rasters))
    population = next(p for p in program.populations if p.name == first.population)
    samples = _samples(first, expected, got)
    sources = {p.projection.source for p in population.incoming}
    unknown = [source for source in sources if _spikes(source, rasters, expected, got) is None]
    law_of_all = reference(program.graph, rasters) if unknown else {}
    others = {what: _chosen(spikes, samples) for what, spikes in other_inputs().items()}
    for execution, name in ((got, names[1]), (expected, names[0])):
        every = {source: _spikes(source, rasters, execution, expected, got, law_of_all) for source in sources}
        spikes = _chosen({source: s for source, s in every.items() if s is not None}, samples)
        own, at = _chosen(execution[first.population], samples), (first.step, 0, *first.neuron)
        law = parts_of(program.graph, population, spikes, len(samples))
        if makes(computed(law, input_sums(law)), own, at):
            continue
        before = _before(execution, first, samples)
        cause = find_cause(program.graph, population, spikes, own, at, before=before, other_inputs=others)
        missing = sorted(source for source in sources if _spikes(source, rasters, execution) is None)
        return replace(first, departs=name, cause=replace(cause, not_recorded=tuple(missing)))
    return first


def _spikes(source: str, rasters: Mapping[str, Array], *executions: Execution) -> Array | None:
    """Return spikes of a node: of the first of these executions that has them; None if none has."""
    if source in rasters:
        return rasters[source]
    return next((execution[source]["s"] for execution in executions if "s" in execution.get(source, {})), None)


def _samples(first: Difference, expected: Execution, got: Execution) -> list[int]:
    """Choose samples to seek a cause in: the first that differs, and a few more in which this population does."""
    name = first.population
    shared = [v for v in VARIABLES if v in expected[name] and v in got[name]]
    shape = np.shape(got[name][shared[0]])
    n = min(_MOST_SAMPLES, max(1, _MOST_VALUES // (int(np.prod(shape)) // shape[1])))
    differ = np.zeros(shape[1], bool)
    for v in shared:
        different = np.asarray(expected[name][v]) != np.asarray(got[name][v])
        differ |= np.moveaxis(different, 1, 0).reshape(shape[1], -1).any(axis=1)
    more = [int(sample) for sample in np.flatnonzero(differ) if sample != first.sample]
    return [first.sample, *more[: n - 1]]


def _before(execution: Execution, first: Difference, samples: list[int]) -> dict[str, Array] | None:
    """Return the state in which these samples would begin if nothing were cleared: each the end of the one before."""
    own = execution[first.population]
    if first.sample == 0 or not {"u", "v"} <= set(own):
        return None
    ends = {v: np.asarray(own[v])[-1].astype(np.int64) for v in ("u", "v")}
    return {v: np.stack([end[k - 1] if k else np.zeros_like(end[0]) for k in samples]) for v, end in ends.items()}


def _chosen(arrays: Mapping[str, Array], samples: list[int]) -> dict[str, Array]:
    return {name: np.asarray(array)[:, samples] for name, array in arrays.items()}


def _arrived(
    first: Difference, graph: Graph, expected: Execution, got: Execution, rasters: Mapping[str, Array]
) -> tuple[Arrived, ...]:
    found = []
    neuron = int(np.ravel_multi_index(first.neuron, graph.shape_of(first.population)))
    for name, p in graph.into(first.population).items():
        step = first.step - steps_between(graph, p)
        if not 0 <= step < graph.n_steps:
            continue
        sources, weights = fan_in(p, graph.shape_of(p.source), graph.shape_of(p.target), neuron)

        def reached(
            s: Array | None, sources: Array = sources, weights: Array = weights, step: int = step
        ) -> tuple[tuple[int, int, int], ...] | None:
            if s is None:
                return None
            spikes = np.asarray(s[step, first.sample]).ravel()[sources].astype(np.int64)
            there = np.flatnonzero(spikes)
            return tuple((int(sources[k]), int(spikes[k]), int(weights[k])) for k in there)

        sides = [reached(_spikes(p.source, rasters, execution)) for execution in (expected, got)]
        found.append(Arrived(projection=name, source=p.source, step=step, expected=sides[0], got=sides[1]))
    return tuple(found)
