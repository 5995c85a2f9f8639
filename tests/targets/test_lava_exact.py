"""Lava computes what the reference engine computes: every spike and every state of every neuron, at every step."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from spikegraph.export.chips import load_chip
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.export.split import split_populations
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.targets.lava import LavaRefusalError, plan_lava, run_lava
from spikegraph.targets.places import PLACES
from spikegraph.targets.verify import verify

pytestmark = pytest.mark.usefixtures("lava_nc")


def require_identical(graph, rasters):
    verification = verify(graph, rasters, {"lava": PLACES["lava"]})
    assert verification.identical, str(verification)
    return verification.comparisons[0]


@st.composite
def dense_networks(draw):
    """Draw a network of 1-4 layers with skips and its rasters; sizes are small, numbers go to both ends."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_layers, n_steps, n_samples = draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 4))
    sizes = {"x": draw(st.integers(1, 6))} | {f"l{i}": draw(st.integers(1, 5)) for i in range(n_layers)}
    names, populations, projections = list(sizes), {}, {}
    for i, name in enumerate(names[1:], start=1):
        threshold = draw(st.sampled_from([1, 20, 700, 30000, 131071]))
        per_neuron = draw(st.booleans())
        populations[name] = Population(
            shape=(sizes[name],),
            decay_u=draw(st.sampled_from([1, 7, 1024, 4095, 4096])),
            decay_v=draw(st.sampled_from([0, 1, 300, 4095])),
            threshold_mant=threshold,
            bias_mant=rng.integers(-4096, 4096, sizes[name]) if per_neuron else draw(st.integers(-4096, 4095)),
            bias_exp=rng.integers(0, 8, sizes[name]) if per_neuron else draw(st.integers(0, 7)),
        )
        skips = [source for source in names[: i - 1] if draw(st.booleans())]
        for source in [names[i - 1], *skips]:
            low, high, step = draw(st.sampled_from([(-128, 127, 1), (-256, 254, 2), (0, 255, 1), (-255, 0, 1)]))
            weight = rng.integers(low // step, high // step + 1, (sizes[name], sizes[source])) * step
            exponent = draw(st.sampled_from([-8, -3, -1, 0, 1, 4, 7]))
            projections[f"{source}-{name}"] = Dense(source=source, target=name, weight=weight, weight_exp=exponent)
    graph = Graph(
        inputs={"x": Input(shape=(sizes["x"],))},
        populations=populations,
        projections=projections,
        outputs={"o": Output(population=names[-1])},
        n_steps=n_steps,
    )
    raster = rng.random((n_steps, n_samples, sizes["x"])) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    return graph, {"x": raster.astype(np.int64)}


def check_drawn(network):
    graph, rasters = network
    try:
        plan_lava(graph)
    except LavaRefusalError:
        assume(False)  # u beyond what Lava wraps
    require_identical(graph, rasters)


COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}


@settings(max_examples=8, **COMMON)
@given(dense_networks())
def test_drawn_networks(network):
    check_drawn(network)


@pytest.mark.slow
@settings(max_examples=150, **COMMON)
@given(dense_networks())
def test_many_drawn_networks(network):
    check_drawn(network)


def test_u_wraps_and_v_saturates():
    # 7 inputs × 254 << 7 = 227584, << 6 = 14565376: beyond 2^23 = 8388608, within 3 · 2^23.
    a = Population(shape=(2,), decay_u=1500, decay_v=0, threshold_mant=131071, bias_mant=[-4096, 4095], bias_exp=7)
    graph = Graph(
        inputs={"x": Input(shape=(7,))},
        populations={"a": a},
        projections={"p": Dense(source="x", target="a", weight=np.full((2, 7), [[-254], [254]]), weight_exp=7)},
        outputs={"o": Output(population="a")},
        n_steps=12,
    )
    rasters = {"x": (np.random.default_rng(3).random((12, 3, 7)) < 0.8).astype(int)}
    counts = run_reference(compile_program(graph), rasters).per_step
    assert counts["wraps"]["a"].sum() > 0
    assert counts["saturations"]["a"].sum() > 0
    # (s, u, v) × 2 neurons × 12 steps × 3 samples = 216
    assert require_identical(graph, rasters).n_compared == 216


def test_binary_weights_and_a_split_population(make_graph, make_rasters):
    """Lava has one threshold and decay a process; a population in parts has one each, and ±1 becomes ±2 >> 1."""
    weight = np.array([[1, -1, 1, 1], [1, 1, 1, -1], [-1, 1, 1, 1]])
    graph = make_graph({"threshold_mant": [2, 1, 2], "decay_v": [200, 9, 200]}, {"weight": weight})
    with pytest.raises(LavaRefusalError, match="a: decay_v has 2 values"):
        plan_lava(graph)
    split, _ = split_populations(graph, load_chip("loihi1"))
    assert plan_lava(split).rewrites[0] == "p.0: weights doubled, weight_exp 0 → -1 (exact)"
    rasters = make_rasters(split)
    require_identical(split, rasters)
    spikes = run_reference(compile_program(split), rasters).per_step["spikes"]
    assert spikes["a.0"].sum() > 0
    assert spikes["a.1"].sum() > 0


def test_longest_skip_and_silent_population(make_graph, make_rasters):
    graph = make_graph()
    skip = Dense(source="x", target="b", weight=np.array([[3, -5, 7, 9], [1, 2, -3, 4]]), weight_exp=2)
    alone = Population(shape=(2,), threshold_mant=10, bias_mant=100)
    graph = replace(
        graph,
        populations={"driven": alone, **graph.populations},
        projections={
            **graph.projections,
            "skip": skip,
            "d": Dense(source="driven", target="b", weight=np.eye(2, dtype=int)),
        },
    )
    require_identical(graph, make_rasters(graph, 4))


@pytest.mark.parametrize("states", [True, False])
def test_recurrent_network_has_the_chip_for_itself(make_graph, make_rasters, states):
    # Biases would fire neurons while they wait for their sample, and delays would carry those spikes into it.
    graph = make_graph(population={"bias_mant": [3000, 2500, -100], "bias_exp": 4})
    rng = np.random.default_rng(1)
    loops = {
        "self": Dense(source="b", target="b", weight=rng.integers(-90, 90, (2, 2)), delay_steps=3),
        "back": Dense(source="b", target="a", weight=rng.integers(-90, 127, (3, 2)), delay_steps=2),
        "late": Dense(source="x", target="a", weight=rng.integers(-90, 127, (3, 4)), delay_steps=2),
    }
    graph = replace(graph, projections={**graph.projections, **loops})
    rasters = make_rasters(graph)
    if states:
        require_identical(graph, rasters)
        assert "one at a time" in plan_lava(graph).report()["timing"]["samples"]
    else:
        execution = run_lava(graph, rasters, states=False)
        assert [set(traces) for traces in execution.values()] == [{"s"}, {"s"}]
        assert verify(graph, rasters, {"lava": lambda *_: execution}).identical


def test_graded_input_and_image_shapes(make_rasters):
    rng = np.random.default_rng(2)
    graph = Graph(
        inputs={"x": Input(shape=(2, 2, 3), min_value=-20, max_value=300)},
        populations={"a": Population(shape=(2, 2, 2), threshold_mant=900, bias_mant=[7, -7])},
        projections={"p": Dense(source="x", target="a", weight=rng.integers(-128, 128, (8, 12)), weight_exp=-2)},
        outputs={"o": Output(population="a")},
        n_steps=5,
    )
    require_identical(graph, make_rasters(graph))
