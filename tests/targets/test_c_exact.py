"""C computes what the reference engine computes: every spike and every state of every neuron, at every step."""

from dataclasses import replace

import c_compilers
import numpy as np
import pytest
from every_kind import everything, rasters_for
from graph_strategies import cases
from hypothesis import HealthCheck, given, settings

from spikegraph.export.graph import Dense, Graph, Input, OneToOne, Output, Population, Sparse
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.targets.c import run_c
from spikegraph.targets.verify import verify

COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}


def require_identical(graph, rasters, compiler="gcc"):
    command = c_compilers.command(compiler)
    verification = verify(graph, rasters, {"c": lambda *case: run_c(*case, command=command)})
    assert not verification.refusals, str(verification.refusals)
    assert verification.identical, str(verification)
    return verification.comparisons[0]


@settings(max_examples=12, **COMMON)
@given(cases())
def test_drawn_networks(case):
    require_identical(case.graph, case.rasters)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", c_compilers.COMMANDS)
@settings(max_examples=150, **COMMON)
@given(case=cases())
def test_many_drawn_networks(compiler, case):
    require_identical(case.graph, case.rasters, compiler)


@pytest.mark.parametrize("compiler", c_compilers.COMMANDS)
def test_everything_at_once(compiler):
    graph = everything()
    rasters = rasters_for(graph)
    spikes = run_reference(compile_program(graph), rasters).per_step["spikes"]
    assert all(spikes[name].sum() > 0 for name in graph.populations)
    # (s, u, v) × 48 + 16 + 70 + 5 neurons × 20 steps × 3 samples = 25020
    assert require_identical(graph, rasters, compiler).n_compared == 25020


@pytest.mark.parametrize("exponents", [(7, 7), (0, 3), (-8, 7), (-8, -3), (-1, 0)])
def test_sums_far_beyond_32_bits(exponents):
    """40 spikes of 32767 with weights of 32767: sums up to 4.3e10, above 2^35; u wraps and v saturates."""
    rng = np.random.default_rng(1)
    graph = Graph(
        inputs={"x": Input(shape=(40,), min_value=-32768, max_value=32767)},
        populations={
            "a": Population(shape=(6,), decay_u=5, threshold_mant=131071, bias_mant=-4096, bias_exp=7, reset="subtract")
        },
        projections={
            f"p{k}": Dense(source="x", target="a", weight=rng.choice([-32768, 32767], (6, 40)), weight_exp=exponent)
            for k, exponent in enumerate(exponents)
        },
        outputs={"o": Output(population="a")},
        n_steps=40,
    )
    rasters = {"x": rng.choice([32767, 32766, -32768], (40, 2, 40))}
    result = run_reference(compile_program(graph), rasters, ["a"])
    assert np.abs(result.traces["a"].x).max() > 2**31
    assert result.per_step["wraps"]["a"].sum() > 0
    assert result.per_step["saturations"]["a"].sum() > 0
    require_identical(graph, rasters, "gcc sanitized")


def test_weights_that_share_a_power_of_two():
    """Divided where that narrows them or takes away a shift; floor((2w · s) / 2) is w · s, the rest still floors."""
    graph = Graph(
        inputs={"x": Input(shape=(9,))},
        populations={"a": Population(shape=(3,), threshold_mant=400)},
        projections={
            "even": Dense(source="x", target="a", weight=np.arange(27).reshape(3, 9) * 18 - 256),
            "floors": Dense(source="x", target="a", weight=np.arange(27).reshape(3, 9) * 12 - 100, weight_exp=-4),
            "odd": Dense(source="x", target="a", weight=np.arange(27).reshape(3, 9) - 13, weight_exp=-2, delay_steps=1),
        },
        outputs={"o": Output(population="a")},
        n_steps=8,
    )
    require_identical(graph, rasters_for(graph, rate=0.5), "gcc sanitized")


def test_longest_delay():
    """A ring of 1024 steps of spikes, and a window that ends while spikes are on their way."""
    graph = Graph(
        inputs={"x": Input(shape=(33,), min_value=0, max_value=5)},
        populations={"a": Population(shape=(33,), threshold_mant=2), "b": Population(shape=(2,), threshold_mant=1)},
        projections={
            "p": OneToOne(source="x", target="a", weight=1, delay_steps=1023),
            "q": Dense(source="a", target="b", weight=np.ones((2, 33), int) * [[2], [1]], delay_steps=10),
        },
        outputs={"o": Output(population="b")},
        n_steps=1040,
    )
    rasters = rasters_for(graph, n_samples=1, rate=0.05)
    assert run_reference(compile_program(graph), rasters).per_step["spikes"]["b"].sum() > 0
    require_identical(graph, rasters)


def test_more_lines_and_synapses_than_16_bits_count():
    n = 70_000
    rng = np.random.default_rng(2)
    synapses = {"indptr": np.arange(n + 1), "indices": rng.integers(0, 2, n), "weight": np.full(n, 3)}
    graph = Graph(
        inputs={"x": Input(shape=(n,))},
        populations={"a": Population(shape=(2,), threshold_mant=8)},
        projections={"p": Sparse(source="x", target="a", **synapses)},
        outputs={"o": Output(population="a")},
        n_steps=2,
    )
    raster = np.zeros((2, 1, n), np.int8)
    raster[0, 0, [0, n // 2, n - 2, n - 1]] = 1
    require_identical(graph, {"x": raster})


def test_no_projections_and_no_input_spikes():
    graph = everything()
    alone = {"few": replace(graph.populations["few"], bias_mant=2000)}
    graph = replace(graph, populations=alone, projections={}, outputs={"o": Output(population="few")})
    require_identical(graph, rasters_for(graph, rate=0.0), "gcc sanitized")
