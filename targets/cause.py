"""Why two executions part: everything that is known to go wrong is tried on the population where they do.

All that feeds the population is still alike where the first difference is. So the population is computed anew from the
spikes of the other execution's own sources, once for each hypothesis. The cause is what makes the values that the other
execution has of the neuron up to the first difference, and, if several hypotheses do, most of all its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.hwsim.program import ProgramPopulation
from spikegraph.targets.hypotheses import Hypothesis, of_inputs, of_neurons, of_state
from spikegraph.targets.otherwise import Parts, computed, input_sums, parts_of

UNKNOWN = "unknown"
_PROBE_UNIT = 128  # a refractory step, as a chip's probe of v reads it


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What makes the difference.

    Parameters
    ----------
    kind : str
        Its class, such as "decay rounding"; "unknown" if no hypothesis makes the first difference.
    what : str
        In words.
    n_explained, n_values : int
        How many of the values that the other execution has of this population, in the samples looked at, this makes.
    others : tuple of str
        Hypotheses of other classes that make as many.
    not_recorded : tuple of str
        Sources of the population whose spikes the other execution does not have; others' stood in for them.
    """

    kind: str
    what: str
    n_explained: int
    n_values: int
    others: tuple[str, ...] = ()
    not_recorded: tuple[str, ...] = ()

    @property
    def makes_all(self) -> bool:
        """Whether it makes every value, not only the first difference."""
        return self.n_explained == self.n_values

    def __str__(self) -> str:
        if self.kind == UNKNOWN:
            said = f"cause unknown: {self.what}"
        else:
            others = f"; so does {', '.join(self.others)}" if self.others else ""
            share = (
                f"all {self.n_values:,}" if self.makes_all else f"{self.n_explained:,} of {self.n_values:,}, not all"
            )
            name = "cause" if self.makes_all else "nearest to a cause"
            said = f"{name}: {self.kind}: {self.what} (makes {share} values of this population{others})"
        if self.not_recorded:
            said += f"; the spikes of {', '.join(self.not_recorded)} were not recorded, so it may lie there"
        return said


def find_cause(
    graph: Graph,
    population: ProgramPopulation,
    spikes: Mapping[str, Array],
    got: Mapping[str, Array],
    at: tuple[int, ...],
    *,
    before: Mapping[str, Array] | None = None,
    other_inputs: Mapping[str, Mapping[str, Array]] | None = None,
) -> Cause:
    """Find which hypothesis makes what an execution has.

    Parameters
    ----------
    graph : Graph
    population : ProgramPopulation
        Where the first difference is.
    spikes : mapping of node → ndarray (T, B, *shape)
        Of the population's sources, as the other execution has them, of the samples to look at.
    got : mapping of "s", "u", "v" → ndarray (T, B, *shape)
        What the other execution has of the population, all or some.
    at : (step, sample, *neuron)
        The first difference; what the law makes of the neuron is another by then.
    before : mapping of "u", "v" → ndarray (B, *shape), optional
        State in which the samples would begin had it not been cleared.
    other_inputs : mapping of what → rasters of inputs, optional
        What other ways to encode the same samples make.
    """
    if not any(array.any() for array in got.values()):
        n_values = sum(array.size for array in got.values())
        return Cause(kind="silence", what="it holds nothing but zeros", n_explained=n_values, n_values=n_values)
    law = parts_of(graph, population, spikes, next(iter(got.values())).shape[1])
    x = input_sums(law)
    known = [*of_neurons(population), *of_state(before), *of_inputs(graph, law, other_inputs or {})]
    best: list[Hypothesis] = []
    most, n_values = 0, sum(array.size for array in got.values())
    for one in known:
        parts = one.change(law)
        made = computed(parts, input_sums(parts) if one.of_inputs else x)
        if not makes(made, got, at):
            continue
        n_equal = _equal(made, got)
        best = [*best, one] if n_equal == most else [one] if n_equal > most else best
        most = max(most, n_equal)
    probe = _probe(computed(law, x), got, population, at)
    if probe is not None and probe.n_explained > most:
        return probe
    if not best:
        return _of_sums(law, x, got)
    others = tuple(f"{one.kind}: {one.what}" for one in best[1:] if one.kind != best[0].kind)
    return Cause(kind=best[0].kind, what=best[0].what, n_explained=most, n_values=n_values, others=others)


def makes(made: Mapping[str, Array], got: Mapping[str, Array], at: tuple[int, ...]) -> bool:
    """Tell whether all that is known of the neuron is made, up to the step of the first difference."""
    step, *where = at
    own: Any = (slice(step + 1), *where)
    return all(np.array_equal(made[name][own], array[own]) for name, array in got.items())


def _equal(made: Mapping[str, Array], got: Mapping[str, Array]) -> int:
    return sum(int((made[name] == array).sum()) for name, array in got.items())


def _probe(
    law: Mapping[str, Array], got: Mapping[str, Array], population: ProgramPopulation, at: tuple[int, ...]
) -> Cause | None:
    """Find v read as refractory steps times 128 where it is held, and where the neuron fires."""
    if "v" not in got:
        return None
    read = law["held"] & (got["v"] % _PROBE_UNIT == 0) & (got["v"] > 0)
    read &= got["v"] <= population.refractory_steps * _PROBE_UNIT
    made = {**law, "v": np.where(read, got["v"], law["v"])}
    if not makes(made, got, at):
        return None
    what = "v reads a multiple of 128 where the neuron fires and is held; mask these steps"
    n_values = sum(array.size for array in got.values())
    kind = "refractory counter in the probe"
    return Cause(kind=kind, what=what, n_explained=_equal(made, got), n_values=n_values)


def _of_sums(law: Parts, x: Array, got: Mapping[str, Array]) -> Cause:
    """Say what can be said where no hypothesis makes the difference: by how much the sums that arrive differ."""
    n_values = sum(array.size for array in got.values())
    unknown = Cause(kind=UNKNOWN, what="no known deviation makes this value", n_explained=0, n_values=n_values)
    if "u" not in got:
        return unknown
    u = np.asarray(got["u"], np.int64)
    before = np.concatenate([np.zeros_like(u[:1]), u[:-1]])
    more = fixed.wrap24(u - fixed.decay(before, law.population.decay_u) - (x << fixed.ALIGN_BITS))
    if (more % (1 << fixed.ALIGN_BITS)).any() or not more.any():
        return unknown
    more >>= fixed.ALIGN_BITS
    n_explained = _equal(computed(law, x + more), got)
    values = f"the sums that arrive differ by up to {int(abs(more).max()):,}"
    if (abs(more) <= _one_step_each(law)).all():
        what = f"{values}, as if weights were off by one step of their rounding at most"
        return Cause(kind="weight rounding", what=what, n_explained=n_explained, n_values=n_values)
    what = f"{values}, more than the rounding of weights makes"
    return Cause(kind="weights or spikes that arrive", what=what, n_explained=n_explained, n_values=n_values)


def _one_step_each(law: Parts) -> Array:
    """Sum of what arrives if each weight were one step of its rounding."""
    units = {name: max(1, int(np.gcd.reduce(w, axis=None))) for name, w in law.weights.items() if w.size}
    weights = {name: np.full_like(w, units.get(name, 1)) for name, w in law.weights.items()}
    arriving = {name: abs(s.astype(np.int64)) for name, s in law.arriving.items()}
    return input_sums(replace(law, arriving=arriving, weights=weights))
