"""A planted difference is found where it was planted, and nothing else is."""

import json

import numpy as np
import pytest

from spikegraph.export.errors import DataError, OptionError, TargetError
from spikegraph.export.passes import pipelined
from spikegraph.targets.places import PLACES, reference
from spikegraph.targets.recording import recorded
from spikegraph.targets.verify import Comparison, Verification, verify


@pytest.fixture
def case(make_graph, make_rasters):
    graph = make_graph()
    return graph, make_rasters(graph)


def planted(graph, rasters, *changes):
    """Return a place whose execution differs from the reference in the given numbers."""
    execution = {name: {v: a.copy() for v, a in traces.items()} for name, traces in reference(graph, rasters).items()}
    for population, variable, at, change in changes:
        array = execution[population][variable]
        array[at] = not array[at] if variable == "s" else array[at] + change
    return lambda *_: execution


def test_identical(case):
    verification = verify(*case, PLACES | {"lava": PLACES["reference"]})
    assert verification.identical
    # (s, u, v) × (3 + 2 neurons) × 6 steps × 3 samples = 270
    assert (
        str(verification).splitlines()[2]
        == "lava: identical: 2 populations × 6 steps × 3 samples (s, u, v; 270 values)"
    )
    assert verification.to_json()["identical"]


def test_spikes_alone_are_enough(case):
    execution = {name: {"s": traces["s"]} for name, traces in reference(*case).items()}
    [comparison] = verify(*case, {"place": lambda *_: execution}).comparisons
    assert str(comparison) == "place: identical: 2 populations × 6 steps × 3 samples (s; 90 values)"


def test_wrong_v(case):
    expected = int(reference(*case)["a"]["v"][4, 1, 2])
    verification = verify(*case, {"lava": planted(*case, ("a", "v", (4, 1, 2), -64))})
    assert str(verification) == (
        f"lava: first difference at sample 1, step 4, population a, neuron 2, v: "
        f"reference {expected}, lava {expected - 64} (1 of 270 values differ)\n"
        "  what arrived by p from x, step 4: -190 (1: -108, 2: -54, 3: -28), in both\n"
        "  cause unknown: no known deviation makes this value"
    )
    assert not verification.identical


def test_wrong_spike(case):
    s = int(reference(*case)["b"]["s"][0, 2, 1])
    verification = verify(*case, {"place": planted(*case, ("b", "s", (0, 2, 1), None))})
    report = json.loads(json.dumps(verification.to_json()))
    assert report["identical"] is False
    first = report["places"][0]["first"]
    place = {"sample": 2, "step": 0, "population": "b", "variable": "s", "neuron": [1], "expected": s, "got": 1 - s}
    assert {key: first[key] for key in place} == place
    [arrived] = first["arrived"]  # which is the same in both
    assert (arrived["projection"], arrived["source"], arrived["step"]) == ("q", "a", 0)
    assert arrived["expected"] == arrived["got"]
    assert (first["departs"], first["cause"]["kind"]) == ("place", "unknown")


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ([("a", "v", (0, 2, 0), 1), ("b", "s", (5, 1, 0), 1)], (1, 5, "b", "s")),  # the earlier sample
        ([("a", "v", (3, 1, 0), 1), ("b", "s", (2, 1, 0), 1)], (1, 2, "b", "s")),  # then the earlier step
        ([("b", "u", (3, 1, 0), 1), ("a", "s", (3, 1, 0), 1)], (1, 3, "a", "s")),  # then the population
        (
            [("a", "s", (3, 1, 0), 1), ("a", "v", (3, 1, 1), 1), ("a", "u", (3, 1, 2), 1)],
            (1, 3, "a", "u"),
        ),  # then u, v, s
    ],
)
def test_first_of_several(case, changes, first):
    [comparison] = verify(*case, {"place": planted(*case, *changes)}).comparisons
    found = comparison.first
    assert (found.sample, found.step, found.population, found.variable) == first
    assert comparison.n_different == len(changes)


def test_what_is_not_a_place_or_a_raster_is_refused(case):
    graph, rasters = case
    with pytest.raises(OptionError, match="is empty"):
        verify(graph, rasters, {})
    with pytest.raises(TargetError, match="returned no spikes of population a"):
        verify(graph, rasters, {"place": lambda *_: {}})
    execution = {name: {"s": traces["s"][1:]} for name, traces in reference(*case).items()}
    with pytest.raises(TargetError, match=r"returned a\.s of shape \(5, 3, 3\), expected \(6, 3, 3\)"):
        verify(graph, rasters, {"place": lambda *_: execution})
    for raster, says in (
        (rasters["x"][1:], "has shape"),
        (rasters["x"] * 2, r"holds 0…2"),
        (rasters["x"] * 1.0, "holds"),
    ):
        with pytest.raises(DataError, match=says):
            verify(graph, {"x": raster}, PLACES)
    with pytest.raises(DataError, match="are named"):
        verify(graph, {}, PLACES)
    with pytest.raises(DataError, match="hold no sample"):
        verify(graph, {"x": rasters["x"][:, :0]}, PLACES)
    assert np.array_equal(rasters["x"], case[1]["x"])


def test_pipelined_or_not_is_all_the_same_to_the_engines(case):
    graph, rasters = case
    plain = reference(graph, rasters)
    places = {"native": PLACES["native"], "before": recorded(plain), "lava": PLACES["lava"]}
    verification = verify(pipelined(graph), rasters, places)
    assert [comparison.identical for comparison in verification.comparisons] == [True, True]
    assert "takes no pipelined graph" in str(verification.refusals["lava"])


def test_any_two_places_are_compared_and_the_one_that_departs_is_named(case):
    graph, rasters = case
    late = planted(graph, rasters, ("a", "v", (4, 1, 2), -64))
    [comparison] = verify(graph, rasters, {"native": PLACES["native"]}, to=("late", late)).comparisons
    assert comparison.first.departs == "late"
    assert "  late departs from what a graph means, not native" in str(comparison).splitlines()


def test_a_place_that_gives_up_later_keeps_what_it_compared():
    def comparison(place: str, n_samples: int) -> Comparison:
        return Comparison(
            place=place,
            populations=("a",),
            n_populations=1,
            n_steps=2,
            n_samples=n_samples,
            variables=("s",),
            n_compared=2 * n_samples,
            n_different=0,
            first=None,
        )

    first = Verification(comparisons=(comparison("a", 5), comparison("b", 5)))
    later = Verification(comparisons=(comparison("b", 3),), refusals={"a": TargetError("a", "ended", "again")})
    whole = first.then(later)
    assert [(c.place, c.n_samples, c.n_compared) for c in whole.comparisons] == [("a", 5, 10), ("b", 8, 16)]
    assert list(whole.refusals) == ["a"]
    assert not whole.identical
