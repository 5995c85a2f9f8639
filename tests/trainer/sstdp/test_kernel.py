"""The kernel, the definition in torch, and the reference engine compute the same, with any number of threads."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spikegraph.export.graph import Conv2d, Dense, Graph, Input, Output, Population
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.trainer.sstdp import definition, kernel
from spikegraph.trainer.sstdp.geometry import Geometry

DENSE = Geometry(channels=30, outputs=20)
CONV = Geometry(channels=3, height=7, width=6, outputs=5, kernel_size=3, stride=2, padding=1)
WIDE = Geometry(channels=2, height=6, width=7, outputs=18, kernel_size=3)
GEOMETRIES = [DENSE, CONV, WIDE]
N_STEPS = 13


@st.composite
def layers(draw):
    """Whole numbers in every mode, halves and quarters among the floats: no sum of them is rounded."""
    geometry, rng = draw(st.sampled_from(GEOMETRIES)), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    integer = draw(st.booleans())
    size = draw(st.sampled_from([3, 100, 32767])) if integer else 5
    low = draw(st.sampled_from([-size, 0]))
    unit = 1 if integer else 4
    weight = torch.from_numpy(rng.integers(low * unit, size * unit + 1, geometry.weight_shape) / unit).float()
    bias = torch.from_numpy(rng.integers(-64 * size, 64 * size, geometry.outputs) / (1 if integer else 256)).float()
    times = torch.from_numpy(rng.integers(0, N_STEPS + 4, (6, geometry.n_in))).clamp(max=N_STEPS)
    until = torch.from_numpy(rng.integers(0, N_STEPS, 6))
    return {
        "geometry": geometry,
        "fired_at": times,
        "weight": weight,
        "bias": bias if draw(st.booleans()) else None,
        "threshold": draw(st.sampled_from([float(size), 2.0 * size, math.inf])),
        "n_steps": N_STEPS,
        "until": until if draw(st.booleans()) else torch.full((6,), N_STEPS - 1),
        "integer": integer,
    }


@given(layers())
@hypothesis_settings(max_examples=60, deadline=None)
def test_the_kernel_is_the_definition(layer):
    got, expected = kernel.run_window(**layer), definition.run_window(**layer)
    for name in ("fired_at", "peak", "peak_at", "last"):
        assert torch.equal(getattr(got, name), getattr(expected, name)), name


@given(layers())
@hypothesis_settings(max_examples=40, deadline=None)
def test_the_kernel_is_the_reference_engine(layer):
    if not layer["integer"] or layer["threshold"] == math.inf:
        return
    geometry = layer["geometry"]
    layer |= {"until": torch.full((6,), N_STEPS - 1)}
    dense = geometry.is_dense
    in_shape = (geometry.n_in,) if dense else (geometry.channels, geometry.height, geometry.width)
    shape = (geometry.outputs,) if dense else geometry.out_shape
    weight = layer["weight"].numpy()
    ends = {"source": "input", "target": "layer"}
    projection = (
        Dense(weight=weight.reshape(geometry.outputs, -1), **ends)
        if dense
        else Conv2d(weight=weight, stride=geometry.stride, padding=geometry.padding, **ends)
    )
    threshold = min(layer["threshold"], 131071)
    # A bias has a mantissa of 13 bits: here those that fit, by an exponent that all share.
    bias = None if layer["bias"] is None else (layer["bias"] / 128).round().clamp(-4096, 4095) * 128
    mant = 0 if bias is None else (bias / 128).numpy().astype(int)
    graph = Graph(
        inputs={"input": Input(shape=in_shape)},
        populations={
            "layer": Population(shape=shape, threshold_mant=int(threshold), bias_mant=mant, bias_exp=7, max_spikes=1)
        },
        projections={"synapses": projection},
        outputs={"output": Output(population="layer")},
        n_steps=N_STEPS,
    )
    raster = (layer["fired_at"] == torch.arange(N_STEPS).reshape(-1, 1, 1)).numpy().astype(np.uint8)
    trace = run_reference(compile_program(graph), {"input": raster.reshape(N_STEPS, 6, *in_shape)}, ["layer"]).traces
    s = np.asarray(trace["layer"].s)
    window = kernel.run_window(**(layer | {"threshold": threshold, "bias": bias}))
    expected = np.where(s.any(axis=0), s.argmax(axis=0), N_STEPS)
    assert s.sum(axis=0).max() <= 1
    assert np.array_equal(window.fired_at.numpy().reshape(expected.shape), expected)
    before = np.asarray(trace["layer"].v_before_reset) / 64
    at = np.minimum(expected, N_STEPS - 1)
    last = np.take_along_axis(before, at[None], axis=0)[0]
    assert np.array_equal(window.last.numpy().reshape(expected.shape), last.astype(np.float32))


def test_by_hand():
    # Lines spike at 0, 0, 2, never; weights 1, 1, 1, 9 and a threshold of 2. At step 0 v is 2, which is not above 2;
    # at step 2 it is 3. Without the third line it stays silent, its best being 2 in step 0, whatever the fourth weighs.
    geometry = Geometry(channels=4, outputs=1)
    times, weight = torch.tensor([[0, 0, 2, 5], [0, 0, 5, 5]]), torch.tensor([1.0, 1, 1, 9]).reshape(1, 4, 1, 1)
    for run in (kernel.run_window, definition.run_window):
        window = run(geometry, times, weight, None, 2.0, 5, torch.tensor([4, 4]), integer=True)
        assert window.fired_at.flatten().tolist() == [2, 5]
        assert window.peak.flatten().tolist() == [3, 2]
        assert window.peak_at.flatten().tolist() == [2, 0]
        assert window.last.flatten().tolist() == [3, 2]


def test_sums_beyond_32_bits_keep_the_low_ones():
    # 600 lines at once, each with the largest weight and exponent: x = 600 · 32767 · 2^7 = 2,516,505,600 > 2^31.
    # Aligned and wrapped, 64 x becomes 64 (x - 9600 · 2^18) = 64 · -76,800.
    geometry = Geometry(channels=600, outputs=1)
    weight = torch.full(geometry.weight_shape, float(32767 << 7))
    for run in (kernel.run_window, definition.run_window):
        window = run(geometry, torch.zeros(1, 600), weight, None, 5.0, 2, torch.tensor([1]), integer=True)
        assert window.last.flatten().tolist() == [-76800]
        assert window.fired_at.flatten().tolist() == [2]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("with_table", [False, True])
def test_sums_over_pairs(geometry, with_table):
    rng = torch.Generator().manual_seed(1)
    times = torch.randint(0, N_STEPS + 1, (7, geometry.n_in), generator=rng)
    ends = torch.randint(-1, N_STEPS + 1, (7, *geometry.out_shape), generator=rng)
    delta = torch.randint(-3, 4, ends.shape, generator=rng).float()
    table = torch.randint(-3, 4, (2 * N_STEPS + 1,), generator=rng).float() if with_table else None
    got = kernel.sum_pairs(geometry, times, ends, delta, N_STEPS, table)
    assert torch.equal(got, definition.sum_pairs(geometry, times, ends, delta, N_STEPS, table))
    weight = torch.randint(-9, 10, geometry.weight_shape, generator=rng).float()
    back = kernel.send_back(geometry, times, ends, delta, weight, N_STEPS)
    assert torch.equal(back, definition.send_back(geometry, times, ends, delta, weight, N_STEPS))
    assert back.abs().sum() > 0 < got.abs().sum()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_same_bits_with_any_number_of_threads(geometry):
    rng = torch.Generator().manual_seed(2)
    times = torch.randint(0, N_STEPS + 1, (50, geometry.n_in), generator=rng)
    weight = torch.randn(geometry.weight_shape, generator=rng)
    until, before = torch.full((50,), N_STEPS - 1), torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            window = kernel.run_window(geometry, times, weight, None, 1.0, N_STEPS, until, integer=False)
            gradient = kernel.sum_pairs(geometry, times, window.peak_at, window.peak, N_STEPS, None)
            back = kernel.send_back(geometry, times, window.fired_at, window.peak, weight, N_STEPS)
            results.append((window.fired_at, window.peak, gradient, back))
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(results[0], others, strict=True))
