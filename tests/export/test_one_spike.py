"""One-spike neurons on a chip that counts no spikes: the same spikes, by a pause or by inhibition; or no rewrite."""

from dataclasses import replace

import numpy as np
import pytest

from spikegraph.export.chips import load_chip
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.export.one_spike import one_spike
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference

LOIHI1 = load_chip("loihi1")


def chain(n_steps, seed=0, **population):
    rng = np.random.default_rng(seed)
    settings = {"threshold_mant": 300, "max_spikes": 1, "bias_mant": 90} | population
    return Graph(
        inputs={"input": Input(shape=(20,))},
        populations={"a": Population(shape=(12,), **settings), "b": Population(shape=(5,), **settings)},
        projections={
            "in": Dense(source="input", target="a", weight=2 * rng.integers(-60, 127, (12, 20))),
            "ab": Dense(source="a", target="b", weight=2 * rng.integers(-60, 127, (5, 12)), weight_exp=1),
        },
        outputs={"output": Output(population="b")},
        n_steps=n_steps,
        coding=InputCoding(kind="first_spike"),
        readout=Readout(kind="first_spike", output="output"),
    )


def traces(graph):
    x = np.random.default_rng(1).random((30, 20), np.float32)
    raster = InputCoding(kind="first_spike").encode(x, np.arange(30), graph.n_steps)
    return run_reference(compile_program(graph), {"input": raster}, ["a", "b"]).traces


def test_a_pause_that_outlasts_the_window_changes_no_number():
    graph = chain(63)
    rewritten, done = one_spike(graph, LOIHI1)
    assert {(p.max_spikes, p.refractory_steps) for p in rewritten.populations.values()} == {(0, 63)}
    assert list(done) == ["a", "b"]
    one, other = traces(graph), traces(rewritten)
    for name in ("a", "b"):
        assert one[name].s.any()
        for variable in ("s", "u", "v"):
            assert np.array_equal(getattr(one[name], variable), getattr(other[name], variable))


@pytest.mark.parametrize("seed", range(5))
def test_inhibition_is_for_good(seed):
    graph = chain(64, seed)
    rewritten, done = one_spike(graph, LOIHI1)
    assert {p.max_spikes for p in rewritten.populations.values()} == {0}
    assert [name for name in rewritten.projections if name not in graph.projections] == ["a_to_itself", "b_to_itself"]
    assert "inhibit" in done["a"]
    one, other = traces(graph), traces(rewritten)
    for name in ("a", "b"):
        assert one[name].s.any()
        assert np.array_equal(one[name].s, other[name].s)
    without = replace(graph, populations={name: replace(p, max_spikes=0) for name, p in graph.populations.items()})
    assert traces(without)["a"].s.sum() > one["a"].s.sum()  # it is needed


def test_inhibition_is_as_small_as_can_be_proven():
    # Ten lines of 200 in all 2,000, the bias 64 · 90 / 64 = 90 more; the threshold is 300. 1,790 is more than
    # 256 · 2^2 = 1,024, and less than 256 · 2^3 = 2,048.
    graph = chain(64)
    graph = replace(
        graph,
        populations={"a": graph.populations["a"]},
        projections={"in": Dense(source="input", target="a", weight=np.full((12, 20), 100))},
        outputs={"output": Output(population="a")},
    )
    rewritten, _ = one_spike(graph, LOIHI1)
    inhibition = rewritten.projections["a_to_itself"]
    assert (int(inhibition.weight), inhibition.weight_exp, inhibition.delay_steps) == (-256, 3, 1)


@pytest.mark.parametrize("change", ["leak", "rate", "many", "floored", "huge"])
def test_what_cannot_be_proven_is_left_for_the_chip_to_refuse(change):
    graph = chain(64, **({"decay_v": 10} if change == "leak" else {"max_spikes": 2} if change == "many" else {}))
    if change == "rate":
        graph = replace(graph, coding=InputCoding(kind="rate"))
    if change in ("floored", "huge"):
        exponent = -1 if change == "floored" else 7
        shifted = {name: replace(p, weight_exp=exponent) for name, p in graph.projections.items()}
        graph = replace(graph, projections=shifted)
    rewritten, done = one_spike(graph, LOIHI1)
    assert "a" not in done
    assert rewritten.populations["a"] is graph.populations["a"]


def test_a_chip_that_counts_spikes_needs_nothing():
    graph = chain(64)
    assert one_spike(graph, load_chip("loihi2")) == (graph, {})
