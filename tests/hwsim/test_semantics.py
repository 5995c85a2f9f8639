"""docs/semantics.md, rule by rule: each test fails when its rule is broken (test_semantics_bites.py proves it).

Every test takes the engine it examines, so that each engine can be examined by all of them: a function
(program, rasters, record) → BatchResult. Numbers that are expected were worked out by hand; the comment says how.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikegraph.export.errors import GraphError
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse, SumPool2d
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import BatchResult, Trace

Engine = Callable[..., BatchResult]
ENGINES: dict[str, Engine] = {"native": run_native, "reference": run_reference}

HALF = 2**23
NEVER = 131071  # a threshold mantissa of 131071 · 64 = 8388544, which nothing here reaches unless it is meant to
GRADED = {"min_value": -32768, "max_value": 32767}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


def net(projections: dict[str, Any], populations: dict[str, Population], n_steps: int, **inputs: Input) -> Graph:
    return Graph(
        inputs=inputs or {"in": Input(shape=(1,), **GRADED)},
        populations=populations,
        projections=projections,
        outputs={"out": Output(population=list(populations)[-1])},
        n_steps=n_steps,
    )


def simulate(engine: Engine, graph: Graph, **rasters: Any) -> BatchResult:
    """Run with a raster (T, B, *shape) for each input."""
    arrays = {name.rstrip("_"): np.asarray(raster, np.int16) for name, raster in rasters.items()}
    return engine(compile_program(graph), arrays, list(graph.populations))


def chain(
    engine: Engine,
    values: list[int],
    n_steps: int | None = None,
    *,
    weight: int = 1,
    weight_exp: int = 0,
    **neuron: Any,
) -> Trace:
    """Run one graded line with these values → one synapse → one neuron."""
    n_steps = n_steps or len(values)
    values = values + [0] * (n_steps - len(values))
    p = Dense(source="in", target="n", weight=[[weight]], weight_exp=weight_exp)
    graph = net({"p": p}, {"n": Population(shape=(1,), **{"threshold_mant": NEVER, **neuron})}, n_steps)
    return simulate(engine, graph, in_=np.reshape(values, (n_steps, 1, 1))).traces["n"]


def steps(variable: np.ndarray) -> list[int]:
    """Return one neuron of one sample over time."""
    assert variable.shape[1:] == (1, 1)
    return variable[:, 0, 0].astype(int).tolist()


# One step


def test_x_is_shifted_left_by_six(engine: Engine) -> None:
    trace = chain(engine, [3, -5])
    assert steps(trace.x) == [3, -5]
    assert steps(trace.u) == [192, -320]  # 3 · 64, -5 · 64; decay_u = 4096 forgets the first


def test_decay_u_rounds_toward_zero(engine: Engine) -> None:
    # ±64 · 4095 / 4096 = ±63.98 → ±63 → 62.98 → ±62. Flooring would leave -64 where it is for ever.
    assert steps(chain(engine, [1, 0, 0], decay_u=1).u) == [64, 63, 62]
    assert steps(chain(engine, [-1, 0, 0], decay_u=1).u) == [-64, -63, -62]
    # ±192 · (4096 - 1000) / 4096 = ±145.1 → ±145 → ±109.6 → ±109
    assert steps(chain(engine, [3, 0, 0], decay_u=1000).u) == [192, 145, 109]
    assert steps(chain(engine, [-3, 0, 0], decay_u=1000).u) == [-192, -145, -109]


def test_decay_v_rounds_toward_zero(engine: Engine) -> None:
    assert steps(chain(engine, [-1, 0, 0], decay_v=1).v) == [-64, -63, -62]
    assert steps(chain(engine, [1, 0, 0], decay_v=1).v) == [64, 63, 62]
    assert steps(chain(engine, [-3, 0, 0], decay_v=1000).v) == [-192, -145, -109]


def test_decay_reaches_zero_from_both_sides(engine: Engine) -> None:
    for sign in (1, -1):
        trace = chain(engine, [sign], 80, decay_u=1, decay_v=1)
        assert steps(trace.u)[-1] == 0  # one less in each of 64 steps


def test_decay_at_the_ends_of_the_state(engine: Engine) -> None:
    # 32767 · 128 · 4 · 64 is far beyond; 32767 · 4 · 64 = 8388352 = 2^23 - 256 is inside.
    u = steps(chain(engine, [32767, 0], weight=4, decay_u=1).u)
    assert u == [8388352, 8388352 * 4095 // 4096]
    u = steps(chain(engine, [-32768, 0], weight=4, decay_u=1).u)
    # -32768 · 4 · 64 = -2^23, which wraps to +2^23; 2^23 · 4095 / 4096 = 2^23 - 2^11
    assert u == [HALF, HALF - 2048]


def test_decay_u_4096_forgets_the_current_and_smaller_ones_keep_it(engine: Engine) -> None:
    assert steps(chain(engine, [7, 0, 0], decay_u=4096).u) == [448, 0, 0]
    assert steps(chain(engine, [64, 0, 0], decay_u=4095).u) == [4096, 1, 0]  # 4096 · 1 / 4096


def test_decay_v_0_integrates_and_4096_forgets(engine: Engine) -> None:
    assert steps(chain(engine, [2, 0, 3, 0], decay_v=0).v) == [128, 128, 320, 320]
    assert steps(chain(engine, [2, 0, 3, 0], decay_v=4096).v) == [128, 0, 192, 0]
    assert steps(chain(engine, [-2, 0, -3, 0], decay_v=4096).v) == [-128, 0, -192, 0]
    assert steps(chain(engine, [64, 0, 0], decay_v=4095).v) == [4096, 1, 0]


def test_v_sees_the_u_of_the_same_step(engine: Engine) -> None:
    trace = chain(engine, [1, 0, 0], decay_u=2048)
    assert steps(trace.u) == [64, 32, 16]
    assert steps(trace.v) == [64, 96, 112]  # the running sum of u, its first value included


def test_u_decays_before_the_input_is_added(engine: Engine) -> None:
    # 64 → 32 + 64 = 96; adding first would give (64 + 64) / 2 = 64. In the first step nothing decays: 64, not 32.
    assert steps(chain(engine, [1, 1], decay_u=2048).u) == [64, 96]


def test_v_decays_before_u_and_bias_are_added(engine: Engine) -> None:
    # 64 + 10 = 74 → 37 + 64 + 10 = 111
    assert steps(chain(engine, [1, 1], decay_v=2048, bias_mant=10).v) == [74, 111]


def test_sum_is_shifted_not_each_weight(engine: Engine) -> None:
    # Two weights of 1 with exponent -1: (1 + 1) >> 1 = 1, not (1 >> 1) + (1 >> 1) = 0.
    p = Dense(source="in", target="n", weight=[[1, 1]], weight_exp=-1)
    graph = net({"p": p}, {"n": Population(shape=(1,), threshold_mant=NEVER)}, 1, **{"in": Input(shape=(2,))})
    assert steps(simulate(engine, graph, in_=[[[1, 1]]]).traces["n"].x) == [1]


def test_negative_shift_floors(engine: Engine) -> None:
    assert steps(chain(engine, [3, -3, 1, -1, -4, -5], weight_exp=-1).x) == [1, -2, 0, -1, -2, -3]
    assert steps(chain(engine, [255, 256, -1, -256, -257], weight_exp=-8).x) == [0, 1, -1, -1, -2]


def test_positive_shift_multiplies(engine: Engine) -> None:
    assert steps(chain(engine, [3, -3], weight_exp=7).x) == [384, -384]


def test_each_projection_is_shifted_by_itself(engine: Engine) -> None:
    # -1 >> 1 = -1 and 1 >> 1 = 0 make -1; shifting the sum of both projections would make 0.
    weights = {"a": [[-1]], "b": [[1]]}
    projections = {k: Dense(source="in", target="n", weight=w, weight_exp=-1) for k, w in weights.items()}
    graph = net(projections, {"n": Population(shape=(1,), threshold_mant=NEVER)}, 1)
    assert steps(simulate(engine, graph, in_=[[[1]]]).traces["n"].x) == [-1]


def test_projections_of_different_exponents_add_up(engine: Engine) -> None:
    projections = {
        "a": Dense(source="in", target="n", weight=[[5]], weight_exp=2),
        "b": Dense(source="in", target="n", weight=[[-7]], weight_exp=-2),
        "c": OneToOne(source="in", target="n", weight=100),
    }
    graph = net(projections, {"n": Population(shape=(1,), threshold_mant=NEVER)}, 1)
    assert steps(simulate(engine, graph, in_=[[[1]]]).traces["n"].x) == [20 - 2 + 100]


def test_threshold_is_strict(engine: Engine) -> None:
    # v reaches exactly 5 · 64 = 320: no spike; one more bias unit: a spike.
    assert steps(chain(engine, [5], threshold_mant=5).s) == [0]
    assert steps(chain(engine, [5], threshold_mant=5, bias_mant=1).s) == [1]
    assert steps(chain(engine, [6], threshold_mant=5).s) == [1]


def test_threshold_mantissa_is_shifted_by_six(engine: Engine) -> None:
    # v rises by 1 a step: it passes 64 in step 64, the 65th, and no step before.
    s = steps(chain(engine, [], 66, threshold_mant=1, bias_mant=1).s)
    assert s.index(1) == 64
    assert sum(s) == 1


def test_largest_threshold(engine: Engine) -> None:
    # 131071 · 64 = 8388544: 8388352 + 192 = 8388544 does not pass it, 8388352 + 193 does.
    assert steps(chain(engine, [32767], weight=4, threshold_mant=131071, bias_mant=192).s) == [0]
    assert steps(chain(engine, [32767], weight=4, threshold_mant=131071, bias_mant=193).s) == [1]


def test_bias_is_shifted_by_its_exponent_only(engine: Engine) -> None:
    assert steps(chain(engine, [0, 0], bias_mant=3, bias_exp=0).v) == [3, 6]
    assert steps(chain(engine, [0, 0], bias_mant=3, bias_exp=5).v) == [96, 192]
    assert steps(chain(engine, [0], bias_mant=4095, bias_exp=7).v) == [4095 * 128]
    assert steps(chain(engine, [0], bias_mant=-4096, bias_exp=7).v) == [-4096 * 128]


def test_bias_goes_into_v_not_u(engine: Engine) -> None:
    assert steps(chain(engine, [0, 0], bias_mant=3).u) == [0, 0]


def test_u_wraps_into_its_24_bits(engine: Engine) -> None:
    # 2^17 · 64 = 2^23: stays. -2^17 · 64 = -2^23: becomes 2^23. One step of 64 beyond: wraps to the other end.
    for x, u in [
        (131072, HALF),
        (131073, HALF + 64 - 2**24),
        (131071, HALF - 64),
        (-131071, 64 - HALF),
        (-131072, HALF),
        (-131073, HALF - 64),
    ]:
        p = Dense(source="in", target="n", weight=[[32767, 1, -32768]], weight_exp=0)
        graph = net(
            {"p": p}, {"n": Population(shape=(1,), threshold_mant=NEVER)}, 1, **{"in": Input(shape=(3,), **GRADED)}
        )
        parts = [4, x - 4 * 32767, 0] if x > 0 else [0, x + 4 * 32768, 4]
        result = simulate(engine, graph, in_=[[parts]])
        assert steps(result.traces["n"].x) == [x]
        assert steps(result.traces["n"].u) == [u]
        assert result.per_step["wraps"]["n"].tolist() == [[int(x << 6 != u)]]


def test_u_wraps_as_often_as_it_must(engine: Engine) -> None:
    # 32767 · 32767 · 64 is 4095.75 times 2^24: subtracting 2^24 once (as Lava does) leaves it far outside.
    for value, weight in [(32767, 32767), (-32768, 32767), (32767, -32768), (-32768, -32768), (10000, 50)]:
        u = value * weight * 64 % 2**24
        u = u - 2**24 if u > HALF else u
        assert steps(chain(engine, [value], weight=weight).u) == [u]


def test_u_wraps_after_decay_and_input_together(engine: Engine) -> None:
    # 2^23 - 256 decays by half to 2^22 - 128, and + 2^23 - 256 wraps.
    u = steps(chain(engine, [32767, 32767], weight=4, decay_u=2048).u)
    assert u == [HALF - 256, HALF // 2 - 128 + HALF - 256 - 2**24]


def test_v_saturates_at_both_ends(engine: Engine) -> None:
    # 8388352 twice passes 2^23 - 1, from below and from above; v stays at the end until something pulls it back.
    # A threshold of 8388544 lies below the end: reset "none" shows the end itself.
    trace = chain(engine, [32767, 32767, 0, -1], weight=4, reset="none")
    assert steps(trace.v) == [8388352, HALF - 1, HALF - 1, HALF - 1 - 256]
    trace = chain(engine, [-32767, -32767, 0, 1], weight=4)
    assert steps(trace.v) == [-8388352, 1 - HALF, 1 - HALF, 1 - HALF + 256]


def test_v_saturates_after_everything_is_added(engine: Engine) -> None:
    # 8126208 + 8388352 - 262144 saturates; with the bias added after the clipping it would end lower.
    trace = chain(engine, [32767, 32767], weight=4, bias_mant=-4096, bias_exp=6, reset="none")
    assert steps(trace.v) == [8388352 - 262144, HALF - 1]
    # -2^23 + 1 is not -2^23: decay from the end shows which one it was.
    trace = chain(engine, [-32767, -32767, 0], weight=4, decay_v=1)
    end = 1 - HALF
    assert steps(trace.v)[1] == end
    assert steps(trace.v)[2] == -(-end * 4095 // 4096)


def test_saturations_are_counted_where_v_was_clipped(engine: Engine) -> None:
    p = Dense(source="in", target="n", weight=[[4]])
    graph = net({"p": p}, {"n": Population(shape=(1,), threshold_mant=NEVER)}, 4)
    result = simulate(engine, graph, in_=np.reshape([-32767, -32767, 0, 1], (4, 1, 1)))
    # Step 1 is clipped; in step 2 v stands at the end but nothing was clipped.
    assert result.per_step["saturations"]["n"][:, 0].tolist() == [0, 1, 0, 0]


def test_spike_reaches_a_zero_delay_target_in_the_same_step(engine: Engine) -> None:
    fires = Population(shape=(1,), threshold_mant=1)
    weights = {"p": ("in", "a"), "q": ("a", "b"), "r": ("b", "c")}
    projections = {k: Dense(source=s, target=t, weight=[[2]]) for k, (s, t) in weights.items()}
    # Written down in the wrong order: the order of computation is the topological one.
    graph = net(projections, {"c": fires, "b": fires, "a": fires}, 3, **{"in": Input(shape=(1,))})
    traces = simulate(engine, graph, in_=[[[0]], [[1]], [[0]]]).traces
    for name in "abc":
        assert steps(traces[name].s) == [0, 1, 0]


def test_inputs_and_parameters_for_each_channel_and_neuron(engine: Engine) -> None:
    rng = np.random.default_rng(5)
    shape = (2, 3, 4)
    ranges = {
        "decay_u": (1, 4097),
        "decay_v": (0, 4097),
        "threshold_mant": (1, 20),
        "bias_mant": (-50, 50),
        "bias_exp": (0, 4),
    }
    raster = rng.integers(-9, 10, (6, 1, *shape))
    p = OneToOne(source="in", target="n", weight=1)
    for granularity in [(), (2,), shape]:
        parameters = {name: rng.integers(*ends, granularity) for name, ends in ranges.items()}
        graph = net({"p": p}, {"n": Population(shape=shape, **parameters)}, 6, **{"in": Input(shape=shape, **GRADED)})
        trace = simulate(engine, graph, in_=raster).traces["n"]
        for index in np.ndindex(*shape):
            own = {name: int(value[index[: value.ndim]]) for name, value in parameters.items()}
            alone = chain(engine, raster[:, 0, *index].tolist(), **own)
            for variable in ("u", "v", "s", "v_before_reset"):
                assert getattr(trace, variable)[:, 0, *index].tolist() == steps(getattr(alone, variable))


def test_each_parameter_may_have_a_granularity_of_its_own(engine: Engine) -> None:
    population = Population(shape=(2, 1, 2), threshold_mant=[1, 5], bias_mant=[[[70, 0]], [[70, 321]]], decay_v=4096)
    p = OneToOne(source="in", target="n", weight=1)
    graph = net({"p": p}, {"n": population}, 1, **{"in": Input(shape=(2, 1, 2))})
    s = simulate(engine, graph, in_=np.zeros((1, 1, 2, 1, 2))).traces["n"].s
    # 70 > 64, 0, 70 < 320, 321 > 320
    assert s[0, 0].astype(int).tolist() == [[[1, 0]], [[0, 1]]]


# Reset, refractory period, spike limit


def test_reset_zero(engine: Engine) -> None:
    trace = chain(engine, [6, 0, 1], threshold_mant=5, reset="zero")
    assert steps(trace.s) == [1, 0, 0]
    assert steps(trace.v_before_reset) == [384, 0, 64]
    assert steps(trace.v) == [0, 0, 64]


def test_reset_subtract(engine: Engine) -> None:
    trace = chain(engine, [16, 0, 0, 0], threshold_mant=5, reset="subtract")
    # 1024 > 320 → 704 > 320 → 384 > 320 → 64
    assert steps(trace.s) == [1, 1, 1, 0]
    assert steps(trace.v) == [704, 384, 64, 64]
    assert steps(trace.v_before_reset) == [1024, 704, 384, 64]


def test_reset_none(engine: Engine) -> None:
    trace = chain(engine, [6, 0, -2, 0], threshold_mant=5, reset="none")
    assert steps(trace.s) == [1, 1, 0, 0]
    assert steps(trace.v) == [384, 384, 256, 256]


def test_reset_leaves_u(engine: Engine) -> None:
    for reset in ("zero", "subtract", "none"):
        trace = chain(engine, [8, 0, 0], threshold_mant=5, decay_u=2048, reset=reset)
        assert steps(trace.u) == [512, 256, 128]


def test_refractory_1_is_no_pause(engine: Engine) -> None:
    assert steps(chain(engine, [6, 6, 6], threshold_mant=5, refractory_steps=1).s) == [1, 1, 1]


def test_refractory_counts_the_spike_step(engine: Engine) -> None:
    assert steps(chain(engine, [6] * 6, threshold_mant=5, refractory_steps=2).s) == [1, 0, 1, 0, 1, 0]
    assert steps(chain(engine, [6] * 7, threshold_mant=5, refractory_steps=3).s) == [1, 0, 0, 1, 0, 0, 1]


def test_refractory_holds_v_at_zero_and_integrates_nothing(engine: Engine) -> None:
    trace = chain(engine, [6, 2, 2, 2], threshold_mant=5, bias_mant=7, refractory_steps=3)
    assert steps(trace.v_before_reset) == [391, 0, 0, 135]
    assert steps(trace.v) == [0, 0, 0, 135]


def test_refractory_lets_u_go_on(engine: Engine) -> None:
    trace = chain(engine, [8, 1, 0, 0], threshold_mant=5, decay_u=2048, refractory_steps=3)
    assert steps(trace.u) == [512, 320, 160, 80]  # 256 + 64, and on
    assert steps(trace.v) == [0, 0, 0, 80]


def test_refractory_loses_the_residue_of_subtract_and_none(engine: Engine) -> None:
    trace = chain(engine, [16, 0, 0], threshold_mant=5, reset="subtract", refractory_steps=2)
    assert steps(trace.v) == [704, 0, 0]
    assert steps(trace.s) == [1, 0, 0]
    trace = chain(engine, [16, 0, 0], threshold_mant=5, reset="none", refractory_steps=2)
    assert steps(trace.v) == [1024, 0, 0]
    assert steps(trace.s) == [1, 0, 0]


def test_negative_potential_is_held_at_zero_too(engine: Engine) -> None:
    trace = chain(engine, [6, -3, -3, -3], threshold_mant=5, refractory_steps=3)
    assert steps(trace.v) == [0, 0, 0, -192]


def test_max_spikes_1_fires_once(engine: Engine) -> None:
    trace = chain(engine, [6] * 5, threshold_mant=5, max_spikes=1)
    assert steps(trace.s) == [1, 0, 0, 0, 0]
    assert steps(trace.v_before_reset) == [384, 0, 0, 0, 0]
    assert steps(trace.u) == [384] * 5


def test_max_spikes_2_fires_twice(engine: Engine) -> None:
    assert steps(chain(engine, [6, 0, 6, 6, 6], threshold_mant=5, max_spikes=2).s) == [1, 0, 1, 0, 0]


def test_max_spikes_with_a_refractory_period(engine: Engine) -> None:
    trace = chain(engine, [6] * 6, threshold_mant=5, max_spikes=2, refractory_steps=2)
    assert steps(trace.s) == [1, 0, 1, 0, 0, 0]


def test_max_spikes_resets_as_reset_says_then_holds(engine: Engine) -> None:
    assert steps(chain(engine, [16, 0], threshold_mant=5, max_spikes=1, reset="subtract").v) == [704, 0]
    assert steps(chain(engine, [16, 0], threshold_mant=5, max_spikes=1, reset="none").v) == [1024, 0]


def test_max_spikes_0_is_no_limit(engine: Engine) -> None:
    assert steps(chain(engine, [6] * 9, threshold_mant=5, max_spikes=0).s) == [1] * 9


def test_spike_limit_is_of_each_neuron(engine: Engine) -> None:
    p = OneToOne(source="in", target="n", weight=2)
    population = Population(shape=(2,), threshold_mant=1, max_spikes=1)
    graph = net({"p": p}, {"n": population}, 3, **{"in": Input(shape=(2,))})
    s = simulate(engine, graph, in_=[[[1, 0]], [[1, 1]], [[1, 1]]]).traces["n"].s
    assert s[:, 0].astype(int).tolist() == [[1, 0], [0, 1], [0, 0]]


# Time and state


def test_delay_of_a_projection(engine: Engine) -> None:
    for delay_steps in (0, 1, 2, 4, 5, 1023):
        p = Dense(source="in", target="n", weight=[[1]], delay_steps=delay_steps)
        graph = net({"p": p}, {"n": Population(shape=(1,), threshold_mant=NEVER)}, 5)
        trace = simulate(engine, graph, in_=np.reshape([1, 2, 3, 4, 5], (5, 1, 1))).traces["n"]
        assert steps(trace.x) == ([0] * delay_steps + [1, 2, 3, 4, 5])[:5]


def test_delay_of_a_self_loop(engine: Engine) -> None:
    for delay_steps in (1, 3):
        projections = {
            "p": Dense(source="in", target="n", weight=[[6]]),
            "loop": Dense(source="n", target="n", weight=[[6]], delay_steps=delay_steps),
        }
        graph = net(projections, {"n": Population(shape=(1,), threshold_mant=5)}, 8, **{"in": Input(shape=(1,))})
        trace = simulate(engine, graph, in_=np.eye(8, 1)[:, None]).traces["n"]
        assert steps(trace.s) == [int(t % delay_steps == 0) for t in range(8)]


def test_delay_of_a_loop_of_two(engine: Engine) -> None:
    # a fires at 0, b in the same step (delay 0), a again 2 steps later (delay 2), and on.
    fires = Population(shape=(1,), threshold_mant=1)
    projections = {
        "p": Dense(source="in", target="a", weight=[[2]]),
        "ab": Dense(source="a", target="b", weight=[[2]]),
        "ba": Dense(source="b", target="a", weight=[[2]], delay_steps=2),
    }
    graph = net(projections, {"b": fires, "a": fires}, 6, **{"in": Input(shape=(1,))})
    traces = simulate(engine, graph, in_=np.eye(6, 1)[:, None]).traces
    assert steps(traces["a"].s) == steps(traces["b"].s) == [1, 0, 1, 0, 1, 0]
    graph = replace(graph, projections={**projections, "ab": replace(projections["ab"], delay_steps=1)})
    traces = simulate(engine, graph, in_=np.eye(6, 1)[:, None]).traces
    assert steps(traces["a"].s) == [1, 0, 0, 1, 0, 0]
    assert steps(traces["b"].s) == [0, 1, 0, 0, 1, 0]


def stateful() -> Graph:
    """Something of every kind of state: u, v, refractory and spike counts, delay lines, recurrence."""
    rng = np.random.default_rng(3)
    lasting = {"decay_u": 700, "decay_v": 300}
    populations = {
        "a": Population(shape=(4,), threshold_mant=9, bias_mant=40, refractory_steps=3, **lasting),
        "b": Population(shape=(3,), threshold_mant=4, max_spikes=2, reset="subtract", **lasting),
        "c": Population(shape=(2,), threshold_mant=6, bias_mant=-5, reset="none", **lasting),
    }
    ends = {
        "p": ("in", "a", 0),
        "q": ("a", "b", 2),
        "r": ("b", "b", 1),
        "skip": ("in", "c", 3),
        "t": ("b", "c", 0),
        "back": ("c", "a", 4),
    }
    sizes = {"in": 5, "a": 4, "b": 3, "c": 2}
    projections = {
        name: Dense(source=s, target=t, delay_steps=d, weight=rng.integers(-6, 9, (sizes[t], sizes[s])))
        for name, (s, t, d) in ends.items()
    }
    return net(projections, populations, 20, **{"in": Input(shape=(5,))})


def test_state_is_cleared_between_samples(engine: Engine) -> None:
    """A sample gives the same alone, in another batch, and in another place."""
    graph, rng = stateful(), np.random.default_rng(11)
    raster = rng.integers(0, 2, (20, 6, 5))
    program = compile_program(graph)
    together = engine(program, {"in": raster}, list(graph.populations))
    assert together.traces["c"].s.any()
    order = [3, 0, 5, 1, 4, 2]
    mixed = engine(program, {"in": raster[:, order]}, list(graph.populations))
    for b in range(6):
        alone = engine(program, {"in": raster[:, [b]]}, list(graph.populations))
        for name in graph.populations:
            for variable in ("x", "u", "v", "s", "v_before_reset"):
                expected = getattr(alone.traces[name], variable)[:, 0]
                assert np.array_equal(getattr(together.traces[name], variable)[:, b], expected)
                assert np.array_equal(getattr(mixed.traces[name], variable)[:, order.index(b)], expected)
        for quantity, nodes in alone.per_step.items():
            for node, array in nodes.items():
                assert np.array_equal(together.per_step[quantity][node][:, b], array[:, 0])


def test_running_again_gives_the_same(engine: Engine) -> None:
    graph, program = stateful(), compile_program(stateful())
    raster = np.random.default_rng(2).integers(0, 2, (20, 2, 5))
    first, second = (engine(program, {"in": raster}, list(graph.populations)) for _ in range(2))
    for name in graph.populations:
        assert np.array_equal(first.traces[name].v, second.traces[name].v)
        assert np.array_equal(first.traces[name].s, second.traces[name].s)


def test_outputs_are_traced_without_being_asked_for(engine: Engine) -> None:
    graph = stateful()
    result = engine(compile_program(graph), {"in": np.ones((20, 1, 5), np.int16)}, ())
    assert set(result.traces) == {"c"}
    trace = result.traces["c"]
    assert (trace.s.shape, trace.s.dtype) == ((20, 1, 2), np.bool_)
    assert np.array_equal(trace.s, trace.v_before_reset > 6 * 64)
    recorded = engine(compile_program(graph), {"in": np.ones((20, 1, 5), np.int16)}, ["a"])
    assert set(recorded.traces) == {"a", "c"}


def test_start_step_opens_a_window_of_its_own(engine: Engine) -> None:
    """A population with start_step 2 knows nothing of what came before, and computes n_steps steps from there."""
    p = Dense(source="in", target="n", weight=[[1]], delay_steps=1)
    population = Population(shape=(1,), threshold_mant=NEVER, bias_mant=5, start_step=2)
    result = simulate(engine, net({"p": p}, {"n": population}, 3), in_=np.reshape([1, 2, 3], (3, 1, 1)))
    trace = result.traces["n"]
    # Steps 2, 3, 4 of the clock receive what was sent in steps 1, 2, 3; there is no input in step 3.
    assert steps(trace.x) == [2, 3, 0]
    assert steps(trace.v) == [2 * 64 + 5, 5 * 64 + 10, 5 * 64 + 15]
    assert result.per_step["neuron_updates"]["n"][:, 0].tolist() == [1, 1, 1]
    assert result.per_step["sops"]["p"][:, 0].tolist() == [1, 1, 0]


def test_nothing_is_fired_after_the_window(engine: Engine) -> None:
    """a (window 0…2) fires in every step by its bias; b (window 2…4) with delay 1 sees steps 1, 2, and not 3."""
    populations = {
        "a": Population(shape=(1,), threshold_mant=1, bias_mant=100),
        "b": Population(shape=(1,), threshold_mant=NEVER, start_step=2),
    }
    projections = {
        "p": Dense(source="in", target="a", weight=[[1]]),
        "q": Dense(source="a", target="b", weight=[[1]], delay_steps=1),
    }
    traces = simulate(engine, net(projections, populations, 3), in_=np.zeros((3, 1, 1))).traces
    assert steps(traces["a"].s) == [1, 1, 1]
    assert steps(traces["b"].x) == [1, 1, 0]


# Inputs and projections


def test_graded_input_carries_its_number(engine: Engine) -> None:
    assert steps(chain(engine, [5, -3, 0, 32767, -32768], weight=-2).x) == [-10, 6, 0, -65534, 65536]


def test_x_is_exact_however_large(engine: Engine) -> None:
    # 2000 synapses of 32767 · 32767, shifted left by 7: 2.7 · 10^14, beyond 32 bits and beyond float32.
    p = Dense(source="in", target="n", weight=np.full((1, 2000), 32767), weight_exp=7)
    population = Population(shape=(1,), threshold_mant=NEVER)
    graph = net({"p": p}, {"n": population}, 1, **{"in": Input(shape=(2000,), **GRADED)})
    assert steps(simulate(engine, graph, in_=np.full((1, 1, 2000), 32767)).traces["n"].x) == [2000 * 32767**2 * 128]


def test_rows_of_a_weight_are_postsynaptic(engine: Engine) -> None:
    p = Dense(source="in", target="n", weight=[[1, 2, 3], [4, 5, 6]])
    population = Population(shape=(2,), threshold_mant=NEVER)
    graph = net({"p": p}, {"n": population}, 1, **{"in": Input(shape=(3,))})
    assert simulate(engine, graph, in_=[[[0, 1, 1]]]).traces["n"].x.tolist() == [[[5, 11]]]


def test_dense_flattens_in_c_order(engine: Engine) -> None:
    p = Dense(source="in", target="n", weight=np.arange(12)[None])
    graph = net(
        {"p": p}, {"n": Population(shape=(1,), threshold_mant=NEVER)}, 1, **{"in": Input(shape=(2, 3, 2), **GRADED)}
    )
    raster = np.zeros((1, 1, 2, 3, 2))
    raster[0, 0, 1, 0, 1] = 1  # channel 1, row 0, column 1: 6 + 0 + 1
    raster[0, 0, 0, 2, 0] = 100  # channel 0, row 2, column 0: 4
    assert steps(simulate(engine, graph, in_=raster).traces["n"].x) == [7 + 400]


def test_convolution_is_cross_correlation(engine: Engine) -> None:
    # A kernel that is not symmetric, over (1, 2, 3) with padding (0, 1) and stride (1, 2).
    p = Conv2d(source="in", target="n", weight=[[[[1, 10, 100], [1000, 10000, 100000]]]], padding=(0, 1), stride=(1, 2))
    p = replace(p, weight=np.minimum(p.weight, 20000))
    population = Population(shape=(1, 1, 2), threshold_mant=NEVER)
    graph = net({"p": p}, {"n": population}, 1, **{"in": Input(shape=(1, 2, 3), **GRADED)})
    x = simulate(engine, graph, in_=[[[[[1, 2, 3], [4, 5, 6]]]]]).traces["n"].x
    # Output 0 sees columns -1, 0, 1; output 1 sees columns 1, 2, 3.
    first = 10 * 1 + 100 * 2 + 10000 * 4 + 20000 * 5
    second = 1 * 2 + 10 * 3 + 1000 * 5 + 10000 * 6
    assert x[0, 0].tolist() == [[[first, second]]]


def test_groups_keep_channels_apart(engine: Engine) -> None:
    p = Conv2d(source="in", target="n", weight=np.array([1, 2, 3, 4]).reshape(4, 1, 1, 1), groups=2)
    population = Population(shape=(4, 1, 1), threshold_mant=NEVER)
    graph = net({"p": p}, {"n": population}, 1, **{"in": Input(shape=(2, 1, 1), **GRADED)})
    x = simulate(engine, graph, in_=[[[[[1]], [[10]]]]]).traces["n"].x
    assert x.ravel().tolist() == [1, 2, 30, 40]


def test_dilation_spreads_the_kernel(engine: Engine) -> None:
    p = Conv2d(source="in", target="n", weight=[[[[1, 10]]]], dilation=(1, 2))
    population = Population(shape=(1, 1, 2), threshold_mant=NEVER)
    graph = net({"p": p}, {"n": population}, 1, **{"in": Input(shape=(1, 1, 4), **GRADED)})
    assert simulate(engine, graph, in_=[[[[[1, 2, 3, 4]]]]]).traces["n"].x.ravel().tolist() == [31, 42]


def test_sum_pool_sums_its_window_channel_by_channel(engine: Engine) -> None:
    p = SumPool2d(source="in", target="n", kernel_size=2, weight=-3)
    population = Population(shape=(2, 1, 1), threshold_mant=NEVER)
    graph = net({"p": p}, {"n": population}, 1, **{"in": Input(shape=(2, 2, 3), **GRADED)})
    raster = [[[[[1, 2, 9], [3, 4, 9]], [[10, 20, 9], [30, 40, 9]]]]]
    assert simulate(engine, graph, in_=raster).traces["n"].x.ravel().tolist() == [-30, -300]


def test_sparse_rows_follow_the_source(engine: Engine) -> None:
    # Neuron 0 → targets 2 and 0; neuron 1 → nothing; neuron 2 → target 1 twice.
    p = Sparse(source="in", target="n", indptr=[0, 2, 2, 4], indices=[2, 0, 1, 1], weight=[5, 7, 11, 13])
    population = Population(shape=(3,), threshold_mant=NEVER)
    graph = net({"p": p}, {"n": population}, 3, **{"in": Input(shape=(3,))})
    result = simulate(engine, graph, in_=np.eye(3)[:, None])
    assert result.traces["n"].x[:, 0].tolist() == [[7, 0, 5], [0, 0, 0], [0, 24, 0]]
    assert result.per_step["sops"]["p"][:, 0].tolist() == [2, 0, 2]


def test_several_projections_from_one_source_add_up(engine: Engine) -> None:
    projections = {k: OneToOne(source="in", target="n", weight=w, delay_steps=w) for k, w in {"a": 1, "b": 2}.items()}
    graph = net(projections, {"n": Population(shape=(1,), threshold_mant=NEVER)}, 5)
    trace = simulate(engine, graph, in_=np.reshape([1, 10, 100, 0, 0], (5, 1, 1))).traces["n"]
    assert steps(trace.x) == [0, 1, 10 + 2, 100 + 20, 200]


# The clock of a chip


def assert_same_but_later(engine: Engine, graph: Graph, raster: np.ndarray) -> Graph:
    later = pipelined(graph)
    assert all(p.delay_steps >= 1 for p in later.projections.values())
    rasters = dict.fromkeys(graph.inputs, raster)
    plain, shifted = (engine(compile_program(g), rasters, list(g.populations)) for g in (graph, later))
    for name in graph.populations:
        for variable in ("x", "u", "v", "s", "v_before_reset"):
            assert np.array_equal(getattr(plain.traces[name], variable), getattr(shifted.traces[name], variable))
    for quantity, nodes in plain.per_step.items():
        for node, array in nodes.items():
            assert np.array_equal(array, shifted.per_step[quantity][node]), (quantity, node)
    return later


def layered(skips: dict[str, tuple[str, str, int]], **neuron: Any) -> Graph:
    """in → a → b → c, and further projections (source, target, delay); all weights random."""
    rng = np.random.default_rng(8)
    neuron = {"threshold_mant": 6, "decay_u": 1000, "decay_v": 200, **neuron}
    populations = {name: Population(shape=(3,), **neuron) for name in "abc"}
    ends = {"p": ("in", "a", 0), "q": ("a", "b", 0), "r": ("b", "c", 0), **skips}
    projections = {
        name: Dense(source=s, target=t, delay_steps=d, weight=rng.integers(-4, 8, (3, 3)))
        for name, (s, t, d) in ends.items()
    }
    return net(projections, populations, 15, **{"in": Input(shape=(3,))})


def spikes_for(graph: Graph) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2, (graph.n_steps, 4, *graph.inputs["in"].shape))


def test_pipelined_with_bias(engine: Engine) -> None:
    graph = layered({}, bias_mant=90)
    later = assert_same_but_later(engine, graph, spikes_for(graph))
    assert [later.populations[name].start_step for name in "abc"] == [1, 2, 3]
    assert compile_program(later).depth == 3
    # The bias alone makes c fire: were it integrated from step 0 on, c would be ahead.
    assert engine(compile_program(graph), {"in": 0 * spikes_for(graph)}, ()).traces["c"].s.any()


def test_pipelined_with_skips(engine: Engine) -> None:
    graph = layered({"in_c": ("in", "c", 0), "a_c": ("a", "c", 2), "in_b": ("in", "b", 1)}, bias_mant=3)
    later = assert_same_but_later(engine, graph, spikes_for(graph))
    delays = {name: p.delay_steps for name, p in later.projections.items()}
    # Depth c = 3: in → c gains 3; a → c gains 2 to its own 2; in → b gains 2 to its own 1.
    assert delays == {"p": 1, "q": 1, "r": 1, "in_c": 3, "a_c": 4, "in_b": 3}


def test_pipelined_with_recurrence(engine: Engine) -> None:
    graph = layered({"self": ("b", "b", 1), "back": ("c", "a", 3)}, bias_mant=3, refractory_steps=2)
    later = assert_same_but_later(engine, graph, spikes_for(graph))
    assert later.projections["self"].delay_steps == 1
    assert later.projections["back"].delay_steps == 1  # a → b → c take a step each of the three


def test_pipelined_with_spike_limits(engine: Engine) -> None:
    graph = layered({}, max_spikes=1, bias_mant=40)
    assert_same_but_later(engine, graph, spikes_for(graph))


def test_a_population_starts_cleared_at_its_depth(engine: Engine) -> None:
    """Input arriving before start_step, by a delay too short for it, leaves no trace in u or v."""
    graph = pipelined(layered({}, bias_mant=90))
    late = {name: replace(p, start_step=p.start_step + 2) for name, p in graph.populations.items()}
    graph = replace(graph, populations=late, projections={k: graph.projections[k] for k in ("p", "q", "r")})
    raster = spikes_for(graph)
    changed = raster.copy()
    changed[:2] ^= 1  # reaches a (window from step 3 on, delay 1) in steps 1 and 2 only
    first, second = (engine(compile_program(graph), {"in": r}, list("abc")) for r in (raster, changed))
    for name in "abc":
        assert np.array_equal(first.traces[name].u, second.traces[name].u)
        assert np.array_equal(first.traces[name].v, second.traces[name].v)


# What is refused


def test_zero_delay_loops_are_refused() -> None:
    for skips in ({"loop": ("a", "a", 0)}, {"loop": ("c", "a", 0)}):
        with pytest.raises(GraphError, match="loop without delay; give one of its projections delay_steps of at least"):
            compile_program(layered(skips))
    compile_program(layered({"loop": ("c", "a", 1)}))


def test_threshold_mantissa_0_is_refused() -> None:
    with pytest.raises(GraphError, match="threshold_mant = 0 is outside 1…131071"):
        compile_program(layered({}, threshold_mant=0))
