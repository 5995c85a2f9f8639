"""Quantization: integers on the chip's grid, errors as reported, scales that do not matter, and refusals."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegraph.export import fixed
from spikegraph.export.check import problems
from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.connectivity import per_neuron
from spikegraph.export.errors import ChipError, GraphError
from spikegraph.export.fixed import IntegerFormat
from spikegraph.export.float_graph import (
    FloatConv2d,
    FloatDense,
    FloatGraph,
    FloatOneToOne,
    FloatPopulation,
    FloatSparse,
    FloatSumPool2d,
)
from spikegraph.export.graph import PROJECTIONS, Graph, Input, Output
from spikegraph.export.quantize import QuantizationReport, quantize
from spikegraph.export.rounding import (
    least_error_clip,
    quantize_bias,
    quantize_threshold,
    quantize_weight,
    shared_scale,
    weight_scale,
)
from spikegraph.export.thresholds import fold_threshold
from spikegraph.export.time_constants import decay_constant, kept_share
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference

CHIPS = {"loihi1": load_chip("loihi1"), "loihi2": load_chip("loihi2")} | {
    f"generic {bits} bit": load_chip("generic", weight_bits=bits) for bits in (1, 2, 3, 8, 16)
}
each_chip = pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
steady = settings(deadline=None)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def net(
    *projections: Any, population: FloatPopulation | None = None, n_in: int = 6, n_out: int = 4, n_steps: int = 12
) -> FloatGraph:
    population = population or FloatPopulation(shape=(n_out,))
    return FloatGraph(
        inputs={"in": Input(shape=(n_in,))},
        populations={"n": population},
        projections={f"p{k}": p for k, p in enumerate(projections)},
        outputs={"out": Output(population="n")},
        n_steps=n_steps,
    )


def dense(weight: Any, **fields: Any) -> FloatDense:
    return FloatDense(source="in", target="n", weight=np.asarray(weight), **fields)


def random_net(rng: Any, dtype: type = np.float32) -> FloatGraph:
    """Two projections of different size into one population with thresholds and biases per neuron."""
    population = FloatPopulation(
        shape=(4,),
        tau_syn=float(rng.choice([0.0, 2e-3, 0.1])),
        tau_mem=float(rng.choice([math.inf, 2e-3, 0.1])),
        v_threshold=rng.uniform(0.5, 2.0, 4).astype(dtype),
        bias=rng.normal(0, 0.2, 4).astype(dtype),
    )
    size = 10.0 ** rng.uniform(-3, 1)
    first, second = (rng.normal(0, 1, (4, 6)) * factor for factor in (1.0, size))
    return net(dense(first.astype(dtype)), dense(second.astype(dtype), delay_steps=1), population=population)


def same_integers(a: Graph, b: Graph) -> None:
    for name, p in a.projections.items():
        assert np.array_equal(p.weight, b.projections[name].weight)
        assert p.weight_exp == b.projections[name].weight_exp
    for name, population in a.populations.items():
        for parameter in population.PARAMETERS:
            assert np.array_equal(getattr(population, parameter), getattr(b.populations[name], parameter)), parameter


@each_chip
@steady
@given(rng=seeds)
def test_weights_land_on_the_grid_and_errors_are_as_reported(chip: Chip, rng: Any) -> None:
    graph = random_net(rng, np.float64)
    integer, report = quantize(graph, chip)
    assert problems(integer, chip) == []
    population, reported = graph.populations["n"], report.populations["n"]
    assert reported.folded == chip.threshold_mant.shared
    divisor = population.v_threshold if reported.folded else np.ones(4)
    threshold, bias = population.v_threshold / divisor, population.bias / divisor
    bases = set()
    for name, p in integer.projections.items():
        wanted, error = graph.projections[name].weight / divisor[:, None], report.projections[name]
        assert chip.weight.format.holds(p.weight.astype(int)).all()
        difference = np.abs(p.weight * error.scale - wanted)
        assert error.largest_error == pytest.approx(difference.max(), rel=1e-9, abs=1e-15)
        assert error.rms_error == pytest.approx(math.sqrt((difference**2).mean()), rel=1e-9, abs=1e-15)
        assert error.weight_exp == p.weight_exp
        # Nothing is clipped, so no weight is off by more than half a step.
        assert error.clipped_share == 0
        assert error.largest_error <= error.scale * chip.weight.step / 2 * (1 + 1e-9)
        bases.add(error.scale / 2.0**p.weight_exp)
    assert len(bases) == 1  # the weights of one population share a scale, but for their exponents
    base, got = bases.pop(), integer.populations["n"]
    mant = got.threshold_mant.astype(int)
    assert reported.threshold_error == pytest.approx(np.abs(mant * base / threshold - 1).max(), rel=1e-9, abs=1e-15)
    value = got.bias_mant.astype(int) * 2.0 ** got.bias_exp.astype(int) / 64 * base
    # To the nearest, half a unit off at most, unless clipped.
    assert (np.abs(mant - threshold / base) <= 0.5 + 1e-9)[(mant > 1) & (mant < 131071)].all()
    mant, unit = got.bias_mant.astype(int), 2.0 ** got.bias_exp.astype(int) * base / 64
    assert (np.abs(mant - bias / unit) <= 0.5 + 1e-9)[(mant > -4096) & (mant < 4095)].all()
    assert reported.bias_error == pytest.approx(np.abs(value - bias).max() / threshold.min(), rel=1e-6, abs=1e-15)
    for parameter, tau in (("decay_u", population.tau_syn), ("decay_v", population.tau_mem)):
        exact = 1 - math.exp(-graph.dt / tau) if tau > 0 else 1.0
        error = abs(int(getattr(got, parameter)) / 4096 - exact)
        assert getattr(reported, f"{parameter}_error") == pytest.approx(error, abs=1e-15)


@each_chip
@steady
@given(rng=seeds, k=st.integers(-20, 20))
def test_scale_changes_nothing(chip: Chip, rng: Any, k: int) -> None:
    """Weights, threshold and bias times one power of two give the same integers, float32 or float64."""
    for dtype in (np.float32, np.float64):
        graph, factor = random_net(rng, dtype), dtype(2.0**k)
        scaled = replace(
            graph,
            projections={name: replace(p, weight=p.weight * factor) for name, p in graph.projections.items()},
            populations={
                name: replace(p, v_threshold=p.v_threshold * factor, bias=p.bias * factor)
                for name, p in graph.populations.items()
            },
        )
        same_integers(quantize(graph, chip)[0], quantize(scaled, chip)[0])


@steady
@given(rng=seeds)
def test_each_projection_uses_its_bits(rng: Any) -> None:
    """The largest weight fills more than half of the range, unless the projection is too small for the exponents."""
    chip = CHIPS["generic 8 bit"]
    integer, report = quantize(random_net(rng), chip)
    exponents = [p.weight_exp for p in integer.projections.values()]
    assert min(exponents) == 0
    for p in integer.projections.values():
        assert np.abs(p.weight.astype(int)).max() > 127 // 2 or max(exponents) == 7
    assert report.chip == "generic"


@pytest.mark.parametrize(
    ("scales", "base", "exponents"),
    [
        ([0.5], 0.5, [0]),
        ([0.5, 0.5], 0.5, [0, 0]),
        ([0.5, 1.0], 0.5, [0, 1]),
        ([1.0, 0.5, 0.51, 3.9], 0.5, [1, 0, 1, 3]),
        ([0.5, 64.0], 0.5, [0, 7]),
        # 2^8 apart: the exponents end, so the smallest one loses resolution, and none is clipped.
        ([0.25, 64.0], 0.5, [0, 7]),
        ([1e-9, 128.0, 1.5], 1.0, [0, 7, 1]),
        ([0.0, 2.0], 2.0, [0, 0]),
        ([0.0, 0.0], 1.0, [0, 0]),
        ([], 1.0, []),
    ],
)
def test_shared_scale(scales: list[float], base: float, exponents: list[int]) -> None:
    assert shared_scale(scales, fixed.WEIGHT_EXP) == (base, exponents)
    torch = pytest.importorskip("torch")
    got = shared_scale([torch.tensor(scale) for scale in scales], fixed.WEIGHT_EXP)
    assert (float(got[0]), got[1]) == (base, exponents)


@steady
@given(scales=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5))
def test_shared_scale_clips_nothing_and_wastes_nothing(scales: list[float]) -> None:
    base, exponents = shared_scale(scales, fixed.WEIGHT_EXP)
    for scale, exponent in zip(scales, exponents, strict=True):
        assert 0 <= exponent <= 7
        assert base * 2**exponent >= scale
        assert exponent == 0 or base * 2 ** (exponent - 1) < scale


def test_two_projections_of_exact_weights_run_as_the_floats_do() -> None:
    """Weights, thresholds and biases on the grid: the integer run makes the decisions of a float run, to the last."""
    rng = np.random.default_rng(4)
    small = rng.integers(-127, 128, (5, 6)) / 64
    large = rng.integers(-127, 128, (5, 6)) / 8
    small[0, 0], large[0, 0] = 127 / 64, 127 / 8
    threshold, bias = rng.integers(10, 900, 5) / 64, rng.integers(-500, 500, 5) / 64
    population = FloatPopulation(shape=(5,), v_threshold=threshold, bias=bias, reset="subtract")
    graph = net(dense(small), dense(large, delay_steps=1), population=population, n_steps=40)
    integer, report = quantize(graph, CHIPS["generic 8 bit"])
    assert [p.weight_exp for p in integer.projections.values()] == [0, 3]
    for error in report.projections.values():
        assert (error.largest_error, error.rms_error) == (0, 0)
    assert (report.populations["n"].threshold_error, report.populations["n"].bias_error) == (0, 0)
    raster = rng.integers(0, 2, (40, 3, 6))
    s = run_reference(compile_program(integer), {"in": raster}).traces["n"].s
    v, before = np.zeros((3, 5)), np.zeros((3, 6))
    for t in range(40):
        v = v + raster[t] @ small.T + before @ large.T + bias
        fires = v > threshold
        assert np.array_equal(s[t], fires)
        v, before = np.where(fires, v - threshold, v), raster[t]
    assert 0 < s.mean() < 1


# The small functions


@steady
@given(rng=seeds, name=st.sampled_from(sorted(CHIPS)), share=st.none() | st.floats(0.01, 2.0))
def test_numpy_and_torch_give_the_same_integers(rng: Any, name: str, share: float | None) -> None:
    torch, chip = pytest.importorskip("torch"), CHIPS[name]
    weight = (rng.normal(0, 1, (4, 6)) * 10.0 ** rng.uniform(-4, 4)).astype(np.float32)
    threshold = rng.uniform(0.1, 3, 4).astype(np.float32)
    bias = rng.normal(0, 10.0 ** rng.uniform(-3, 3), 4).astype(np.float32)
    results = []
    for to in (lambda a: a, torch.tensor):
        clip = None if share is None else abs(to(weight)).max() * share
        scale = weight_scale(to(weight), chip.weight.format, clip)
        mant, exponent = quantize_bias(to(bias), scale, chip.bias_mant.format, chip.bias_exp.format)
        results.append(
            [
                np.asarray(scale),
                np.asarray(quantize_weight(to(weight), scale, chip.weight.format)),
                np.asarray(quantize_threshold(to(threshold), scale, chip.threshold_mant.format)),
                np.asarray(mant),
                np.asarray(exponent),
                np.asarray(fold_threshold("Dense", to(weight), to(threshold))),
            ]
        )
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)
    assert results[0][1].dtype == results[1][1].dtype == np.float32


@pytest.mark.parametrize("bits", range(2, 17))
def test_the_largest_weight_becomes_the_largest_of_the_chip(bits: int) -> None:
    limit = load_chip("generic", weight_bits=bits).weight.format
    for largest in (0.3, -0.3, 1.0, -7e-5, 1e6):
        for dtype in (np.float32, np.float64):
            weight = np.array([largest, largest / 3, 0], dtype)
            got = quantize_weight(weight, weight_scale(weight, limit), limit)
            assert abs(got[0]) == 2 ** (bits - 1) - 1
            assert np.sign(got[0]) == np.sign(largest)


def test_two_bits() -> None:
    integer, report = quantize(net(dense([[1.0, 0.6, 0.4, -0.4, -0.6, -1.0]] * 4)), CHIPS["generic 2 bit"])
    assert integer.projections["p0"].weight.tolist() == [[1, 1, 0, 0, -1, -1]] * 4
    assert report.projections["p0"].largest_error == pytest.approx(0.4)
    assert integer.populations["n"].threshold_mant == 1
    assert integer.provenance["weight_bits"] == 2


def test_one_bit() -> None:
    integer, report = quantize(net(dense([[1.0, 0.6, 0.2, -0.2, -0.6, -1.0]] * 4)), CHIPS["generic 1 bit"])
    assert integer.projections["p0"].weight.tolist() == [[1, 1, 1, -1, -1, -1]] * 4
    assert integer.provenance["weight_bits"] == 1
    error = report.projections["p0"]
    assert (error.scale, error.clipped_share, error.clip) == (1.0, 0, None)
    assert error.largest_error == pytest.approx(0.8)
    # The clip with the least error of a sign is among the magnitudes, here in their middle, 0.6: errors 0.4, 0, 0.4.
    integer, report = quantize(
        net(dense([[1.0, 0.6, 0.2, -0.2, -0.6, -1.0]] * 4)), CHIPS["generic 1 bit"], fit_clip=True
    )
    assert integer.projections["p0"].weight.tolist() == [[1, 1, 1, -1, -1, -1]] * 4
    assert report.projections["p0"].clip == pytest.approx(0.6, rel=1e-2)
    assert report.projections["p0"].rms_error == pytest.approx(math.sqrt(0.32 / 3), rel=1e-3)


def test_a_clip_becomes_the_largest_weight() -> None:
    weight = np.array([[1.0, 0.5, 0.3, 0.1, -0.5, -1.0]] * 4, np.float32)
    integer, report = quantize(net(dense(weight, clip=0.5)), CHIPS["generic 3 bit"])
    # 0.5 is 3; -4 is there too, so that -1 becomes -0.67.
    assert integer.projections["p0"].weight.tolist() == [[3, 3, 2, 1, -3, -4]] * 4
    error = report.projections["p0"]
    assert (error.clip, error.clipped_share) == (0.5, pytest.approx(2 / 6))
    assert error.largest_error == pytest.approx(0.5)
    # A clip beyond every weight leaves some of the chip's numbers unused.
    integer, _ = quantize(net(dense(weight, clip=3.0)), CHIPS["generic 3 bit"])
    assert integer.projections["p0"].weight.tolist() == [[1, 0, 0, 0, 0, -1]] * 4
    assert (
        quantize(net(dense(weight, clip=0.5)), CHIPS["generic 3 bit"], fit_clip=True)[0]
        .projections["p0"]
        .weight.tolist()
        == [[3, 3, 2, 1, -3, -4]] * 4
    )


def test_a_clip_is_of_the_folded_weights() -> None:
    population = FloatPopulation(shape=(2,), v_threshold=[1.0, 4.0])
    folded = net(dense([[1.0, 2.0], [4.0, 8.0]], clip=1.0), population=population, n_in=2, n_out=2)
    integer, _ = quantize(folded, CHIPS["loihi1"])
    # Over their thresholds both rows are 1 and 2; 1 is 254, and 2 is clipped to it.
    assert integer.projections["p0"].weight.tolist() == [[254, 254], [254, 254]]
    assert integer.populations["n"].threshold_mant == 254


def test_a_clip_is_held_in_the_type_of_the_weight() -> None:
    assert dense(np.ones((4, 6), np.float32), clip=0.1).clip == float(np.float32(0.1))
    assert dense(np.ones((4, 6)), clip=0.1).clip == 0.1


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_that_is_no_magnitude(clip: float) -> None:
    with pytest.raises(GraphError, match=f"p0: clip = {clip}; give a positive magnitude, or None"):
        quantize(net(dense(np.ones((4, 6)), clip=clip)), CHIPS["loihi1"])


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@steady
@given(rng=seeds)
def test_no_clip_has_a_smaller_error_than_the_one_that_is_found(bits: int, rng: Any) -> None:
    limit = load_chip("generic", weight_bits=bits).weight.format
    weight = rng.standard_t(rng.integers(2, 9), 400).astype(np.float32)

    def error(clip: Any) -> float:
        scale = weight_scale(weight, limit, clip)
        return float((np.abs(quantize_weight(weight, scale, limit) * scale - weight) ** 3).sum())

    found = least_error_clip(weight, limit)
    assert found.dtype == np.float32
    largest = np.abs(weight).max()
    others = [error(np.float32(share) * largest) for share in np.linspace(0.005, 1, 200)]
    # Of many bits the error is a jagged line, in which the search may miss the very least.
    assert error(found) <= min(others) * (1.01 if bits < 5 else 1.1)
    assert error(found) <= error(largest)


def test_all_zero_weights() -> None:
    integer, report = quantize(net(dense(np.zeros((4, 6))), dense(np.zeros((4, 6)))), CHIPS["loihi1"])
    for name, p in integer.projections.items():
        assert not p.weight.any()
        assert p.weight_exp == 0
        assert report.projections[name].largest_error == 0
    # Beside a projection with weights, one without takes part in nothing.
    alone = quantize(net(dense(np.full((4, 6), 0.3))), CHIPS["loihi1"])[0]
    beside = quantize(net(dense(np.full((4, 6), 0.3)), dense(np.zeros((4, 6)))), CHIPS["loihi1"])[0]
    assert beside.populations["n"].threshold_mant == alone.populations["n"].threshold_mant
    assert not beside.projections["p1"].weight.any()


def test_no_synapses_and_no_projections() -> None:
    p = FloatSparse(source="in", target="n", indptr=np.zeros(7, int), indices=[], weight=np.zeros(0))
    integer, report = quantize(net(p), CHIPS["loihi1"])
    assert integer.projections["p0"].weight.shape == (0,)
    assert report.projections["p0"].largest_error == report.projections["p0"].rms_error == 0
    integer, _ = quantize(net(population=FloatPopulation(shape=(4,), v_threshold=3.0, bias=1.5)), CHIPS["loihi1"])
    # Nothing but threshold and bias: the scale is the smallest with which both fit, and 3 stays twice 1.5.
    n = integer.populations["n"]
    assert (n.bias_mant, n.bias_exp) == (4095, 7)
    assert n.threshold_mant << 6 == 2 * (n.bias_mant << n.bias_exp)


def test_a_large_threshold_makes_the_scale_coarser_instead_of_being_clipped() -> None:
    def quantized(v_threshold: float) -> tuple[Graph, QuantizationReport]:
        population = FloatPopulation(shape=(4,), v_threshold=v_threshold)
        return quantize(net(dense(np.ones((4, 6))), population=population), CHIPS["generic 8 bit"])

    # The largest weight 1 becomes 127: a threshold of 1000 is 127000, one of 2000 would need 254000.
    integer, report = quantized(1000.0)
    assert integer.populations["n"].threshold_mant == 127000
    assert integer.projections["p0"].weight.max() == 127
    integer, report = quantized(2000.0)
    assert integer.populations["n"].threshold_mant == 131071
    assert integer.projections["p0"].weight.max() == round(131071 / 2000)
    assert report.populations["n"].threshold_error == 0
    assert report.projections["p0"].largest_error == pytest.approx(abs(round(131071 / 2000) * 2000 / 131071 - 1))


@pytest.mark.parametrize(("v_threshold", "exponent"), [(0.01, 0), (0.001, 3), (1 / 127 / 128, 7), (1e-6, 7)])
def test_weights_are_shifted_where_the_threshold_is_smaller_than_a_weight_of_one(
    v_threshold: float, exponent: int
) -> None:
    # Weight 1 is 127 at a scale of 1/127 = 0.0079. A threshold of 0.001 takes 1/127/2^3 = 0.00098: 127 << 3 beside 1.
    population = FloatPopulation(shape=(4,), v_threshold=v_threshold)
    integer, report = quantize(net(dense(np.ones((4, 6))), population=population), CHIPS["generic 8 bit"])
    (projection,) = integer.projections.values()
    assert (projection.weight == 127).all()
    assert projection.weight_exp == exponent
    assert integer.populations["n"].threshold_mant == 1
    # Seven shifts are the most: what is too small even then is reported.
    assert report.populations["n"].threshold_error == pytest.approx(
        abs(1 / 127 / 2**exponent / v_threshold - 1), abs=1e-6
    )


@pytest.mark.parametrize("bias", [100.0, -100.0])
def test_a_large_bias_makes_the_scale_coarser_instead_of_being_clipped(bias: float) -> None:
    # With the largest weight 1 at 127, a bias of 100 is 100 · 127 · 64 = 812800 in v, beyond 4095 · 2^7 = 524160.
    population = FloatPopulation(shape=(4,), bias=bias)
    integer, report = quantize(net(dense(np.ones((4, 6))), population=population), CHIPS["generic 8 bit"])
    n = integer.populations["n"]
    assert int(n.bias_mant) << int(n.bias_exp) == np.sign(bias) * 524160
    assert integer.projections["p0"].weight.max() == round(524160 / 64 / 100)
    assert report.populations["n"].bias_error == pytest.approx(0, abs=1e-12)


@steady
@given(
    numbers=st.lists(st.floats(-600000, 600000), min_size=1, max_size=4),
    scale=st.sampled_from([1.0, 0.25, 64.0]),
)
def test_bias_exponent_is_the_smallest_that_fits(numbers: list[float], scale: float) -> None:
    in_v = np.array(numbers)
    mant, exponent = quantize_bias(in_v / 64 * scale, scale, fixed.BIAS_MANT, fixed.BIAS_EXP)
    fits = [e for e in range(8) if all(-4096 <= round(y / 2**e) <= 4095 for y in numbers)]
    assert exponent == (fits[0] if fits else 7)
    assert mant.tolist() == [max(-4096, min(4095, round(y / 2**exponent))) for y in numbers]


@pytest.mark.parametrize(
    ("in_v", "mant", "exponent"),
    [
        ([4095.0], [4095], 0),
        ([4096.0], [2048], 1),
        ([-4096.0], [-4096], 0),
        ([-4097.0], [-2048], 1),
        ([0.4], [0], 0),
        ([4095.4, -1.0], [4095, -1], 0),
        ([4095.6, -1.0], [2048, 0], 1),  # -0.5 to even
        ([0.0], [0], 0),
        ([524160.0], [4095], 7),
        ([524288.0], [4095], 7),
        ([-524288.0], [-4096], 7),
    ],
)
def test_bias_by_hand(in_v: list[float], mant: list[int], exponent: int) -> None:
    got = quantize_bias(np.array(in_v) / 64, 1.0, fixed.BIAS_MANT, fixed.BIAS_EXP)
    assert (got[0].tolist(), got[1]) == (mant, exponent)


def test_decay_constants() -> None:
    dt = 1e-3
    assert kept_share(0.0, dt) == 0
    assert kept_share(math.inf, dt) == 1
    assert kept_share(dt, dt) == pytest.approx(1 / math.e)
    for limit in (fixed.DECAY_U, fixed.DECAY_V, IntegerFormat(minimum=0, maximum=4095)):
        assert decay_constant(0.0, dt, limit) == limit.maximum
        assert decay_constant(math.inf, dt, limit) == limit.minimum
        assert decay_constant(1e-9, dt, limit) == limit.maximum  # the exponential underflows
        assert decay_constant(1e9, dt, limit) == limit.minimum
        for tau in (0.2e-3, 1e-3, 2e-3, 10e-3, 0.1, 1.0):
            assert decay_constant(tau, dt, limit) == round(-4096 * math.expm1(-dt / tau))
    # Half a unit: from exp(-dt / tau) = 1 - 0.5 / 4096 on the decay is 1, below it 0.
    edge = -dt / math.log1p(-0.5 / 4096)
    assert decay_constant(edge * 0.999, dt, fixed.DECAY_V) == 1
    assert decay_constant(edge * 1.001, dt, fixed.DECAY_V) == 0


@steady
@given(rng=seeds, of=st.sampled_from([(4,), (4, 1, 1), (2, 3, 2)]))
def test_decays_of_many_time_constants_are_those_of_each(rng: Any, of: tuple[int, ...]) -> None:
    tau = rng.choice([0.0, math.inf, *10.0 ** rng.uniform(-5, 2, 6)], of)
    for limit in (fixed.DECAY_U, fixed.DECAY_V):
        got = decay_constant(tau, 1e-3, limit)
        assert (got.dtype, got.shape) == (np.int64, of)
        assert got.ravel().tolist() == [decay_constant(float(one), 1e-3, limit) for one in tau.ravel()]
    kept = kept_share(tau, 1e-3)
    assert (kept.dtype, kept.shape) == (np.float64, of)
    assert kept.ravel().tolist() == [math.exp(-1e-3 / one) if one > 0 else 0.0 for one in tau.ravel().tolist()]


def test_halves_of_a_decay_round_to_even() -> None:
    # 4096 · (1 - 0.5) = 2048 and 4096 · (1 - 1) = 0; a limit in steps of 4096 leaves both as halves or wholes.
    limit = IntegerFormat(minimum=0, maximum=8192, step=4096)
    halves = [1e-3 / math.log(2), math.inf, 0.0]
    assert kept_share(halves, 1e-3).tolist() == [0.5, 1.0, 0.0]
    assert decay_constant(halves, 1e-3, limit).tolist() == [0, 0, 4096]


def test_a_decay_per_neuron_or_channel() -> None:
    dt, tau = 1e-3, np.array([1e-3, 2e-3, math.inf, 0.0])
    population = FloatPopulation(shape=(4,), tau_syn=tau, tau_mem=tau[::-1])
    graph = net(dense(np.ones((4, 6))), population=population)
    integer, report = quantize(graph, CHIPS["loihi2"])
    # 4096 · (1 - exp(-1)) = 2589.2, 4096 · (1 - exp(-1/2)) = 1611.7; u forgets at least 1.
    assert integer.populations["n"].decay_u.tolist() == [2589, 1612, 1, 4096]
    assert integer.populations["n"].decay_v.tolist() == [4096, 0, 1612, 2589]
    exact = 4096 * -np.expm1(-dt / tau[:2])
    worst = np.abs([2589, 1612] - exact).max() / 4096
    assert report.populations["n"].decay_u_error == pytest.approx(max(worst, 1 / 4096), rel=1e-9)
    assert report.populations["n"].decay_v_error == pytest.approx(worst, rel=1e-9)
    image = FloatPopulation(shape=(2, 3, 1), tau_mem=[2e-3, math.inf])
    conv = FloatConv2d(source="in", target="n", weight=np.ones((2, 1, 1, 1)))
    graph = replace(net(conv, population=image), inputs={"in": Input(shape=(1, 3, 1))})
    assert quantize(graph, CHIPS["loihi2"])[0].populations["n"].decay_v.tolist() == [1612, 0]


def test_populations_that_a_chip_cannot_hold_are_split() -> None:
    """Thresholds per neuron of a convolution, decays per channel of a dense one: each rewrite is named."""
    rng = np.random.default_rng(5)
    threshold = np.where(rng.random((2, 4, 4)) < 0.3, 1.5, 1.0)
    graph = FloatGraph(
        inputs={"in": Input(shape=(1, 4, 4))},
        populations={
            "conv": FloatPopulation(shape=(2, 4, 4), v_threshold=threshold),
            "dense": FloatPopulation(shape=(6,), v_threshold=np.arange(6) + 1.0, tau_mem=[1e-3, 2e-3] * 3),
            "out": FloatPopulation(shape=(3,), v_threshold=[1.0, 2.0, 3.0]),
        },
        projections={
            "a": FloatConv2d(source="in", target="conv", weight=rng.normal(size=(2, 1, 3, 3)), padding=1),
            "b": FloatDense(source="conv", target="dense", weight=rng.normal(size=(6, 32))),
            "c": FloatDense(source="dense", target="out", weight=rng.normal(size=(3, 6))),
        },
        outputs={"out": Output(population="out")},
        n_steps=8,
    )
    integer, report = quantize(graph, CHIPS["loihi1"])
    assert {name: p.rewrite for name, p in report.populations.items()} == {
        "conv": "split into 2 populations",
        "dense": "thresholds folded into weights, split into 2 populations",
        "out": "thresholds folded into weights",
    }
    assert list(integer.populations) == ["conv.0", "conv.1", "dense.0", "dense.1", "out"]
    assert integer.populations["dense.1"].decay_v == 1612
    mants = [int(integer.populations[f"conv.{k}"].threshold_mant) for k in (0, 1)]
    assert max(mants) == pytest.approx(1.5 * min(mants), rel=0.01)
    whole, _ = quantize(graph, CHIPS["loihi2"])
    assert list(whole.populations) == ["conv", "dense", "out"]


def test_decays_that_the_chip_shares_are_refused() -> None:
    graph = net(dense(np.ones((4, 6))), population=FloatPopulation(shape=(4,), tau_mem=[1e-3, 2e-3, 3e-3, 4e-3]))
    what = "n: decay_v differs between neurons, and a population shares one on Intel Loihi 1; output 'out' taps it"
    with pytest.raises(GraphError, match=what):
        quantize(graph, CHIPS["loihi1"])
    alike = FloatPopulation(shape=(4,), tau_mem=np.full(4, 2e-3))
    assert (
        quantize(net(dense(np.ones((4, 6))), population=alike), CHIPS["loihi1"])[0].populations["n"].decay_v[0] == 1612
    )


def test_a_decay_that_the_chip_cannot_hold_is_reported() -> None:
    population = FloatPopulation(shape=(4,), tau_syn=math.inf, tau_mem=0.0)
    integer, report = quantize(net(dense(np.ones((4, 6))), population=population), CHIPS["loihi1"])
    assert (integer.populations["n"].decay_u, integer.populations["n"].decay_v) == (1, 4095)
    assert report.populations["n"].decay_u_error == report.populations["n"].decay_v_error == 1 / 4096


# Thresholds per neuron on chips that share one


def powers(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    return 2.0 ** rng.integers(0, 4, shape)


@steady
@given(rng=seeds, torch_too=st.booleans())
def test_folded_weights_make_the_same_decisions(rng: Any, torch_too: bool) -> None:
    """x / threshold > 1 exactly where x > threshold: weights and thresholds are such that the division is exact."""
    shape = (2, 2, 3)
    cases: list[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ("Dense", (5,), (4,), (4,), {}),
        ("Dense", (5,), shape, shape, {}),
        ("Conv2d", (3, 2, 3), shape, (2,), {}),
        ("Sparse", (5,), (4,), (4,), {}),
        ("Sparse", (5,), shape, shape, {}),
        ("OneToOne", (4,), (4,), (4,), {}),
        ("OneToOne", shape, shape, shape, {}),
        ("OneToOne", shape, shape, (2,), {}),
    ]
    to = pytest.importorskip("torch").tensor if torch_too else np.asarray
    for kind, source, target, granularity, fields in cases:
        n_source, n_target = math.prod(source), math.prod(target)
        indices = rng.integers(0, n_target, 9)
        shapes = {
            "Dense": [(n_target, n_source)],
            "Conv2d": [(2, 3, 1, 1)],
            "Sparse": [(9,)],
            "OneToOne": [(), source[:1], source] if granularity != (2,) else [(), (2,)],
        }[kind]
        for weight_shape in shapes:
            threshold, weight = powers(rng, granularity), 8.0 * rng.integers(-5, 6, weight_shape)
            if kind == "Sparse":
                fields = {"indptr": [0, 2, 2, 5, 8, 9], "indices": indices}
            folded = np.asarray(fold_threshold(kind, to(weight), to(threshold), indices))
            s = rng.integers(0, 2, (20, *source))
            x, x_folded = (PROJECTIONS[kind](source="in", target="n", weight=w, **fields) for w in (weight, folded))
            assert x_folded.shape_problem(source, target) is None
            sums = [p.weighted_sum(p.weight, s, target) for p in (x, x_folded)]
            each = per_neuron(threshold, target)
            assert np.array_equal(sums[1] * each, sums[0])
            assert np.array_equal(sums[1] > 1, sums[0] > each)


IMAGE = (2, 2, 3)


@pytest.mark.parametrize(
    ("kind", "granularity"),
    [
        ("Dense", (2,)),
        ("Dense", IMAGE),
        ("Sparse", (2,)),
        ("Sparse", IMAGE),
        ("OneToOne", (2,)),
        ("OneToOne", IMAGE),
        ("OneToOne per channel", IMAGE),
        ("OneToOne per channel", (2,)),
        ("Conv2d", (2,)),
    ],
)
@pytest.mark.parametrize("bias_shape", [(), (2,), IMAGE])
def test_thresholds_of_images_fold_whatever_their_granularity(
    kind: str, granularity: tuple[int, ...], bias_shape: tuple[int, ...]
) -> None:
    """One number per channel or per neuron, for thresholds, biases and weights, in every combination."""
    rng = np.random.default_rng(2)
    threshold, bias = powers(rng, granularity), rng.integers(-9, 10, bias_shape) / 4
    population = FloatPopulation(shape=IMAGE, v_threshold=threshold, bias=bias)
    ends = {"source": "in", "target": "n"}
    p: Any = {
        "Dense": lambda: FloatDense(weight=rng.normal(size=(12, 12)), **ends),
        "Sparse": lambda: FloatSparse(
            weight=rng.normal(size=12), indptr=np.arange(13), indices=rng.permutation(12), **ends
        ),
        "OneToOne": lambda: FloatOneToOne(weight=rng.normal(size=IMAGE), **ends),
        "OneToOne per channel": lambda: FloatOneToOne(weight=rng.normal(size=2), **ends),
        "Conv2d": lambda: FloatConv2d(weight=rng.normal(size=(2, 2, 1, 1)), **ends),
    }[kind]()
    graph = replace(net(p, population=population), inputs={"in": Input(shape=IMAGE)})
    integer, report = quantize(graph, CHIPS["loihi1"])
    assert report.populations["n"].folded
    assert integer.populations["n"].threshold_mant.shape == ()
    # Put back together: weight and bias times threshold, neuron by neuron, within the rounding.
    each, (q, error) = per_neuron(threshold, IMAGE), (integer.projections["p0"], report.projections["p0"])
    if kind == "Conv2d":
        back = q.weight * error.scale * threshold[:, None, None, None]
    elif kind == "Dense":
        back = q.weight * error.scale * each.reshape(-1, 1)
    elif kind == "Sparse":
        back = q.weight * error.scale * each.reshape(-1)[p.indices]
    else:
        back = per_neuron(q.weight.astype(int), IMAGE) * error.scale * each
    wanted = per_neuron(p.weight, IMAGE) if kind.startswith("OneToOne") else p.weight
    assert np.abs(back - wanted).max() <= error.scale * 8 * (1 + 1e-9)
    got = integer.populations["n"]
    unit = error.scale / 64 * 2.0 ** int(got.bias_exp)
    back = per_neuron(got.bias_mant.astype(int), IMAGE) * unit * each
    assert np.abs(back - per_neuron(bias, IMAGE)).max() <= unit / 2 * 8 * (1 + 1e-9)


def test_chips_with_thresholds_per_neuron_do_not_fold() -> None:
    population = FloatPopulation(shape=(4,), v_threshold=[1.0, 2.0, 3.0, 4.0])
    integer, report = quantize(net(dense(np.ones((4, 6))), population=population), CHIPS["loihi2"])
    assert not report.populations["n"].folded
    assert integer.populations["n"].threshold_mant.tolist() == [127, 254, 381, 508]
    assert (integer.projections["p0"].weight == 127).all()


@pytest.mark.parametrize(
    ("p", "granularity"),
    [
        (FloatSumPool2d(source="in", target="n", kernel_size=1), (2,)),
        (FloatSumPool2d(source="in", target="n", kernel_size=1), IMAGE),
        (FloatConv2d(source="in", target="n", weight=np.ones((2, 2, 1, 1))), IMAGE),
    ],
)
def test_shared_weights_fold_only_into_equal_thresholds(p: Any, granularity: tuple[int, ...]) -> None:
    def graph(v_threshold: np.ndarray) -> FloatGraph:
        population = FloatPopulation(shape=IMAGE, v_threshold=v_threshold)
        return replace(net(p, population=population), inputs={"in": Input(shape=IMAGE)})

    different = np.ones(granularity)
    different.flat[0] = 2
    with pytest.raises(
        ChipError, match=f"{p.kind}: shares weights between neurons whose thresholds differ.*; train with"
    ):
        fold_threshold(p.kind, p.weight, different)
    with pytest.raises(GraphError, match=r"n: threshold_mant differs between neurons.*; output 'out' taps it"):
        quantize(graph(different), CHIPS["loihi1"])
    integer, _ = quantize(graph(np.full(granularity, 2.0)), CHIPS["loihi1"])
    assert integer.projections["p0"].weight.flat[0] == 254
    assert integer.populations["n"].threshold_mant == 508  # 1 · 254 / (1 / 2)


# What comes out


def test_everything_else_is_handed_on() -> None:
    graph = net(dense(np.ones((4, 6)), delay_steps=3), population=FloatPopulation(shape=(4,), refractory_steps=5))
    graph = replace(graph, provenance={"seed": 1})
    integer, report = quantize(graph, CHIPS["loihi1"])
    assert integer.projections["p0"].delay_steps == 3
    assert integer.populations["n"].refractory_steps == 5
    assert integer.provenance == {"seed": 1, "chip": "loihi1", "weight_bits": 8}
    for field in ("inputs", "outputs", "n_steps", "coding", "readout"):
        assert getattr(integer, field) == getattr(graph, field)
    assert isinstance(report, QuantizationReport)
    assert json.loads(json.dumps(report.to_json()))["projections"]["p0"]["weight_exp"] == 0


def test_geometry_is_handed_on() -> None:
    p = FloatConv2d(
        source="in", target="n", weight=np.ones((2, 1, 2, 3)), stride=(1, 2), padding=(1, 0), dilation=(1, 2), groups=2
    )
    population = FloatPopulation(shape=(2, 4, 1))
    graph = replace(net(p, population=population), inputs={"in": Input(shape=(2, 3, 5))})
    got = quantize(graph, CHIPS["loihi1"])[0].projections["p0"]
    assert (got.stride, got.padding, got.dilation, got.groups) == ((1, 2), (1, 0), (1, 2), 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reset": "subtract"}, "n: reset = 'subtract', but only zero exists on Intel Loihi 1"),
        ({"max_spikes": 2}, "n: max_spikes = 2, but neurons count no spikes on Intel Loihi 1"),
        ({"refractory_steps": 100}, "n: refractory_steps = 100 is outside 1…63 on Intel Loihi 1"),
        ({"v_threshold": -1.0}, "n: v_threshold = -1.0 is not positive"),
    ],
)
def test_what_the_chip_cannot_hold_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(GraphError, match=says):
        quantize(net(dense(np.ones((4, 6))), population=FloatPopulation(shape=(4,), **change)), CHIPS["loihi1"])


def test_an_illegal_float_graph_is_refused() -> None:
    with pytest.raises(GraphError, match=r"weight has shape \(3, 6\), expected \(4, 6\)"):
        quantize(net(dense(np.ones((3, 6)))), CHIPS["loihi1"])


def test_infinite_weights_end() -> None:
    """A training that blew up: the scale is infinite, and the search for it ends all the same."""
    base, exponents = shared_scale([np.float32(np.inf)], load_chip("loihi1").weight_exp.format, np.float32(0), 1.0)
    assert (base, exponents) == (np.inf, [0])
