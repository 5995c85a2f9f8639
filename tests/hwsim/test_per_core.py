"""A population for each core: every neuron computes what it computed, and each population lies on one core."""

from dataclasses import replace

import numpy as np
from graph_strategies import cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.chips import load_chip
from spikegraph.export.graph import Dense, Graph, Input, OneToOne, Output, Population
from spikegraph.export.split import split_execution, split_groups
from spikegraph.hwsim.per_core import split_over_cores
from spikegraph.hwsim.placement import place
from spikegraph.targets.places import reference
from spikegraph.targets.recording import recorded
from spikegraph.targets.verify import verify

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def require_the_same(graph: Graph, split: Graph, rasters: dict[str, np.ndarray]) -> None:
    whole = split_execution(reference(graph, rasters), split)
    [comparison] = verify(split, rasters, {"whole": recorded(whole)}).comparisons
    assert comparison.identical, str(comparison)
    assert comparison.variables == ("s", "u", "v")


@given(cases(), st.integers(0, 2**32 - 1))
@settings(relaxed, max_examples=60)
def test_any_groups_of_drawn_graphs(case, seed):
    rng = np.random.default_rng(seed)
    groups = {name: rng.integers(0, 3, p.n) for name, p in case.graph.populations.items()}
    split, parts = split_groups(case.graph, groups)
    require_the_same(case.graph, split, case.rasters)
    for name, of in parts.items():  # neurons of a group are together, and no others
        assert sorted(np.concatenate([part.neurons for part in of])) == list(range(case.graph.populations[name].n))
        assert all(len(np.unique(groups[name][part.neurons])) == 1 for part in of)
    again, _ = split_groups(split, {name: np.arange(p.n) for name, p in split.populations.items()})
    require_the_same(case.graph, again, case.rasters)


def test_each_core_gets_a_population_of_its_own():
    rng = np.random.default_rng(0)
    graph = Graph(
        inputs={"x": Input(shape=(10,))},
        populations={
            "wide": Population(shape=(2500,), decay_v=300, threshold_mant=60),
            "out": Population(shape=(10,), decay_v=100, threshold_mant=90),
        },
        projections={
            "p": Dense(source="x", target="wide", weight=2 * rng.integers(-40, 60, (2500, 10))),
            "loop": OneToOne(source="wide", target="wide", weight=np.array(-20), delay_steps=1),
            "q": Dense(source="wide", target="out", weight=2 * rng.integers(-20, 30, (10, 2500))),
        },
        outputs={"o": Output(population="out")},
        n_steps=6,
    )
    chip = load_chip("loihi1")
    assert len(np.unique(place(graph, chip).core_of["wide"])) == 3  # of at most 1024 neurons
    split, [rewrite] = split_over_cores(graph, chip)
    assert str(rewrite) == "wide: split over cores: 3 populations, wide.0 to wide.2 (same s, u, v)"
    assert all(len(np.unique(core)) == 1 for core in place(split, chip).core_of.values())
    require_the_same(graph, split, {"x": rng.integers(0, 2, (6, 3, 10))})
    tapped = replace(graph, outputs={"o": Output(population="wide")})
    assert split_over_cores(tapped, chip) == (tapped, [])
