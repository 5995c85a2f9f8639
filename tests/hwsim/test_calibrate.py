"""Quantization with calibration data: never worse than without, the same twice, and what it reports is so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikegraph.export.check import problems
from spikegraph.export.chips import load_chip
from spikegraph.export.coding import Readout
from spikegraph.export.errors import DataError, GraphError, OptionError
from spikegraph.export.float_graph import (
    FloatConv2d,
    FloatDense,
    FloatGraph,
    FloatOneToOne,
    FloatPopulation,
    FloatSparse,
    FloatSumPool2d,
)
from spikegraph.export.graph import Input, Output
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.quantize import quantize
from spikegraph.export.scaling import PLAIN, Scaling, fitted_clips, is_own_reset, own_rows, prepared, rescaled_graph
from spikegraph.hwsim.agreement import filtered_square
from spikegraph.hwsim.bench import Bench
from spikegraph.hwsim.calibrate import quantize_calibrated
from spikegraph.hwsim.calibration import limits
from spikegraph.hwsim.float_engine import run_float
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference

CHIPS = {"loihi1": load_chip("loihi1"), "loihi2": load_chip("loihi2")}
CHIPS |= {f"generic {bits}": load_chip("generic", weight_bits=bits) for bits in (3, 4)}
JUST_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))  # v > this is v >= 1


def layers(seed: int, reset: Any = "subtract", **change: Any) -> FloatGraph:
    """An image, a convolution, a layer with feedback, a readout: every kind of projection."""
    rng = np.random.default_rng(seed)
    neuron: dict[str, Any] = {"reset": reset, "v_threshold": JUST_BELOW_ONE, "tau_mem": 0.02}

    def weight(*shape: int) -> np.ndarray:
        each = rng.normal(0.1, 0.5, shape) * rng.uniform(0.2, 1, (shape[0], *[1] * (len(shape) - 1)))
        return each.astype(np.float32)

    parts: dict[str, Any] = {
        "inputs": {"in": Input(shape=(1, 6, 6))},
        "populations": {
            "conv": FloatPopulation(shape=(3, 4, 4), bias=0.02, **neuron),
            "pool": FloatPopulation(shape=(3, 2, 2), **neuron),
            "hidden": FloatPopulation(shape=(8,), tau_syn=0.004, **neuron),
            "class": FloatPopulation(shape=(3,), **neuron),
        },
        "projections": {
            "a": FloatConv2d(source="in", target="conv", weight=weight(3, 1, 3, 3)),
            "b": FloatSumPool2d(source="conv", target="pool", kernel_size=2, weight=np.float32(0.6)),
            "c": FloatDense(source="pool", target="hidden", weight=weight(8, 12)),
            "d": FloatOneToOne(source="hidden", target="hidden", weight=weight(8) * 0.3, delay_steps=1),
            "e": FloatDense(source="hidden", target="class", weight=weight(3, 8)),
            "f": FloatSparse(
                source="class", target="hidden", weight=weight(3), indptr=[0, 1, 2, 3], indices=[0, 3, 5], delay_steps=2
            ),
        },
        "outputs": {"out": Output(population="class")},
        "n_steps": 25,
        "readout": Readout(kind="count", output="out"),
    }
    return FloatGraph(**{**parts, **change})


def batches(graph: FloatGraph, n: int = 12, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        {name: rng.integers(0, 2, (graph.n_steps, n // 2, *node.shape)) for name, node in graph.inputs.items()}
        for _ in range(2)
    ]


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}


# Rescaling


@pytest.mark.parametrize("name", ["conv", "hidden"])
@pytest.mark.parametrize("chip", ["loihi2", "generic 3"])
def test_scales_change_no_spike(name: str, chip: str) -> None:
    """Factors of rows are powers of two here, so that floats round as before."""
    graph, rng = layers(0), np.random.default_rng(1)
    ready, _ = prepared(graph, CHIPS[chip])
    rows = own_rows(ready, name, CHIPS[chip])
    assert rows == {"conv": (3,), "hidden": (8,)}[name]
    scaling = Scaling(rows=2.0 ** rng.integers(-2, 3, rows), gain=np.full(rows, 2.0))
    rescaled, finer = rescaled_graph(ready, {name: scaling}, CHIPS[chip])
    assert not np.array_equal(rescaled.populations[name].v_threshold, ready.populations[name].v_threshold)
    assert finer[name] >= 0
    raster = joined(batches(graph))
    for original, other in (
        (
            run_float(graph, raster, dtype=np.float64).spikes[one],
            run_float(rescaled, raster, dtype=np.float64).spikes[one],
        )
        for one in graph.populations
    ):
        np.testing.assert_array_equal(original, other)


def test_rows_share_a_scale_where_they_must() -> None:
    graph = layers(0)
    ready, _ = prepared(graph, CHIPS["loihi2"])
    assert own_rows(ready, "pool", CHIPS["loihi2"]) is None  # one weight for all
    assert own_rows(ready, "class", CHIPS["loihi2"]) is None  # ties are broken by comparing v
    assert own_rows(ready, "hidden", CHIPS["loihi1"]) is None  # one threshold for all


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("rows", [False, True])
def test_a_reset_by_a_projection_takes_off_the_whole_threshold(bits: int, rows: bool) -> None:
    rng = np.random.default_rng(bits)
    threshold = np.float32(0.73)
    graph = FloatGraph(
        inputs={"in": Input(shape=(5,))},
        populations={"n": FloatPopulation(shape=(4,), v_threshold=threshold, reset="none", tau_mem=0.01)},
        projections={
            "p": FloatDense(source="in", target="n", weight=rng.normal(0.2, 0.3, (4, 5)).astype(np.float32)),
            "reset": FloatOneToOne(source="n", target="n", weight=-threshold, delay_steps=1),
        },
        outputs={"out": Output(population="n")},
        n_steps=20,
    )
    chip = load_chip("generic", weight_bits=bits)
    assert is_own_reset(graph.projections["reset"], graph.populations["n"])
    assert not is_own_reset(graph.projections["p"], graph.populations["n"])
    scaling = Scaling(rows=rng.uniform(0.7, 3, 4), gain=1.1) if rows else Scaling(gain=1.1)
    rescaled, finer = rescaled_graph(graph, {"n": scaling}, chip)
    integer, _ = quantize(rescaled, chip, finer=finer)
    held = integer.projections["reset"].weight.astype(int) << integer.projections["reset"].weight_exp
    np.testing.assert_array_equal(-held + np.zeros(4, int), integer.populations["n"].threshold_mant + np.zeros(4, int))


def test_a_finer_unit_changes_no_exact_spike() -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (4, 36))
    weight[0, 0] = 127
    graph = layers(
        0,
        populations={"class": FloatPopulation(shape=(4,), v_threshold=300, bias=2.0)},
        projections={"p": FloatDense(source="in", target="class", weight=weight)},
    )
    plain, finer = (quantize(graph, CHIPS["loihi2"], finer=one)[0] for one in ({}, {"class": 3}))
    assert (finer.projections["p"].weight_exp, plain.projections["p"].weight_exp) == (3, 0)
    assert finer.populations["class"].threshold_mant == 8 * plain.populations["class"].threshold_mant
    raster = joined(batches(graph))
    one, other = (run_reference(compile_program(g), raster).traces["class"] for g in (plain, finer))
    np.testing.assert_array_equal(one.s, other.s)
    np.testing.assert_array_equal(8 * one.v, other.v)


# The search


@pytest.mark.parametrize("chip", ["loihi1", "loihi2", "generic 3"])
def test_never_worse_than_plain(chip: str) -> None:
    graph = layers(0)
    parts = batches(graph)
    label = np.arange(12) % 3
    integer, found = quantize_calibrated(graph, CHIPS[chip], parts, label=label)
    assert not problems(integer, CHIPS[chip])
    assert set(found.outcomes) == {"plain", "fit_clip", "one by one", "all together"}
    assert found.outcomes[found.chosen].rank == min(one.rank for one in found.outcomes.values())
    # What is reported, counted here once more, in the reference engine.
    raster = joined(parts)
    floats = run_float(graph, raster)
    result = run_reference(compile_program(integer), raster, record=list(integer.populations))
    for name, one in found.populations.items():
        if name not in integer.populations:
            continue
        ours, theirs = result.traces[name].s, floats.spikes[name]
        got = (one.calibrated.n_integer, one.calibrated.n_float, one.calibrated.n_common)
        assert got == (ours.sum(), theirs.sum(), (ours & theirs).sum())
        assert one.calibrated.equal == pytest.approx(np.mean(ours == theirs))
        assert one.calibrated.in_common == pytest.approx((ours & theirs).sum() / (ours | theirs).sum())
    ours, theirs = result.traces["class"], floats.traces["class"]
    decision, expected = (graph.readout.decide(one.s, one.v_before_reset) for one in (ours, theirs))
    assert found.outcomes[found.chosen].n_alike == (decision.predicted == expected.predicted).sum()
    assert found.outcomes[found.chosen].n_right == decision.correct(label).sum()
    assert found.n_right_float == expected.correct(label).sum()
    distance = filtered_square(ours.s, theirs.s).sum() / filtered_square(theirs.s).sum()
    assert found.outcomes[found.chosen].distance == pytest.approx(distance)
    assert json.loads(json.dumps(found.to_json()))["chosen"] == found.chosen
    assert found.lines()[0] == f"calibrated on 12 samples; kept: {found.chosen}"
    assert bool(found.approximated) == (chip == "loihi1")


@pytest.mark.parametrize("chip", ["loihi2", "generic 3"])
def test_what_it_is_compared_with_is_what_quantize_does(chip: str) -> None:
    graph = layers(2)
    bench = Bench(graph, graph, CHIPS[chip], batches(graph))
    fitted = {name: replace(PLAIN, clips=fitted_clips(graph, name, CHIPS[chip])) for name in graph.populations}
    for scalings, fit_clip in ((dict.fromkeys(graph.populations, PLAIN), False), (fitted, True)):
        expected, _ = quantize(graph, CHIPS[chip], fit_clip=fit_clip)
        assert graph_checksum(bench.quantized(scalings)[0]) == graph_checksum(expected)


def test_weights_make_up_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the scale that is chosen; the inputs are active together."""
    graph, chip = one_layer(11), CHIPS["generic 3"]
    rng = np.random.default_rng(0)
    together = (rng.random((25, 20, 4)) < 0.4) @ (rng.random((4, 36)) < 0.4)
    bench = Bench(graph, graph, chip, [{"in": np.minimum(together, 1).reshape(25, 20, 1, 6, 6)}])
    scaling = bench.compensated("class", Scaling(gain=1.5))
    weight = scaling.rounded["p"]
    assert chip.weight.format.holds_all(weight.astype(int))
    assert np.array_equal(bench.quantized({"class": scaling})[0].projections["p"].weight, weight)
    nearest = bench.quantized({"class": Scaling(gain=1.5)})[0].projections["p"].weight
    assert 0 < (weight != nearest).mean() < 0.5
    assert bench.alone("class", scaling).sum() < bench.alone("class", Scaling(gain=1.5)).sum()
    monkeypatch.setattr("spikegraph.hwsim.bench._MOST_INPUTS", 35)
    assert bench.compensated("class", Scaling()).rounded == {}


def one_layer(seed: int, n_in: int = 36, **change: Any) -> FloatGraph:
    weight = np.random.default_rng(seed).normal(0.05, 0.3, (3, n_in)).astype(np.float32)
    population = FloatPopulation(shape=(3,), v_threshold=JUST_BELOW_ONE, tau_mem=0.02, reset="subtract")
    projections = {"p": FloatDense(source="in", target="class", weight=weight)}
    return layers(0, **{"populations": {"class": population}, "projections": projections, **change})


def test_few_bits_gain_and_twice_is_the_same() -> None:
    graph = one_layer(4)
    parts = batches(graph, 20)
    integer, found = quantize_calibrated(graph, CHIPS["generic 3"], parts)
    assert found.outcomes[found.chosen].distance < 0.7 * found.outcomes["plain"].distance
    assert found.chosen in ("one by one", "all together")
    assert found.limits["biases"].distance == 0  # there are none: all else is as it was
    assert found.limits["weights"].distance > 0
    assert found.limited_by == "weights"
    error = found.quantization.projections["p"]
    assert error.scale / 4 < error.rms_error < error.largest_error
    assert 0 < error.clipped_share < 0.2
    again, same = quantize_calibrated(graph, CHIPS["generic 3"], iter([joined(parts)]))
    assert graph_checksum(integer) == graph_checksum(again)
    assert found.to_json() == same.to_json()


def test_what_reaches_the_threshold_fires() -> None:
    """Sums of ±1/2 tie with a threshold of 1 that v >= 1 passes: plain rounding loses all of these spikes."""
    rng = np.random.default_rng(5)
    graph = layers(
        0,
        populations={"class": FloatPopulation(shape=(3,), v_threshold=JUST_BELOW_ONE, reset="zero")},
        projections={"p": FloatDense(source="in", target="class", weight=rng.choice([-0.5, 0.0, 0.5], (3, 36)))},
    )
    _, found = quantize_calibrated(graph, CHIPS["loihi2"], batches(graph))
    one = found.populations["class"]
    assert one.plain.equal < 1
    assert one.calibrated.equal == 1.0
    assert found.limited_by is None


def test_decays_limit_where_nothing_else_is_rounded() -> None:
    weight = np.random.default_rng(6).integers(0, 128, (3, 36))
    weight[0, 0] = 127
    population = FloatPopulation(shape=(3,), v_threshold=100_000, reset="zero", tau_mem=2.8)  # a decay of 1.46: 1
    graph = layers(
        0,
        n_steps=400,
        populations={"class": population},
        projections={"p": FloatDense(source="in", target="class", weight=weight)},
    )
    bench = Bench(graph, graph, CHIPS["loihi2"], batches(graph))
    found = limits(bench, {"class": PLAIN})
    assert {name for name, outcome in found.items() if outcome.distance > 0} == {"decays", "all of these"}
    _, calibrated = quantize_calibrated(graph, CHIPS["loihi2"], batches(graph))
    assert calibrated.outcomes["all together"].distance < calibrated.outcomes["plain"].distance  # made up for


def test_potentials_that_are_read_are_kept() -> None:
    graph = one_layer(7)
    silent = FloatPopulation(shape=(3,), v_threshold=1e3, tau_mem=0.02)
    graph = replace(
        graph,
        populations={"class": silent},
        outputs={"out": Output(population="class", variable="v")},
        readout=Readout(kind="membrane", output="out"),
    )
    _, found = quantize_calibrated(graph, CHIPS["loihi2"], batches(graph))
    assert 0 < found.outcomes[found.chosen].distance <= found.outcomes["plain"].distance < 1
    assert found.outcomes[found.chosen].n_alike >= found.outcomes["plain"].n_alike


def test_resets_that_the_chip_lacks() -> None:
    """To zero instead, except where a projection resets already; and what was changed is said."""
    graph = one_layer(10)
    none = replace(graph.populations["class"], reset="none")
    for population, said in ((graph.populations["class"], "what is above the threshold"), (none, "all of v")):
        changed = replace(graph, populations={"class": population})
        ready, approximated = prepared(changed, CHIPS["loihi1"])
        assert ready.populations["class"].reset == "zero"
        assert approximated == {"class": f"reset {population.reset} → zero: {said} is lost where it fires"}
        assert prepared(changed, CHIPS["loihi2"])[1] == {}
    once = replace(none, max_spikes=1)
    assert prepared(replace(graph, populations={"class": once}), CHIPS["loihi1"])[1] == {}
    own = FloatOneToOne(source="class", target="class", weight=-JUST_BELOW_ONE, delay_steps=1)
    twice = replace(graph, populations={"class": none}, projections={**graph.projections, "own": own})
    with pytest.raises(GraphError, match="class: reset = 'none', but only zero exists on Intel Loihi 1"):
        quantize_calibrated(twice, CHIPS["loihi1"], batches(graph))


def test_without_a_readout_outputs_are_compared() -> None:
    graph = one_layer(8, readout=None)
    _, found = quantize_calibrated(graph, CHIPS["loihi2"], batches(graph))
    assert found.outcomes["plain"].n_alike is None
    assert found.n_right_float is None
    assert found.outcomes[found.chosen].distance <= found.outcomes["plain"].distance


def test_it_tells_how_far_it_is() -> None:
    graph, told = one_layer(9), []
    quantize_calibrated(graph, CHIPS["loihi1"], batches(graph), progress=lambda *said: told.append(said))
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert {total for _, _, total in told} == {len(told)}


# What is wrong


def test_what_does_not_fit_is_refused() -> None:
    graph = layers(0)
    with pytest.raises(OptionError, match="calibration samples: there are none; give at least one"):
        quantize_calibrated(graph, CHIPS["loihi2"], [])
    with pytest.raises(OptionError, match="labels: 3 for 12 samples; give one for each"):
        quantize_calibrated(graph, CHIPS["loihi2"], batches(graph), label=np.arange(3))
    with pytest.raises(DataError, match="raster in: has shape"):
        quantize_calibrated(graph, CHIPS["loihi2"], [{"in": np.zeros((5, 2, 1, 6, 6), int)}])
    limited = {**graph.populations, "class": replace(graph.populations["class"], refractory_steps=100)}
    with pytest.raises(GraphError, match="refractory_steps = 100 is outside 1…63 on Intel Loihi 1"):
        quantize_calibrated(replace(graph, populations=limited), CHIPS["loihi1"], batches(graph))


def test_too_many_samples_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spikegraph.hwsim.bench._MOST_BYTES", 25 * 107 * 5)
    graph = layers(0)
    with pytest.raises(OptionError, match=r"calibration samples: 6 of them hold .*; give at most 5"):
        quantize_calibrated(graph, CHIPS["loihi2"], batches(graph))
