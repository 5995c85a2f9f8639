"""Exact rewrites: over random graphs and small chips, what existed before computes what it computed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graph_strategies import Case, cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export import fixed
from spikegraph.export.biases import one_bias_exponent
from spikegraph.export.check import problems
from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.errors import Problem
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse, SumPool2d
from spikegraph.export.mend import REWRITES, mend
from spikegraph.export.passes import pipelined
from spikegraph.export.pauses import same_decays, same_pauses, same_resets
from spikegraph.export.relays import delay_chains, late_projections
from spikegraph.export.split import split_execution
from spikegraph.export.weights import legal_weights
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference

LOIHI1 = load_chip("loihi1")
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def limited(chip: Chip = LOIHI1, **limits: dict[str, int]) -> Chip:
    return chip.model_copy(update={name: getattr(chip, name).model_copy(update=new) for name, new in limits.items()})


# Smaller than any real chip, so that every rewrite is needed.
SMALL = limited(
    weight={"minimum": -8, "maximum": 7, "step": 1},
    weight_exp={"minimum": -3, "maximum": 7},
    delay_steps={"maximum": 2},
    refractory_steps={"maximum": 6},
    bias_mant={"minimum": -64, "maximum": 63},
)
BINARY = limited(weight={"minimum": -1, "maximum": 1, "step": 2, "offset": 1})


def traces(graph: Graph, rasters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = run_reference(compile_program(graph), rasters, list(graph.populations)).traces
    return {name: {v: getattr(t, v) for v in ("s", "x", "u", "v", "v_before_reset")} for name, t in found.items()}


def assert_same(graph: Graph, rewritten: Graph, rasters: dict[str, Any], but: tuple[str, ...] = ()) -> None:
    expected = split_execution(traces(graph, rasters), rewritten)
    found = traces(rewritten, rasters)
    assert set(expected) <= set(found)
    for name, trace in expected.items():
        for variable, array in trace.items():
            if variable not in but:
                assert np.array_equal(found[name][variable], array), (name, variable)


def _kinds_of(found: list[Problem]) -> set[tuple[str, str]]:
    """Return what is wrong where, without its numbers: of three values that differ a rewrite may leave two."""
    return {(p.where, re.sub(r"[0-9]+", "", p.what.partition(" = ")[0])) for p in found}


@pytest.mark.parametrize("chip", [LOIHI1, SMALL, BINARY], ids=["loihi1", "small", "binary"])
def test_random_graphs(chip: Chip) -> None:
    used: Counter[str] = Counter()

    # For all rewrites to occur, whichever graphs are drawn: hypothesis draws other ones beside other tests.
    @settings(relaxed, max_examples=250 if chip is SMALL else 80, database=None)
    @given(case=cases())
    def check(case: Case) -> None:
        rewritten, done = mend(case.graph, chip)
        used.update(rewrite.name for rewrite in done)
        assert problems(rewritten) == []
        expected = split_execution(traces(case.graph, case.rasters), rewritten)
        found = traces(rewritten, case.rasters)
        assert set(expected) <= set(found)
        inhibited = {r.where for r in done if "inhibit" in r.what}
        resets = {r.where for r in done if r.name == "same reset"}
        for name, trace in expected.items():
            whole = name if name in case.graph.populations else name.rpartition(".")[0]
            assert np.array_equal(found[name]["s"], trace["s"]), name
            if whole in inhibited:
                continue
            assert np.array_equal(found[name]["u"], trace["u"]), name
            held = trace["s"] if whole in resets else np.zeros_like(trace["s"])
            assert np.array_equal(found[name]["v"][~held], trace["v"][~held]), name
            assert (found[name]["v"][held] == 0).all()
        # What is mended is not named any more, and nothing else became a problem.
        left, before = (_kinds_of(problems(graph, chip)) for graph in (rewritten, case.graph))
        assert {p for p in left if p[0] in case.graph.populations} <= before

    check()
    if chip is SMALL:
        assert set(used) == set(REWRITES)


def one_projection(p: Any, source: tuple[int, ...] = (3,), n: Any = (2,), n_steps: int = 8, **population: Any) -> Graph:
    return Graph(
        inputs={"in": Input(shape=source)},
        populations={"out": Population(shape=n, **{"threshold_mant": 900, **population})},
        projections={"p": p},
        outputs={"o": Output(population="out")},
        n_steps=n_steps,
    )


def random_spikes(graph: Graph, n_samples: int = 5) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {
        name: (rng.random((graph.n_steps, n_samples, *node.shape)) < 0.4).astype(np.int16)
        for name, node in graph.inputs.items()
    }


def dense(weight: Any, weight_exp: int = 0, **more: Any) -> Dense:
    return Dense(source="in", target="out", weight=weight, weight_exp=weight_exp, **more)


class TestWeights:
    def test_odd_weights_are_doubled(self) -> None:
        graph = one_projection(dense([[1, -127, 3], [5, 0, 127]], weight_exp=-2))
        rewritten, done = legal_weights(graph, LOIHI1)
        p = rewritten.projections["p"]
        assert (p.weight.tolist(), p.weight_exp) == ([[2, -254, 6], [10, 0, 254]], -3)
        assert done == {"p": "weights × 2^1, weight_exp -2 → -3"}
        assert_same(graph, rewritten, random_spikes(graph))
        assert problems(rewritten, LOIHI1) == []

    def test_too_large_weights_are_halved_where_nothing_is_lost(self) -> None:
        graph = one_projection(dense([[1024, -2048, 16], [0, 0, 0]], weight_exp=-8))
        rewritten, _ = legal_weights(graph, LOIHI1)
        p = rewritten.projections["p"]
        assert (p.weight[0].tolist(), p.weight_exp) == ([128, -256, 2], -5)
        assert_same(graph, rewritten, random_spikes(graph))

    def test_only_one_slice_is_floored(self) -> None:
        # 1024, -2048 and 6 quarters of 1/64: 2 · (0, 0, 3) at -8, and 2 · (4, -8, 0) at -1 and above is whole.
        graph = one_projection(dense([[1024, -2048, 6], [1030, 0, 2]], weight_exp=-8), threshold_mant=1)
        rewritten, _ = legal_weights(graph, LOIHI1)
        low, high = rewritten.projections.values()
        assert low.weight_exp < 0
        assert not (high.weight.astype(np.int64) % (1 << max(-high.weight_exp, 0))).any()
        assert_same(graph, rewritten, random_spikes(graph))

    def test_sixteen_bits_become_two_slices(self) -> None:
        rng = np.random.default_rng(0)
        graph = one_projection(dense(rng.integers(-32768, 32000, (2, 3))), threshold_mant=60000)
        rewritten, done = legal_weights(graph, LOIHI1)
        assert list(rewritten.projections) == ["p.low", "p.high"]
        low, high = rewritten.projections.values()
        total = fixed.shift(low.weight.astype(np.int64), low.weight_exp) + (
            high.weight.astype(np.int64) << high.weight_exp
        )
        assert np.array_equal(total, graph.projections["p"].weight)
        assert (low.weight_exp, high.weight_exp) == (-1, 7)
        assert "2 slices" in done["p"]
        assert problems(rewritten, LOIHI1) == []
        assert_same(graph, rewritten, random_spikes(graph))

    def test_the_largest_weight_takes_a_third(self) -> None:
        # 32767 = -1 + 127 · 256 + 1 · 256; the third slice has but one weight, and is listed.
        graph = one_projection(dense([[32767, 100, 1], [0, 3, 7]]), threshold_mant=60000)
        rewritten, _ = legal_weights(graph, LOIHI1)
        assert [p.kind for p in rewritten.projections.values()] == ["Dense", "Sparse", "Sparse"]
        assert_same(graph, rewritten, random_spikes(graph))

    def test_a_pool_whose_weight_of_one_the_chip_lacks(self) -> None:
        pool = SumPool2d(source="in", target="out", weight=1)
        graph = one_projection(pool, (2, 4, 4), (2, 2, 2), threshold_mant=1)
        rewritten, _ = legal_weights(graph, LOIHI1)
        p = rewritten.projections["p"]
        assert (p.kind, int(p.weight), p.weight_exp) == ("SumPool2d", 2, -1)
        assert_same(graph, rewritten, random_spikes(graph))

    def test_what_would_be_rounded_is_left(self) -> None:
        # 255 at exponent -8 needs 9 bits with a last one worth 1/256, and the chip has no exponent -9.
        graph = one_projection(dense([[255, 1, 1], [0, 0, 0]], weight_exp=-8))
        assert legal_weights(graph, LOIHI1) == (graph, {})
        assert len(problems(graph, LOIHI1)) == 1
        # Binary weights have no digits to add up: 3 is none.
        graph = one_projection(dense([[3, 1, 1], [1, 1, 1]]))
        assert legal_weights(graph, BINARY) == (graph, {})

    @settings(relaxed, max_examples=60)
    @given(
        weights=st.lists(st.integers(-32768, 32767), min_size=6, max_size=6),
        exponent=st.integers(-8, 7),
        chip=st.sampled_from([LOIHI1, SMALL, load_chip("loihi2"), load_chip("generic", weight_bits=3)]),
    )
    def test_any_weights(self, weights: list[int], exponent: int, chip: Chip) -> None:
        graph = one_projection(dense(np.reshape(weights, (2, 3)), exponent), threshold_mant=100000)
        rewritten, done = legal_weights(graph, chip)
        assert_same(graph, rewritten, random_spikes(graph))
        assert bool(problems(rewritten, chip)) == bool(not done and problems(graph, chip))


class TestBiases:
    def test_one_exponent_for_all(self) -> None:
        graph = one_projection(dense(np.eye(2, 3, dtype=int) * 2), bias_mant=[12, -5], bias_exp=[1, 3])
        rewritten, done = one_bias_exponent(graph, LOIHI1)
        out = rewritten.populations["out"]
        assert (out.bias_mant.tolist(), int(out.bias_exp)) == ([24, -40], 0)
        assert done == {"out": "biases of 2 exponents written with bias_exp = 0"}
        assert_same(graph, rewritten, random_spikes(graph))
        assert problems(rewritten, LOIHI1) == []

    def test_biases_too_far_apart_are_left(self) -> None:
        # 4095 · 2^7 needs the exponent 7 and 1 the exponent 0.
        graph = one_projection(dense(np.eye(2, 3, dtype=int) * 2), bias_mant=[4095, 1], bias_exp=[7, 0])
        assert one_bias_exponent(graph, LOIHI1) == (graph, {})


class TestPauses:
    def test_a_limit_that_cannot_be_reached(self) -> None:
        graph = one_projection(dense(np.full((2, 3), 500)), max_spikes=8)
        rewritten, _ = same_pauses(graph, LOIHI1)
        assert rewritten.populations["out"].max_spikes == 0
        assert_same(graph, rewritten, random_spikes(graph))
        # 3 spikes fit into 8 steps with a pause of 2 behind each: at 0, 3 and 6.
        paused = one_projection(dense(np.full((2, 3), 500)), max_spikes=3, refractory_steps=3)
        assert same_pauses(paused, LOIHI1)[0].populations["out"].max_spikes == 0
        fewer = one_projection(dense(np.full((2, 3), 500)), max_spikes=2, refractory_steps=3)
        assert same_pauses(fewer, LOIHI1) == (fewer, {})

    def test_a_pause_beyond_the_window(self) -> None:
        graph = one_projection(dense(np.full((2, 3), 500)), refractory_steps=1000)
        rewritten, _ = same_pauses(graph, LOIHI1)
        assert rewritten.populations["out"].refractory_steps == 8
        assert_same(graph, rewritten, random_spikes(graph))
        long = replace(graph, n_steps=64)
        assert same_pauses(long, LOIHI1) == (long, {})

    @pytest.mark.parametrize("why", [{"refractory_steps": 2}, {"max_spikes": 1}, {"decay_v": 4096}])
    def test_a_reset_of_which_nothing_is_left(self, why: dict[str, int]) -> None:
        for reset in ("subtract", "none"):
            graph = one_projection(dense(np.full((2, 3), 500)), reset=reset, **why)
            rewritten, _ = same_resets(graph, LOIHI1)
            assert rewritten.populations["out"].reset == "zero"
            assert_same(graph, rewritten, random_spikes(graph), but=("v",))
            assert traces(graph, random_spikes(graph))["out"]["s"].any()
        graph = one_projection(dense(np.full((2, 3), 500)), reset="subtract")
        assert same_resets(graph, LOIHI1) == (graph, {})

    def test_a_decay_that_forgets_all_there_is(self) -> None:
        # A relay: v is 128 or 0.
        relay = OneToOne(source="in", target="out", weight=2)
        graph = one_projection(relay, (2,), threshold_mant=1, decay_v=4096)
        rewritten, _ = same_decays(graph, LOIHI1)
        assert rewritten.populations["out"].decay_v == 4095
        assert_same(graph, rewritten, random_spikes(graph))
        # 63 · 64 = 4032 is forgotten, 64 · 64 = 4096 is not: 1 is left.
        for weight, same in ((62, True), (64, False)):
            edge = one_projection(OneToOne(source="in", target="out", weight=-weight), (2,), decay_v=4096)
            assert bool(same_decays(edge, LOIHI1)[1]) == same


class TestRelays:
    def test_a_delay_of_150_steps_takes_two_relays(self) -> None:
        graph = one_projection(dense([[90, -40, 20], [4, 8, 120]], delay_steps=150), n_steps=170)
        rewritten, done = delay_chains(graph, LOIHI1)
        assert done == {"p": "delay_steps 150 = 50 + 50 + 50, by way of 2 relays"}
        assert list(rewritten.populations) == ["out", "in_after_50", "in_after_100"]
        assert problems(rewritten, LOIHI1) == []
        assert late_projections(rewritten, LOIHI1) == {}
        spikes = random_spikes(graph)
        assert_same(graph, rewritten, spikes)
        assert traces(graph, spikes)["out"]["x"].any()
        # On a chip's clock as well: the pipelined run is that of the graph, shifted by the depth.
        assert_same(graph, pipelined(rewritten), spikes)
        assert pipelined(rewritten).populations["out"].start_step == 3

    def test_projections_share_relays(self) -> None:
        graph = one_projection(dense(np.full((2, 3), 40), delay_steps=100), n_steps=110)
        graph = replace(graph, projections={**graph.projections, "q": replace(graph.projections["p"], weight_exp=1)})
        rewritten, _ = delay_chains(graph, LOIHI1)
        assert list(rewritten.populations) == ["out", "in_after_50"]
        assert [p.source for p in rewritten.projections.values()] == ["in_after_50", "in_after_50", "in"]
        assert_same(graph, rewritten, random_spikes(graph))

    def test_a_loop(self) -> None:
        graph = one_projection(dense(np.full((2, 3), 1000)), n_steps=150, refractory_steps=3)
        loop = OneToOne(source="out", target="out", weight=-500, delay_steps=70)
        graph = replace(graph, projections={**graph.projections, "loop": loop})
        rewritten, _ = delay_chains(graph, LOIHI1)
        assert late_projections(rewritten, LOIHI1) == {}
        assert_same(graph, rewritten, random_spikes(graph))
        assert_same(graph, pipelined(rewritten), random_spikes(graph))

    def test_graded_spikes_pass_no_relay(self) -> None:
        graph = one_projection(dense(np.full((2, 3), 40), delay_steps=100), n_steps=110)
        graph = replace(graph, inputs={"in": Input(shape=(3,), max_value=5)})
        assert delay_chains(graph, LOIHI1) == (graph, {})


def test_everything_at_once() -> None:
    """A graph with a problem of each kind that can be mended is legal on Loihi 1 afterwards, and computes the same."""
    rng = np.random.default_rng(4)
    graph = Graph(
        inputs={"in": Input(shape=(2, 6, 6))},
        populations={
            "conv": Population(
                shape=(3, 6, 6), threshold_mant=[400, 500, 400], bias_mant=[3, 4, 5], bias_exp=[0, 1, 0], max_spikes=1
            ),
            "pool": Population(shape=(3, 3, 3), threshold_mant=1, decay_v=4096, reset="none"),
            "read": Population(shape=(4,), threshold_mant=300, refractory_steps=500, reset="subtract"),
        },
        projections={
            "a": Conv2d(source="in", target="conv", weight=rng.integers(-300, 300, (3, 2, 3, 3)), padding=1),
            "b": SumPool2d(source="conv", target="pool", weight=1),
            "c": Dense(source="pool", target="read", weight=rng.integers(-60, 90, (4, 27))),
            "late": Sparse(
                source="in", target="read", weight=[30], indptr=[0, 1, *[1] * 71], indices=[3], delay_steps=63
            ),
        },
        outputs={"class": Output(population="read")},
        n_steps=40,
    )
    wheres = {p.where for p in problems(graph, LOIHI1)}
    assert wheres == {"conv", "pool", "read", "a", "b", "c", "late"}
    rewritten, done = mend(graph, LOIHI1)
    assert {r.name for r in done} == set(REWRITES)
    assert problems(rewritten, LOIHI1) == []
    assert_same(graph, rewritten, random_spikes(graph), but=("v",))
    assert all("same s" in str(r) for r in done)
