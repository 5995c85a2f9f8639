"""Sources that spike seldom: tighter bounds, which no input passes, be it every one that there is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegraph.export.bounds import bounds
from spikegraph.export.coding import InputCoding
from spikegraph.export.graph import Dense, Graph, Input, OneToOne, Output, Population
from spikegraph.export.rarity import Rarity, _peak, rarer
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference


def chain(weight: Any, behind: Any, n_steps: int, middle: dict[str, Any], last: dict[str, Any], exponent: int) -> Graph:
    """Two input lines → two neurons → one neuron that hardly fires, so that its v goes where it can."""
    return Graph(
        inputs={"in": Input(shape=(2,))},
        populations={
            "middle": Population(shape=(2,), **middle),
            "last": Population(shape=(1,), **{"threshold_mant": 131071, **last}),
        },
        projections={
            "p": Dense(source="in", target="middle", weight=weight),
            "q": Dense(source="middle", target="last", weight=behind, weight_exp=exponent),
        },
        outputs={"out": Output(population="last")},
        n_steps=n_steps,
    )


def every_input(n_steps: int, n_lines: int = 2) -> dict[str, Any]:
    spikes = np.array(list(product([0, 1], repeat=n_steps * n_lines)), np.int16)
    return {"in": np.moveaxis(spikes.reshape(-1, n_steps, n_lines), 0, 1)}


def reached(graph: Graph, rasters: dict[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return the ends of x, u and v before reset, over all samples and steps, and 0."""
    found = run_reference(compile_program(graph), rasters, list(graph.populations))
    assert not any(counts.any() for q in ("wraps", "saturations") for counts in found.per_step[q].values())
    ends = {}
    for name, trace in found.traces.items():
        arrays = {"x": trace.x, "u": trace.u, "v": trace.v_before_reset}
        ends[name] = {key: (min(int(a.min()), 0), max(int(a.max()), 0)) for key, a in arrays.items()}
    return ends


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_input_passes_the_bounds(data: st.DataObject) -> None:
    """All 2^(2 · 5) inputs of two lines over 5 steps."""
    draw = data.draw
    middle = {
        "threshold_mant": draw(st.sampled_from([1, 5, 40])),
        "decay_u": draw(st.sampled_from([4096, 1000, 2048])),
        "decay_v": draw(st.sampled_from([0, 300, 4096])),
        "bias_mant": draw(st.sampled_from([0, 0, 70, -50])),
        "refractory_steps": draw(st.sampled_from([1, 2, 3])),
        "max_spikes": draw(st.sampled_from([0, 1, 2])),
        "reset": draw(st.sampled_from(["zero", "subtract", "none"])),
    }
    last = {
        "decay_u": draw(st.sampled_from([4096, 1, 700])),
        "decay_v": draw(st.sampled_from([0, 200])),
        "bias_mant": draw(st.sampled_from([0, 30, -30])),
    }
    numbers = st.integers(-12, 12)
    weight = [[draw(numbers), draw(numbers)], [draw(numbers), draw(numbers)]]
    behind = [[draw(numbers), draw(numbers)]]
    graph = chain(weight, behind, 5, middle, last, draw(st.sampled_from([0, 1, -1, -2])))
    found = reached(graph, every_input(5))
    for name, bound in bounds(graph).items():
        for variable in ("x", "u", "v"):
            low, high = getattr(bound, variable)
            assert low <= found[name][variable][0], (name, variable)
            assert found[name][variable][1] <= high, (name, variable)


def test_a_neuron_that_spikes_once_is_added_once() -> None:
    # By hand: two sources with weights 3 and -7, each once in 5 steps: v between -7 · 64 and 3 · 64, not 5 times that.
    once = {"threshold_mant": 1, "max_spikes": 1}
    graph = chain(np.eye(2, dtype=int) * 2, [[3, -7]], 5, once, {}, 0)
    assert bounds(graph)["last"].v == (-7 * 64, 3 * 64)
    assert reached(graph, every_input(5))["last"]["v"] == (-7 * 64, 3 * 64)
    # With a refractory period of 2, in steps 0, 2 and 4.
    graph = chain(np.eye(2, dtype=int) * 2, [[3, -7]], 5, {"threshold_mant": 1, "refractory_steps": 2}, {}, 0)
    assert bounds(graph)["last"].v == (-7 * 64 * 3, 3 * 64 * 3)
    assert reached(graph, every_input(5))["last"]["v"] == (-7 * 64 * 3, 3 * 64 * 3)


def test_a_threshold_that_takes_steps_to_reach() -> None:
    # 2 a step against a threshold of 3: in every second step, so at most in steps 1 and 3.
    graph = chain(np.eye(2, dtype=int) * 2, [[3, -7]], 5, {"threshold_mant": 3}, {}, 0)
    assert bounds(graph)["last"].v == (-7 * 64 * 2, 3 * 64 * 2)
    assert reached(graph, every_input(5))["last"]["v"] == (-7 * 64 * 2, 3 * 64 * 2)
    # Never within the window: the last neuron hears nothing.
    graph = chain(np.eye(2, dtype=int) * 2, [[3, -7]], 5, {"threshold_mant": 10}, {}, 0)
    assert bounds(graph)["last"].v == (0, 0)


def test_u_that_leaks_between_spikes() -> None:
    # decay_u by half, spikes every second step: 64 + 16 + 4, not 64 + 32 + 16 + 8 + 4.
    middle = {"threshold_mant": 1, "refractory_steps": 2}
    graph = chain(np.eye(2, dtype=int) * 2, [[1, 0]], 5, middle, {"decay_u": 2048}, 0)
    assert reached(graph, every_input(5))["last"]["u"] == (0, 84)
    assert bounds(graph)["last"].u in {(0, 84), (0, 85)}


def test_inputs_that_are_coded_once() -> None:
    graph = chain(np.eye(2, dtype=int) * 2, [[3, -7]], 5, {"threshold_mant": 100}, {}, 0)
    graph = replace(graph, coding=InputCoding(kind="first_spike"))
    assert bounds(graph)["middle"].v == (0, 5 * 2 * 64)  # whatever the input
    assert bounds(graph, coded=True)["middle"].v == (0, 2 * 64)
    assert bounds(replace(graph, coding=InputCoding(kind="rate")), coded=True)["middle"].v == (0, 5 * 2 * 64)


def test_a_certificate_that_intervals_alone_do_not_give() -> None:
    """Three one-spike neurons of weight -32768 over 1,000 steps: v saturates if they spike on, and not if once."""
    n = 3
    graph = Graph(
        inputs={"in": Input(shape=(n,))},
        populations={
            "middle": Population(shape=(n,), threshold_mant=1, max_spikes=1),
            "last": Population(shape=(1,), threshold_mant=9),
        },
        projections={
            "p": OneToOne(source="in", target="middle", weight=2),
            "q": Dense(source="middle", target="last", weight=[[-32768] * n]),
        },
        outputs={"out": Output(population="last")},
        n_steps=1000,
    )
    assert bounds(graph)["last"].certificate == "cannot overflow"
    free = replace(graph, populations={**graph.populations, "middle": Population(shape=(n,), threshold_mant=1)})
    assert bounds(free)["last"].certificate.startswith("v may saturate")


@pytest.mark.parametrize("n_steps", [1, 4, 7])
def test_the_peak_of_a_response_is_that_of_the_best_choice(n_steps: int) -> None:
    rng = np.random.default_rng(n_steps)
    for _ in range(20):
        response = rng.integers(0, 9, n_steps).astype(float)
        most, gap = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        best = 0.0
        for chosen in product([0, 1], repeat=n_steps):
            at = np.flatnonzero(chosen)
            if len(at) <= most and (np.diff(at) >= gap).all():
                best = max(best, float(response[at].sum()))
        found = _peak(response, Rarity(most=most, gap=gap))
        assert found >= best
        if most >= n_steps or gap == 1:  # both at once are bounded by the better of the two
            assert found == best


def test_rarity_of_a_neuron_that_rises_slowly() -> None:
    # 64 · 3 is reached after 4 steps of 64: steps 3, 7 and 11 of 12, and with a pause of one step 3 and 8.
    neuron, every = Population(shape=(1,), threshold_mant=3), Rarity(most=12, gap=1)
    assert rarer(every, neuron, 64, 12) == Rarity(most=3, gap=4)
    assert rarer(Rarity(most=6, gap=2), neuron, 64, 12) == Rarity(most=2, gap=5)
    assert rarer(every, replace(neuron, reset="none"), 64, 12) == Rarity(most=9, gap=1)
    assert rarer(every, neuron, 0, 12).most == 0
