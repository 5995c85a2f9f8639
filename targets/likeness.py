"""How alike two executions are that need not be identical: a network in floats, and the integers it became.

Counted for each population: spikes, spikes in common, and, to tell which population loses most, spikes in common when
it computes in integers what the other execution's own sources fired. Distances of spike trains are Elephant's
(Victor and Purpura 1996; van Rossum 2001).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.export.order import topological_order
from spikegraph.hwsim.program import compile_program
from spikegraph.targets.otherwise import computed, input_sums, parts_of
from spikegraph.targets.places import Execution

_PAIRS = 100  # of spike trains that differ, of each population and batch, whose distance is measured


@dataclass(frozen=True, kw_only=True)
class PopulationLikeness:
    """One population in two executions, over the samples compared so far.

    Parameters
    ----------
    n_values : int
        Neurons × steps × samples.
    n_expected, n_got, n_common : int
        Spikes of the one execution, of the other, and those that both have.
    n_alone, n_alone_common : int
        Spikes that the integers make of what the other execution's sources fired, and those of them that it has too.
    n_trains, n_other_trains : int
        Spike trains (a neuron in a sample), and those that differ.
    n_measured : int
        Of those that differ, how many were measured, chosen at random.
    victor_purpura, van_rossum : float
        Sums of their distances; cost 1 a step, time constant 1 step.
    """

    n_values: int
    n_expected: int
    n_got: int
    n_common: int
    n_alone: int
    n_alone_common: int
    n_trains: int
    n_other_trains: int
    n_measured: int
    victor_purpura: float
    van_rossum: float

    def then(self, later: PopulationLikeness) -> PopulationLikeness:
        """Join with the same over the samples that follow."""
        return PopulationLikeness(**{name: value + getattr(later, name) for name, value in vars(self).items()})

    @property
    def in_common(self) -> float:
        """Spikes that both have, of those that either has; 1 if neither has one."""
        return _share(self.n_common, self.n_expected + self.n_got)

    @property
    def in_common_alone(self) -> float:
        """The same, if this population alone computed in integers."""
        return _share(self.n_alone_common, self.n_alone + self.n_got)

    def distance(self, total: float) -> float:
        """Return the mean distance of all trains, from the sum over those that were measured."""
        each = total / self.n_measured if self.n_measured else 0.0
        return each * self.n_other_trains / self.n_trains if self.n_trains else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        means = {name: self.distance(getattr(self, name)) for name in ("victor_purpura", "van_rossum")}
        return {**vars(self), **means, "in_common": self.in_common, "in_common_alone": self.in_common_alone}


def _share(common: int, both: int) -> float:
    return common / (both - common) if both else 1.0


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """Two executions, population by population.

    Parameters
    ----------
    place, to : str
    n_samples : int
    populations : mapping of population → PopulationLikeness
    n_right, n_right_to : int
        Samples that either classified rightly, where labels are known.
    """

    place: str
    to: str
    n_samples: int
    populations: Mapping[str, PopulationLikeness]
    n_right: int | None = None
    n_right_to: int | None = None

    @property
    def loses_most(self) -> str | None:
        """The population whose spikes change most when it alone computes in integers; None if none changes."""
        name = min(self.populations, key=lambda name: self.populations[name].in_common_alone)
        return name if self.populations[name].in_common_alone < 1 else None

    def then(self, later: Likeness) -> Likeness:
        """Join with the same over the samples that follow."""
        populations = {name: one.then(later.populations[name]) for name, one in self.populations.items()}
        return Likeness(
            place=self.place,
            to=self.to,
            n_samples=self.n_samples + later.n_samples,
            populations=populations,
            n_right=_sum(self.n_right, later.n_right),
            n_right_to=_sum(self.n_right_to, later.n_right_to),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        populations = {name: one.to_json() for name, one in self.populations.items()}
        return {**vars(self), "populations": populations, "loses_most": self.loses_most}


def likeness(
    graph: Graph,
    rasters: Mapping[str, Array],
    expected: tuple[str, Execution],
    got: tuple[str, Execution],
    *,
    distances: bool = True,
    seed: int = 0,
) -> Likeness:
    """Compare the spikes of two executions that need not be identical.

    Parameters
    ----------
    graph : Graph
    rasters : mapping of input → ndarray (T, B, *shape)
    expected, got : (name, Execution)
        Integers and floats, say; every population's spikes.
    distances : bool
        Measure distances of spike trains, which takes some 20 ms a pair and the extra `distances`.
    seed : int
        Chooses the pairs.
    """
    rng, program = np.random.default_rng(seed), compile_program(graph)
    spikes = {**rasters, **{name: np.asarray(traces["s"]) for name, traces in got[1].items()}}
    by_name = {population.name: population for population in program.populations}
    found, n_samples = {}, next(iter(rasters.values())).shape[1]
    for name in topological_order(graph):
        ours, theirs = np.asarray(expected[1][name]["s"]) != 0, spikes[name] != 0
        parts = parts_of(graph, by_name[name], spikes, n_samples)
        alone = computed(parts, input_sums(parts))["s"]
        different = np.flatnonzero((ours != theirs).any(axis=0).ravel())
        chosen = rng.choice(different, min(_PAIRS, len(different)), replace=False) if distances else different[:0]
        trains = [s.reshape(len(s), -1)[:, chosen] for s in (ours, theirs)]
        victor_purpura, van_rossum = _distances(*trains) if len(chosen) else (0.0, 0.0)
        found[name] = PopulationLikeness(
            n_values=ours.size,
            n_expected=int(ours.sum()),
            n_got=int(theirs.sum()),
            n_common=int((ours & theirs).sum()),
            n_alone=int(alone.sum()),
            n_alone_common=int((alone & theirs).sum()),
            n_trains=ours.size // len(ours),
            n_other_trains=len(different),
            n_measured=len(chosen),
            victor_purpura=victor_purpura,
            van_rossum=van_rossum,
        )
    return Likeness(place=got[0], to=expected[0], n_samples=n_samples, populations=found)


def _distances(ours: Array, theirs: Array) -> tuple[float, float]:
    """Sum the distances of pairs of spike trains (T, n), cost 1 a step and time constant 1 step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import neo
        import quantities as pq
        from elephant.spike_train_dissimilarity import van_rossum_distance, victor_purpura_distance

        sums = [0.0, 0.0]
        for pair in zip(ours.T, theirs.T, strict=True):
            trains = [neo.SpikeTrain(np.flatnonzero(one) * pq.ms, t_stop=len(one) * pq.ms) for one in pair]
            sums[0] += float(victor_purpura_distance(trains, cost_factor=1 / pq.ms)[0, 1])
            sums[1] += float(van_rossum_distance(trains, time_constant=1 * pq.ms)[0, 1])
    return sums[0], sums[1]
