"""How alike executions are that need not be identical: counted by hand, and distances as published."""

import numpy as np
import pytest

from spikegraph.export.graph import Dense, Graph, Input, OneToOne, Output, Population
from spikegraph.targets.likeness import likeness
from spikegraph.targets.places import reference


@pytest.fixture
def relays():
    """x → a → b, two neurons each that pass every spike on."""
    node = {"shape": (2,), "decay_u": 4096, "decay_v": 4096, "threshold_mant": 1}
    graph = Graph(
        inputs={"x": Input(shape=(2,))},
        populations={"a": Population(**node), "b": Population(**node)},
        projections={
            "p": Dense(source="x", target="a", weight=np.array([[5, 0], [0, 5]])),
            "q": OneToOne(source="a", target="b", weight=np.array(5)),
        },
        outputs={"o": Output(population="b")},
        n_steps=6,
    )
    x = np.zeros((6, 1, 2), np.int16)
    x[[0, 3], 0, 0] = 1
    x[2, 0, 1] = 1
    return graph, {"x": x}


def test_spikes_in_common_and_the_population_that_loses_them(relays):
    graph, rasters = relays
    expected = reference(graph, rasters)
    got = {name: {"s": traces["s"].copy()} for name, traces in expected.items()}
    got["b"]["s"][3, 0, 0] = False  # b loses one spike, and has one a step late
    got["b"]["s"][4, 0, 0] = True
    alike = likeness(graph, rasters, ("reference", expected), ("other", got))
    a, b = alike.populations["a"], alike.populations["b"]
    assert (a.n_expected, a.n_got, a.n_common, a.in_common, a.n_other_trains) == (3, 3, 3, 1.0, 0)
    assert (b.n_expected, b.n_got, b.n_common) == (3, 3, 2)
    assert b.in_common == 2 / 4  # of four spikes that either has, two are the same
    assert b.in_common_alone == 2 / 4  # what feeds b is the same, so the loss is its own
    assert alike.loses_most == "b"
    assert (b.n_trains, b.n_other_trains, b.n_measured) == (2, 1, 1)
    assert b.victor_purpura == pytest.approx(1.0)  # one spike, moved by one step
    # ∫(e^-t - e^-(t-1)H(t-1))² dt = 1 - e^-1, and Elephant's norm gives a lone spike the distance 1.
    assert b.van_rossum == pytest.approx(np.sqrt(2 * (1 - np.exp(-1))), rel=1e-6)


def test_what_a_source_lost_is_not_held_against_the_next(relays):
    graph, rasters = relays
    expected = reference(graph, rasters)
    got = {name: {"s": traces["s"].copy()} for name, traces in expected.items()}
    for name in ("a", "b"):
        got[name]["s"][2, 0, 1] = False
    alike = likeness(graph, rasters, ("reference", expected), ("other", got), distances=False)
    assert alike.populations["b"].in_common == 2 / 3
    assert alike.populations["b"].in_common_alone == 1.0
    assert alike.loses_most == "a"
    twice = alike.then(alike)
    assert twice.populations["b"].n_common == 4
    assert twice.n_samples == 2


def test_what_is_the_same_loses_nothing(relays):
    graph, rasters = relays
    execution = reference(graph, rasters)
    alike = likeness(graph, rasters, ("reference", execution), ("other", execution))
    assert alike.loses_most is None
    assert alike.to_json()["populations"]["a"]["in_common"] == 1.0
