"""The native engine is the reference engine, bit for bit: random graphs, odd sizes, every vector level, threads."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from graph_strategies import Case, cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError, GraphError, OptionError, TargetError
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse, SumPool2d
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.kernel import LEVELS, kernel
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import VARIABLES, BatchResult

HERE = LEVELS[: kernel().sg_level() + 1]
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def assert_same(expected: BatchResult, got: BatchResult) -> None:
    assert set(got.traces) == set(expected.traces)
    for name, trace in expected.traces.items():
        for variable in VARIABLES:
            a, b = getattr(trace, variable), getattr(got.traces[name], variable)
            assert a.dtype == b.dtype
            assert np.array_equal(a, b), (name, variable)
    assert set(got.per_step) == set(expected.per_step)
    for quantity, nodes in expected.per_step.items():
        assert set(got.per_step[quantity]) == set(nodes)
        for node, array in nodes.items():
            assert got.per_step[quantity][node].dtype == array.dtype
            assert np.array_equal(got.per_step[quantity][node], array), (quantity, node)


def assert_native(graph: Graph, rasters: dict[str, Array], **options: Any) -> BatchResult:
    """Compare with everything recorded, and with nothing recorded: the paths through the kernel are others."""
    program = compile_program(graph)
    for record in (list(graph.populations), ()):
        expected = run_reference(program, rasters, record)
        assert_same(expected, run_native(program, rasters, record, **{"threads": 1, **options}))
    return expected


def untapped(graph: Graph) -> Graph:
    """Move the output to a neuron of its own: a population that an output taps is traced and takes the general path."""
    watch = Population(shape=(1,), threshold_mant=1)
    source = next(iter(graph.inputs))
    n = graph.inputs[source].n
    return replace(
        graph,
        populations={**graph.populations, "watch": watch},
        projections={
            **graph.projections,
            "watched": Dense(source=source, target="watch", weight=np.zeros((1, n), np.int64)),
        },
        outputs={"out": Output(population="watch")},
        readout=None,
    )


@settings(relaxed, max_examples=300)
@given(case=cases(), level=st.sampled_from(HERE))
def test_random_graphs(case: Case, level: str) -> None:
    assert_native(untapped(case.graph), case.rasters, level=level)


@settings(relaxed, max_examples=40)
@given(case=cases(n_steps=st.integers(5, 12)))
def test_random_pipelined_graphs(case: Case) -> None:
    try:
        graph = pipelined(case.graph)
    except GraphError:
        return
    assert_native(graph, case.rasters)


@settings(relaxed, max_examples=30)
@given(case=cases(n_steps=st.integers(60, 90), max_batch=2))
def test_random_graphs_over_many_steps(case: Case) -> None:
    """Long enough for neurons to fall asleep and to wake."""
    for raster in case.rasters.values():
        raster[5:50] = 0
    assert_native(untapped(case.graph), case.rasters)


def layer(n_in: int, n_out: int, weight: Array, n_steps: int = 6, **neuron: Any) -> Graph:
    """One layer that no output taps."""
    return untapped(
        Graph(
            inputs={"in": Input(shape=(n_in,))},
            populations={"n": Population(shape=(n_out,), **{"threshold_mant": 40, "decay_v": 100, **neuron})},
            projections={"p": Dense(source="in", target="n", weight=weight)},
            outputs={"out": Output(population="n")},
            n_steps=n_steps,
        )
    )


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("n_out", [1, 7, 31, 32, 33, 64, 127, 129, 255, 256, 257, 512, 513, 545, 1000])
@pytest.mark.parametrize("largest", [127, 32767])
def test_sizes_around_the_vectors(level: str, n_out: int, largest: int) -> None:
    rng = np.random.default_rng(n_out)
    graph = layer(70, n_out, rng.integers(-largest - 1, largest + 1, (n_out, 70)))
    assert_native(graph, {"in": rng.integers(0, 2, (6, 2, 70), np.uint8)}, level=level)


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("end", [-128, 127, -32768, 32767])
@pytest.mark.parametrize("n_events", [255, 256, 257, 513, 70_000])
def test_many_events_with_weights_at_their_ends(level: str, end: int, n_events: int) -> None:
    """256 · -128 = -2^15 just fits in 16 bits; 70,000 · 32767 does not fit in 31."""
    graph = layer(n_events, 33, np.full((33, n_events), end), n_steps=2, threshold_mant=131071)
    result = assert_native(graph, {"in": np.ones((2, 1, n_events), bool)}, level=level)
    assert result.per_step["effective_sops"]["p"].tolist() == [[33 * n_events]] * 2


def test_sums_at_the_ends_of_16_bits() -> None:
    for weights in ([32767], [16384, 16383], [16384, 16384], [-32768], [-16384, -16385], [32767, -32768, 1]):
        for shape in ((1,), (1, 1, 1)):
            graph = untapped(
                Graph(
                    inputs={"in": Input(shape=(len(weights),) if len(shape) == 1 else (len(weights), 1, 1))},
                    populations={"n": Population(shape=shape, threshold_mant=131071, decay_u=3000)},
                    projections={
                        "p": Dense(source="in", target="n", weight=[weights])
                        if len(shape) == 1
                        else Conv2d(source="in", target="n", weight=np.reshape(weights, (1, -1, 1, 1)))
                    },
                    outputs={"out": Output(population="n")},
                    n_steps=3,
                )
            )
            assert_native(graph, {"in": np.ones((3, 1, *graph.inputs["in"].shape), np.int8)})


@relaxed
@given(
    level=st.sampled_from(HERE),
    n_out=st.sampled_from([1, 64, 255, 300, 600]),
    largest=st.sampled_from([3, 127, 127, 1000, 30_000]),
    decay_u=st.sampled_from([4096, 4096, 1, 1024, 3000]),
    decay_v=st.sampled_from([0, 1, 256, 1000, 4096]),
    threshold_mant=st.sampled_from([50, 8191, 8192, 131071]),
    bias_mant=st.sampled_from([0, 0, 5, -4096]),
    reset=st.sampled_from(["zero", "subtract", "none"]),
    weight_exp=st.sampled_from([0, 0, 3, -2]),
    seed=st.integers(0, 2**32 - 1),
)
def test_states_that_grow_beyond_what_is_small(
    level: str, n_out: int, largest: int, weight_exp: int, seed: int, **neuron: Any
) -> None:
    """Rows of neurons go from small steps to any and back, each by itself; some neurons get all the input."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-largest, largest + 1, (n_out, 90)) * (rng.random((n_out, 1)) < 0.2)
    graph = layer(90, n_out, weight, n_steps=40, **neuron)
    p = replace(graph.projections["p"], weight_exp=weight_exp)
    raster = rng.random((40, 2, 90)) < rng.choice([0.0, 0.1, 1.0], (40, 1, 1))
    assert_native(replace(graph, projections={**graph.projections, "p": p}), {"in": raster}, level=level)


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("decay_v", [1, 3, 255])
@pytest.mark.parametrize("sign", [-1, 1])
def test_states_at_the_end_of_what_is_small(level: str, decay_v: int, sign: int) -> None:
    """v · (4096 - decay_v) just fits in 31 bits, and just does not: 524,416 · 4095 < 2^31 < 524,417 · 4095."""
    most = (2**31 - 1) // (4096 - decay_v)
    for v in (most - 1, most, most + 1):
        weight = np.tile([[sign * (v // 64), 1]], (70, 1))
        graph = layer(2, 70, weight, 6, threshold_mant=4000, reset="none", decay_v=decay_v)
        populations = {**graph.populations, "n": replace(graph.populations["n"], bias_mant=sign * (v % 64))}
        raster = np.zeros((6, 1, 2), np.uint8)
        raster[0, 0, 0] = raster[3, 0, 1] = 1
        assert_native(replace(graph, populations=populations), {"in": raster}, level=level)


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("n_channels", [1, 5, 16, 33, 96, 130])
@pytest.mark.parametrize(
    "window", [{}, {"stride": (2, 2)}, {"dilation": (2, 1)}, {"stride": (1, 3), "dilation": (1, 3)}]
)
def test_patches_of_every_width(level: str, n_channels: int, window: dict[str, Any]) -> None:
    """Sums of 16, 32 and 64 bits; rows of a patch longer than all registers of any level."""
    rng = np.random.default_rng(n_channels)
    weight = rng.integers(-128, 128, (n_channels, 7, 3, 5))
    window = {"stride": (1, 1), "dilation": (1, 1), **window}
    conv = Conv2d(source="in", target="n", weight=weight, padding=(2, 2), **window)
    sizes = zip((9, 11), (3, 5), window["stride"], window["dilation"], strict=True)
    shape = (n_channels, *((size + 4 - step * (kernel - 1) - 1) // by + 1 for size, kernel, by, step in sizes))
    n = int(np.prod(shape))
    for largest in (0, 127, 32_767):
        second = np.zeros((n, 3), np.int64)
        second[::2] = largest
        graph = untapped(
            Graph(
                inputs={"in": Input(shape=(7, 9, 11)), "graded": Input(shape=(3,), max_value=max(largest, 1))},
                populations={"n": Population(shape=shape, threshold_mant=500, decay_v=200)},
                projections={"p": conv, "q": Dense(source="graded", target="n", weight=second)},
                outputs={"out": Output(population="n")},
                n_steps=4,
            )
        )
        rates = np.array([0.0, 0.02, 0.3, 1.0])[:, None, None, None, None]
        spikes = (rng.random((4, 2, 7, 9, 11)) < rates).astype(np.uint8)
        assert_native(graph, {"in": spikes, "graded": np.full((4, 2, 3), max(largest, 1))}, level=level)


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("end", [-128, 127])
def test_more_spikes_in_one_patch_than_16_bits_hold(level: str, end: int) -> None:
    """700 · -128 = -89,600, of channels that an own population fires, so that they follow each other."""
    graph = untapped(
        Graph(
            inputs={"in": Input(shape=(1, 2, 1))},
            populations={
                "wide": Population(shape=(700, 2, 1), threshold_mant=1),
                "n": Population(shape=(3, 2, 1), threshold_mant=131071, decay_v=0),
            },
            projections={
                "p": Conv2d(source="in", target="wide", weight=np.full((700, 1, 1, 1), 100)),
                "q": Conv2d(source="wide", target="n", weight=np.full((3, 700, 1, 1), end)),
            },
            outputs={"out": Output(population="n")},
            n_steps=2,
        )
    )
    result = assert_native(graph, {"in": np.ones((2, 1, 1, 2, 1), np.uint8)}, level=level)
    assert result.per_step["sops"]["q"].tolist() == [[700 * 2 * 3]] * 2


def network(n_steps: int = 12, **neuron: Any) -> tuple[Graph, dict[str, Array]]:
    """Every kind of projection on layers that are wider than a row of 256 neurons and than any vector."""
    rng = np.random.default_rng(3)
    neurons = {"threshold_mant": 30, "decay_v": 300, **neuron}

    def weights(*shape: int) -> Array:
        return rng.integers(-20, 26, shape)

    n_synapses = rng.integers(0, 60, 12 * 6 * 5)
    graph = Graph(
        inputs={"in": Input(shape=(2, 14, 13))},
        populations={
            "conv": Population(shape=(17, 12, 11), **neurons),
            "pool": Population(shape=(17, 6, 5), **neurons),
            "strided": Population(shape=(12, 6, 5), **neurons),
            "grouped": Population(shape=(12, 6, 5), **neurons),
            "sparse": Population(shape=(300,), **neurons),
            "twin": Population(shape=(300,), **neurons),
            "out": Population(shape=(10,), **neurons),
        },
        projections={
            "a": Conv2d(source="in", target="conv", weight=weights(17, 2, 5, 5), padding=1),
            "b": SumPool2d(source="conv", target="pool", weight=40, kernel_size=2),
            "c": Conv2d(source="conv", target="strided", weight=weights(12, 17, 4, 4), stride=2, padding=1),
            "d": Conv2d(
                source="strided", target="grouped", weight=weights(12, 3, 3, 3), groups=4, padding=2, dilation=2
            ),
            "e": Sparse(
                source="grouped",
                target="sparse",
                indptr=np.concatenate([[0], np.cumsum(n_synapses)]),
                indices=rng.integers(0, 300, n_synapses.sum()),
                weight=weights(n_synapses.sum()),
            ),
            "f": OneToOne(source="sparse", target="twin", weight=weights(300), delay_steps=3),
            "g": Dense(source="twin", target="sparse", weight=weights(300, 300), delay_steps=1),
            "h": Dense(source="pool", target="out", weight=weights(10, 17 * 30)),
            "i": Dense(source="twin", target="out", weight=weights(10, 300)),
            "j": Dense(source="out", target="pool", weight=weights(17 * 30, 10), delay_steps=2),
        },
        outputs={"out": Output(population="out")},
        n_steps=n_steps,
    )
    return graph, {"in": (rng.random((n_steps, 5, 2, 14, 13)) < 0.1).astype(np.uint8)}


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize(
    "neuron",
    [
        {},
        {"decay_u": 900},
        {"reset": "subtract", "bias_mant": -7},
        {"reset": "none", "refractory_steps": 3},
        {"max_spikes": 1, "decay_u": 2000},
        {"threshold_mant": 131071, "decay_v": 0, "bias_mant": 4095, "bias_exp": 7},
    ],
)
def test_wide_layers_of_every_kind(level: str, neuron: dict[str, Any]) -> None:
    result = assert_native(*network(**neuron), level=level)
    if not neuron:
        assert all(a.sum() for a in result.per_step["sops"].values())


def test_threads_do_not_change_a_bit() -> None:
    graph, rasters = network()
    program = compile_program(graph)
    one, two, many = (run_native(program, rasters, list(graph.populations), threads=n) for n in (1, 2, 9))
    assert_same(one, two)
    assert_same(one, many)


def test_no_input_no_samples_and_no_projections() -> None:
    graph, rasters = network()
    assert_native(graph, {"in": np.zeros_like(rasters["in"])})
    empty = run_native(compile_program(graph), {"in": rasters["in"][:, :0]})
    assert empty.per_step["sops"]["a"].shape == (12, 0)
    alone = replace(graph, projections={}, populations={"out": Population(shape=(3,), threshold_mant=1, bias_mant=9)})
    assert_native(alone, rasters)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64])
def test_every_dtype_and_stride_of_a_raster(dtype: Any) -> None:
    graph, rasters = network()
    assert_native(graph, {"in": rasters["in"].astype(dtype)})
    assert_native(graph, {"in": rasters["in"].astype(dtype)[:, ::-2]})


def test_graded_values_of_each_width() -> None:
    rng = np.random.default_rng(0)
    for (low, high), dtype in product([(-128, 127), (0, 255), (-32768, 32767)], [np.int64, np.int16]):
        graph, _ = network()
        graph = replace(graph, inputs={"in": Input(shape=(2, 14, 13), min_value=low, max_value=high)})
        assert_native(graph, {"in": rng.integers(low, high + 1, (12, 2, 2, 14, 13)).astype(dtype)})


def test_neurons_at_rest_wake_and_their_past_is_gone() -> None:
    """A projection that shifts its sum to nothing leaves the sum behind; a row must not sleep on it."""
    graph = layer(1, 300, np.ones((300, 1)), n_steps=9, threshold_mant=1, decay_v=4096)
    p = replace(graph.projections["p"], weight_exp=-1)
    graph = replace(graph, projections={**graph.projections, "p": p})
    raster = np.zeros((9, 1, 1), np.int8)
    raster[[0, 4, 5]] = 1
    assert_native(graph, {"in": raster})


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize("largest", [127, 32767])
@pytest.mark.parametrize("values", [(0, 1), (-3, 3)])
def test_rows_of_every_length_and_neurons_that_wake(level: str, largest: int, values: tuple[int, int]) -> None:
    """Rows longer than what is fetched ahead, empty ones, many spikes and few, most targets asleep and none."""
    rng = np.random.default_rng(largest)
    n_source, n_target, n_steps = 900, 5000, 8
    fan_out = rng.choice([0, 1, 15, 16, 17, 600], n_source)
    graph = Graph(
        inputs={"in": Input(shape=(n_source,), min_value=values[0], max_value=values[1])},
        populations={"n": Population(shape=(10, 50, 10), threshold_mant=largest, decay_v=4096)},
        projections={
            "p": Sparse(
                source="in",
                target="n",
                indptr=np.concatenate([[0], np.cumsum(fan_out)]),
                indices=rng.integers(0, n_target, fan_out.sum()),
                weight=rng.integers(-largest, largest + 1, fan_out.sum()),
            ),
            "back": Sparse(
                source="n",
                target="n",
                delay_steps=1,
                indptr=np.arange(n_target + 1) * 2,
                indices=rng.integers(0, n_target, 2 * n_target),
                weight=rng.integers(-100, 101, 2 * n_target),
            ),
        },
        outputs={"out": Output(population="n")},
        n_steps=n_steps,
    )
    raster = np.zeros((n_steps, 1, n_source), np.int8)
    for step, n_events in enumerate([1, 3, 5, 900, 0, 0, 20, 300]):
        raster[step, 0, rng.choice(n_source, n_events, replace=False)] = values[1]
    assert_native(untapped(graph), {"in": raster}, level=level)


def test_an_interrupt_stops_in_the_middle_of_a_sample() -> None:
    graph = layer(4, 20_000, np.ones((20_000, 4)), n_steps=400_000, bias_mant=1)
    program, raster = compile_program(graph), np.ones((400_000, 2, 4), np.int8)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    run_native(compile_program(layer(4, 4, np.ones((4, 4)))), {"in": raster[:6, :1]})
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    start = time.process_time()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_native(program, {"in": raster}, threads=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.process_time() - start < 1.5  # one sample takes many times that


@pytest.mark.parametrize("level", HERE)
@pytest.mark.parametrize(("dtype", "wrong"), [(np.uint8, 2), (np.uint8, 255), (np.int8, -1), (np.int16, 2), (bool, 2)])
def test_one_wrong_number_anywhere_in_a_binary_raster_is_refused(level: str, dtype: Any, wrong: int) -> None:
    graph, rasters = network()
    program, shape = compile_program(graph), rasters["in"].shape
    for step, sample, line in product((0, shape[0] - 1), (0, shape[1] - 1), (0, 63, 64, 363)):
        raster = np.zeros((*shape[:2], 364), np.uint8 if dtype is bool else dtype)
        raster[step, sample, line] = wrong
        raster = raster.view(dtype).reshape(shape)
        with pytest.raises(DataError, match=r"expected integers 0…1|neither 0 nor 1"):
            run_native(program, {"in": raster}, level=level, threads=2)


def test_what_the_engine_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, rasters = network()
    program = compile_program(graph)
    with pytest.raises(DataError, match="holds 0…3"):
        run_native(program, {"in": rasters["in"] * 3})
    with pytest.raises(DataError, match="float"):
        run_native(program, {"in": rasters["in"] * 1.0})
    with pytest.raises(DataError, match="has shape"):
        run_native(program, {"in": rasters["in"][1:]})
    with pytest.raises(OptionError, match="'neon' is not among"):
        run_native(program, rasters, level="neon")
    for threads in (0, "many"):
        with pytest.raises(OptionError, match="threads"):
            run_native(program, rasters, threads=threads)  # type: ignore[arg-type]
    monkeypatch.setenv("SPIKEGRAPH_THREADS", "-1")
    with pytest.raises(OptionError, match="SPIKEGRAPH_THREADS: '-1'"):
        run_native(program, rasters)


def test_a_missing_kernel_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("spikegraph.hwsim.kernel.import_module", missing)
    kernel.cache_clear()
    with pytest.raises(TargetError, match="install a C compiler, then `pip install"):
        kernel()
    monkeypatch.undo()
    kernel.cache_clear()
    assert kernel()


def test_the_environment_chooses_level_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, rasters = network()
    monkeypatch.setitem(os.environ, "SPIKEGRAPH_LEVEL", "baseline")
    monkeypatch.setitem(os.environ, "SPIKEGRAPH_THREADS", "2")
    program = compile_program(graph)
    assert_same(run_reference(program, rasters), run_native(program, rasters))
