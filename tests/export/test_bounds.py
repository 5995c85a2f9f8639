"""Bounds of x, u and v that are never passed and sometimes reached."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graph_strategies import FEATURES, Case, cases
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from spikegraph.export import bounds as bounds_of
from spikegraph.export.bounds import bounds
from spikegraph.export.graph import Dense, Graph, Input, OneToOne, Output, Population
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(relaxed, max_examples=150)
@given(case=cases(n_steps=st.integers(1, 15)))
def test_bounds_hold(case: Case) -> None:
    graph = case.graph
    program = compile_program(graph)
    # The drawn spikes, and those that drive every sum to an end.
    extremes = {
        name: np.stack(
            [
                np.full((graph.n_steps, *node.shape), value)
                for value in (min(node.min_value, 0), max(node.max_value, 0))
            ],
            axis=1,
        )
        for name, node in graph.inputs.items()
    }
    for rasters in (case.rasters, extremes):
        result = run_reference(program, rasters, record=list(graph.populations))
        for name, bound in bounds(graph).items():
            trace = result.traces[name]
            assert bound.x[0] <= trace.x.min()
            assert trace.x.max() <= bound.x[1]
            wraps, saturates = (result.per_step[q][name].any() for q in ("wraps", "saturations"))
            if not wraps:
                assert bound.u[0] <= trace.u.min()
                assert trace.u.max() <= bound.u[1]
            if not saturates:
                assert bound.v[0] <= trace.v_before_reset.min()
                assert trace.v_before_reset.max() <= bound.v[1]
            assert bound.u_may_wrap or not wraps
            assert bound.v_may_saturate or not saturates
            assert (bound.certificate == "cannot overflow") == (not bound.u_may_wrap and not bound.v_may_saturate)
            event(f"certified: {bound.certificate == 'cannot overflow'}")


def single(n_steps: int, weight: Any = 1, source: Input | None = None, weight_exp: int = 0, **population: Any) -> Graph:
    weight = np.atleast_2d(weight)
    return Graph(
        inputs={"in": source or Input(shape=(weight.shape[1],))},
        populations={"n": Population(shape=(len(weight),), **{"threshold_mant": 131071, **population})},
        projections={"p": Dense(source="in", target="n", weight=weight, weight_exp=weight_exp)},
        outputs={"out": Output(population="n")},
        n_steps=n_steps,
    )


def test_bounds_are_tight() -> None:
    """Where one input line drives one neuron, the bounds are reached."""
    bound = bounds(single(3, [[5, -7]]))["n"]
    assert bound.x == (-7, 5)
    assert bound.u == (-7 * 64, 5 * 64)
    assert bound.v == (-3 * 7 * 64, 3 * 5 * 64)
    # Two neurons: over all of them.
    assert bounds(single(1, [[5, 0], [0, -7]]))["n"].x == (-7, 5)
    # A graded input of either sign, shifted right: -3 · 5 >> 1 = -8, 2 · 5 >> 1 = 5.
    assert bounds(single(1, 5, Input(shape=(1,), min_value=-3, max_value=2), -1))["n"].x == (-8, 5)
    # An input that may always stay silent: 0 is reachable although min_value is 2.
    assert bounds(single(1, 5, Input(shape=(1,), min_value=2, max_value=3)))["n"].x == (0, 15)
    # decay_u by half: 64 + 32 + 16.
    assert bounds(single(3, 1, decay_u=2048))["n"].u == (0, 112)
    # A bias alone, negative: v reaches 4 · -10, and u nothing.
    bound = bounds(single(4, 0, bias_mant=-10))["n"]
    assert (bound.u, bound.v) == ((0, 0), (-40, 0))


@settings(max_examples=60, deadline=None)
@given(case=cases(FEATURES - {"per_neuron"}))
def test_bounds_need_only_the_widest_intervals(case: Case) -> None:
    """What `bounds` leaves out because it lies within another neuron's interval changes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds_of, "_widest", lambda low, high: (low, high))
        of_all = bounds(case.graph)
    assert bounds(case.graph) == of_all


def test_the_widest_intervals() -> None:
    low, high = np.array([[[0, -3, -3], [-1, -5, -5]]]), np.array([[[9, 2, 4], [4, 1, 1]]])
    assert [a.tolist() for a in bounds_of._widest(low, high)] == [[-5, -3, 0], [1, 4, 9]]
    assert [a.tolist() for a in bounds_of._widest(np.zeros(3), np.zeros(3))] == [[0], [0]]


def test_bounds_of_sums_before_their_shift() -> None:
    """By hand: onto neuron 0 come 5 - 7 of input a and -4 · (-1…2) of input b, onto neuron 1 nothing and 3 · (-1…2)."""
    graph = Graph(
        inputs={"a": Input(shape=(2,)), "b": Input(shape=(2,), min_value=-1, max_value=2)},
        populations={"n": Population(shape=(2,), threshold_mant=1)},
        projections={
            "p": Dense(source="a", target="n", weight=[[5, -7], [0, 0]], weight_exp=-1),
            "q": OneToOne(source="b", target="n", weight=[-4, 3]),
        },
        outputs={"out": Output(population="n")},
        n_steps=1,
    )
    bound = bounds(graph)["n"]
    assert bound.sum_each == (-8, 6)
    assert bound.sum_all == (-15, 9)
    assert bound.x == (-12, 6)


def test_bounds_know_the_reset() -> None:
    # 3 · 64 a step against a threshold of 64: zero starts from 64 at most, and none adds up.
    assert bounds(single(5, 3, threshold_mant=1, reset="zero"))["n"].v == (0, 64 + 192)
    assert bounds(single(5, 3, threshold_mant=1, reset="none"))["n"].v == (0, 5 * 192)
    # subtract loses 64 a step: 192, 128 + 192, 256 + 192, …
    assert bounds(single(5, 3, threshold_mant=1, reset="subtract"))["n"].v == (0, 192 + 4 * 128)


def test_bounds_are_reached_by_runs() -> None:
    for graph, value in [
        (single(6, 3, decay_u=900, decay_v=77), 1),
        (single(6, -3, decay_u=900, decay_v=77, bias_mant=-40), 1),
        (single(6, 3, threshold_mant=1, reset="subtract"), 1),
        (single(6, 1000, Input(shape=(1,), min_value=-9, max_value=9), reset="none"), -9),
        (single(6, 1000, Input(shape=(1,), min_value=-9, max_value=9), reset="none"), 9),
    ]:
        raster = np.full((6, 1, 1), value)
        trace = run_reference(compile_program(graph), {"in": raster}).traces["n"]
        bound = bounds(graph)["n"]
        end = int(trace.v_before_reset[-1, 0, 0] > 0)
        assert trace.v_before_reset[:, 0, 0][[-1]].tolist() == [bound.v[end]]
        assert trace.u[:, 0, 0][[-1]].tolist() == [bound.u[end]]


def test_certificates_at_the_edge() -> None:
    # 2^17 · 64 = 2^23 fits u; one more wraps. Weights: 4 · 32767 + 4 = 2^17.
    fits = [[32767] * 4 + [4]]
    bound = bounds(single(1, fits, decay_v=4096))["n"]
    assert bound.u == (0, 2**23)
    assert not bound.u_may_wrap
    assert bound.v_may_saturate  # v ends at 2^23 - 1
    assert bound.certificate == "v may saturate, bound 0…8388608 against ±8388607"
    bound = bounds(single(1, [[*fits[0], 1]]))["n"]
    assert bound.u == (0, 2**23 + 64)
    assert bound.u_may_wrap
    assert bound.certificate.startswith("u may wrap, bound 0…8388672 against ±8388608; v may saturate")
    # -2^23 itself wraps.
    assert bounds(single(1, [[-32768] * 4]))["n"].u_may_wrap
    assert not bounds(single(1, [[-32768] * 3 + [-32767]]))["n"].u_may_wrap
    # v: 8388607 fits, and so does its negative.
    exact = single(1, [[32767] * 4 + [3]], bias_mant=63)
    assert bounds(exact)["n"].v == (0, 2**23 - 1)
    assert bounds(exact)["n"].certificate == "cannot overflow"
    assert bounds(single(1, [[-32767] * 4 + [-3]], bias_mant=-63))["n"].certificate == "cannot overflow"
    assert bounds(single(1, [[-32767] * 4 + [-3]], bias_mant=-64))["n"].v_may_saturate


def test_a_short_window_can_be_certified_where_a_long_one_cannot() -> None:
    assert bounds(single(2, 32767, reset="none"))["n"].certificate == "cannot overflow"
    assert bounds(single(5, 32767, reset="none"))["n"].v_may_saturate


def test_bounds_of_recurrence_and_of_many_projections() -> None:
    graph = single(4, 3)
    loops = {f"l{i}": OneToOne(source="n", target="n", weight=w, delay_steps=1) for i, w in enumerate([5, -2])}
    graph = replace(graph, projections={**graph.projections, **loops})
    assert bounds(graph)["n"].x == (-2, 8)


def holds_in_a_run(graph: Graph, values: list[int]) -> None:
    """Compare bounds of u after wrapping and of v with one run of the one input line."""
    raster = np.reshape(values, (graph.n_steps, 1, -1))
    trace, bound = run_reference(compile_program(graph), {"in": raster}).traces["n"], bounds(graph)["n"]
    assert bound.v[0] <= trace.v_before_reset.min()
    assert trace.v_before_reset.max() <= bound.v[1]


def test_bounds_of_v_know_that_u_wraps_to_the_other_end() -> None:
    # u = ±(2^23 + 64) wraps to ∓(2^23 - 64): v ends at the end that no input points to.
    for sign in (1, -1):
        graph = single(1, [[sign * 32767] * 4 + [sign * 5]])
        holds_in_a_run(graph, [1] * 5)
        assert bounds(graph)["n"].v[0] <= 64 - 2**23
        assert bounds(graph)["n"].v[1] >= 2**23 - 64


def test_bounds_of_v_know_that_a_reset_starts_from_0_again() -> None:
    # The bias fires at first, against all inhibition; the inhibition builds up and then starts from 0, not from
    # what the bias had gathered.
    graph = single(9, -1, decay_u=1, bias_mant=200, threshold_mant=1)
    holds_in_a_run(graph, [1] * 9)


def test_bounds_of_v_do_not_grow_beyond_the_saturated_end() -> None:
    graph = single(6, 32767 // 2, weight_exp=3, reset="none")
    step = (32767 // 2 << 3) * 64
    assert bounds(graph)["n"].v == (0, 2**23 - 1 + step)
    graph = single(6, -(32767 // 2), weight_exp=3)
    assert bounds(graph)["n"].v == (1 - 2**23 - step, 0)
