"""Layers: exact sums, positive thresholds, and the very integers that export writes, on each device there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from spikegraph.trainer.layers import SpikingDense

from spikegraph.export.chips import load_chip
from spikegraph.export.fixed import ALIGN_BITS
from spikegraph.export.quantize import quantize
from spikegraph.trainer.exact import exact_linear
from spikegraph.trainer.lower import lower
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.quantizers import quantize_dense

CHIPS = [("loihi1", None), ("loihi2", None), ("generic", 2), ("generic", 4), ("generic", 8)]
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
DEVICES = ["cpu", CUDA]


@pytest.fixture
def matmul_precision():
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize(("largest_weight", "largest_input"), [(254, 1), (127, 255), (32767, 255), (32767, 32767)])
def test_sums_are_exact(device, precision, largest_weight, largest_input, matmul_precision):
    matmul_precision(precision)
    rng = np.random.default_rng(0)
    s = rng.integers(0, largest_input, (3, 5, 300), endpoint=True)
    weight = rng.integers(-largest_weight, largest_weight, (7, 300), endpoint=True)
    weight[0], s[0, 0] = largest_weight, largest_input  # the bound itself is reached
    x = exact_linear(
        torch.tensor(s, dtype=torch.float32, device=device),
        torch.tensor(weight, dtype=torch.float32, device=device),
        largest_input,
    )
    assert np.array_equal(x.cpu().numpy(), s @ weight.T)


@pytest.mark.parametrize(
    ("precision", "total", "dtype"),
    [
        ("highest", (1 << 24) - 1, torch.float32),
        ("highest", 1 << 24, torch.float64),
        ("high", 1, torch.float64),
        ("medium", 1, torch.float64),
    ],
)
def test_floats_as_wide_as_needed(precision, total, dtype, matmul_precision):
    matmul_precision(precision)
    assert exact_linear(torch.ones(1, 1, 1), torch.full((1, 1), float(total)), 1).dtype == dtype


def test_an_odd_sum_beyond_float32():
    # 2^24 + 1 is the first whole number that float32 does not hold.
    s, weight = torch.ones(1, 1, 2), torch.tensor([[2.0**24, 1.0]])
    assert exact_linear(s, weight, 1).item() == 2**24 + 1
    assert torch.nn.functional.linear(s, weight).item() == 2**24


def test_precision_set_for_one_back_end_only(monkeypatch):
    def unknown():
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", unknown)
    assert exact_linear(torch.ones(1, 1, 1), torch.ones(1, 1), 1).dtype == torch.float64


def test_autocast_does_not_reach_the_sums():
    s, weight = torch.ones(1, 2, 3), torch.full((1, 3), 253.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert exact_linear(s, weight, 1).flatten().tolist() == [759, 759]


@pytest.mark.parametrize("chip", [None, "loihi1", "loihi2"])
@pytest.mark.parametrize("threshold_per", ["layer", "neuron"])
@pytest.mark.parametrize("start", [1.0, 1e-4, 300.0])
def test_thresholds_stay_positive(chip, threshold_per, start):
    layer = SpikingDense(
        3, 4, tau_mem=5e-3, v_threshold=start, threshold_per=threshold_per, chip=load_chip(chip) if chip else None
    )
    assert layer.positive_threshold().unique().tolist() == [pytest.approx(start)]
    with torch.no_grad():
        layer.v_threshold.fill_(-7.0)
    assert (layer.positive_threshold() > 0).all()
    assert (layer.threshold_in_v() > 0).all()
    s, _ = layer(torch.ones(3, 2, 3))
    s.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def make_layer(chip, threshold_per, weight, v_threshold, bias):
    layer = SpikingDense(weight.shape[1], weight.shape[0], tau_mem=5e-3, threshold_per=threshold_per, chip=chip)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.v_threshold.copy_(torch.tensor(v_threshold))
        layer.bias.copy_(torch.tensor(bias))
    return layer


def assert_export_writes_the_same(layer, chip):
    """Compare the integers of training with those of `quantize` after lowering; return them."""
    with torch.no_grad():
        trained = quantize_dense(layer.weight, layer.positive_threshold(), layer.bias, chip)
    graph, _ = quantize(lower(SpikingNetwork({"output": layer}), n_steps=4), chip)
    population, projection = graph.populations["output"], graph.projections["input_to_output"]
    written = {
        "weight": projection.weight.astype(np.int64) << projection.weight_exp,
        "threshold_mant": population.threshold_mant.astype(np.int64),
        "bias": population.bias_mant.astype(np.int64) << population.bias_exp.astype(np.int64),
    }
    for name, value in written.items():
        integers = getattr(trained, name).cpu().numpy()
        assert np.array_equal(np.broadcast_to(integers, value.shape), value), name
    assert (population.decay_u, population.decay_v) == (layer.decays.decay_u, layer.decays.decay_v)
    return written


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("threshold_per", ["layer", "neuron"])
@pytest.mark.parametrize(("chip_name", "weight_bits"), CHIPS)
def test_trained_integers_are_the_exported_ones(chip_name, weight_bits, threshold_per, device):
    chip = load_chip(chip_name, weight_bits=weight_bits)

    @given(
        seed=st.integers(0, 2**32 - 1),
        n=st.tuples(st.integers(1, 5), st.integers(1, 6)),
        weight_size=st.sampled_from([0.0, 1e-6, 0.1, 1.0, 1e3]),
        threshold_size=st.sampled_from([1e-3, 1.0, 1e4]),
        bias_size=st.sampled_from([0.0, 0.01, 1.0, 1e6]),
    )
    @hypothesis_settings(max_examples=40, deadline=None)
    def check(seed, n, weight_size, threshold_size, bias_size):
        rng = np.random.default_rng(seed)
        layer = make_layer(
            chip,
            threshold_per,
            rng.normal(0, weight_size, n).astype(np.float32),
            rng.uniform(0.2, 2, n[0] if threshold_per == "neuron" else ()).astype(np.float32) * threshold_size,
            rng.normal(0, bias_size, n[0]).astype(np.float32),
        )
        assert_export_writes_the_same(layer.to(device), chip)

    check()


@pytest.mark.parametrize("threshold_per", ["layer", "neuron"])
@pytest.mark.parametrize(("chip_name", "weight_bits"), CHIPS)
def test_all_zero_weights_and_huge_biases(chip_name, weight_bits, threshold_per):
    chip = load_chip(chip_name, weight_bits=weight_bits)
    v_threshold = np.float32([1, 3]) if threshold_per == "neuron" else np.float32(2)
    layer = make_layer(chip, threshold_per, np.zeros((2, 3), np.float32), v_threshold, np.float32([1e9, -1e9]))
    written = assert_export_writes_the_same(layer, chip)
    assert not written["weight"].any()
    assert np.sign(written["bias"]).tolist() == [1, -1]
    assert abs(written["bias"]).max() >= 4095 << 7  # an end of the field


def test_a_golden_layer():
    # Loihi 1: largest weight 1.27 becomes 254, so 1 is 200; even weights; threshold 2 → 400; bias 0.5 → 100 · 64.
    weight, threshold = np.float32([[1.27, -0.5], [0.0149, 0.0152]]), np.float32(2)
    layer = make_layer(load_chip("loihi1"), "layer", weight, threshold, np.float32([0.5, -0.5]))
    written = assert_export_writes_the_same(layer, load_chip("loihi1"))
    assert written["weight"].tolist() == [[254, -100], [2, 4]]
    assert written["threshold_mant"] == 400
    assert written["bias"].tolist() == [6400, -6400]
    assert layer.threshold_in_v() == 400 << ALIGN_BITS


@pytest.mark.parametrize("chip_name", ["loihi1", "loihi2"])
def test_gradients_reach_the_float_parameters(chip_name):
    """The rounding is passed straight through: weight, threshold and bias of weight scale 1/200 get 200 times more."""
    weight = np.float32([[1.27, -0.5, 0.4], [0.3, 0.2, 1.0]]) * (127 / 254 if chip_name == "loihi2" else 1)
    layer = make_layer(load_chip(chip_name), "layer", weight, np.float32(2), np.float32([0.5, -0.5]))
    quantized = quantize_dense(layer.weight, layer.v_threshold, layer.bias, layer.chip)
    (quantized.weight.sum() + quantized.threshold_mant + quantized.bias.sum() / 64).backward()
    for parameter in layer.parameters():
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 200.0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_forward_and_window_agree(device):
    torch.manual_seed(0)
    for chip in (None, load_chip("loihi1"), load_chip("generic", weight_bits=4)):
        layer = SpikingDense(6, 9, tau_mem=5e-3, tau_syn=2e-3, v_threshold=0.2, threshold_per="neuron", chip=chip).to(
            device
        )
        s_in = (torch.rand(10, 3, 6) < 0.5).float().to(device)
        s, v_before_reset = layer(s_in)
        window = layer.window(s_in)
        assert s.sum() > 0
        assert torch.equal(s, window.s)
        assert torch.equal(v_before_reset, window.v_before_reset)


def test_what_is_not_trained_has_no_gradient():
    layer = SpikingDense(3, 2, tau_mem=5e-3, bias=False, train_threshold=False)
    layer(torch.ones(4, 1, 3))[0].sum().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad is None
    assert layer.v_threshold.grad is None


def test_decays_follow_the_time_constants():
    layer = SpikingDense(1, 1, tau_mem=5e-3, tau_syn=2e-3, dt=1e-3, chip=load_chip("loihi1"))
    assert (layer.decays.decay_u, layer.decays.decay_v) == (1612, 742)  # 4096 (1 - exp(-1/2)), 4096 (1 - exp(-1/5))
    assert (layer.decays.kept_u, layer.decays.kept_v) == (1 - 1612 / 4096, 1 - 742 / 4096)
    exact = SpikingDense(1, 1, tau_mem=float("inf"), tau_syn=0.0)
    assert (exact.decays.kept_u, exact.decays.kept_v, exact.decays.decay_u, exact.decays.decay_v) == (
        0,
        1,
        4096,
        0,
    )
