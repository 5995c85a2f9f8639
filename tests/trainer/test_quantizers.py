"""Quantized parameters: the very integers that export writes, on each device there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from networks import dense_network

from spikegraph.export.chips import load_chip
from spikegraph.export.fixed import ALIGN_BITS
from spikegraph.export.quantize import quantize
from spikegraph.trainer.lower import lower

CHIPS = [("loihi1", None), ("loihi2", None), ("generic", 2), ("generic", 4), ("generic", 8)]
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
DEVICES = ["cpu", CUDA]


def make_network(chip, threshold_per, weight, v_threshold, bias):
    network = dense_network(*weight.shape[::-1], chip=chip, tau_mem=5e-3, threshold_per=threshold_per)
    with torch.no_grad():
        network.module.output_synapses.weight.copy_(torch.tensor(weight))
        network.module.output_synapses.bias.copy_(torch.tensor(bias))
        network.module.output.v_threshold.copy_(torch.tensor(v_threshold))
    return network


def quantized_parameters(network):
    return network._quantized(network.nodes["output"], network.chip)


def assert_export_writes_the_same(network):
    """Compare the integers of training with those of `quantize` after lowering; return them."""
    trained = quantized_parameters(network)
    graph, _ = quantize(lower(network, n_steps=4), network.chip)
    population, projection = graph.populations["output"], graph.projections["input_to_output"]
    written = {
        "weight": projection.weight.astype(np.int64) << projection.weight_exp,
        "threshold_mant": population.threshold_mant.astype(np.int64),
        "bias": population.bias_mant.astype(np.int64) << population.bias_exp.astype(np.int64),
    }
    (weight,) = trained.weights
    found = {"weight": weight, "threshold_mant": trained.threshold_mant, "bias": trained.bias}
    for name, value in written.items():
        integers = found[name].detach().cpu().numpy()
        assert np.array_equal(np.broadcast_to(integers, value.shape), value), name
    decays = network.module.output.decays(network.chip)
    assert (population.decay_u, population.decay_v) == (decays.decay_u, decays.decay_v)
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
        network = make_network(
            chip,
            threshold_per,
            rng.normal(0, weight_size, n).astype(np.float32),
            rng.uniform(0.2, 2, n[0] if threshold_per == "neuron" else ()).astype(np.float32) * threshold_size,
            rng.normal(0, bias_size, n[0]).astype(np.float32),
        )
        assert_export_writes_the_same(network.to(device))

    check()


@pytest.mark.parametrize("threshold_per", ["layer", "neuron"])
@pytest.mark.parametrize(("chip_name", "weight_bits"), CHIPS)
def test_all_zero_weights_and_huge_biases(chip_name, weight_bits, threshold_per):
    chip = load_chip(chip_name, weight_bits=weight_bits)
    v_threshold = np.float32([1, 3]) if threshold_per == "neuron" else np.float32(2)
    network = make_network(chip, threshold_per, np.zeros((2, 3), np.float32), v_threshold, np.float32([1e9, -1e9]))
    written = assert_export_writes_the_same(network)
    assert not written["weight"].any()
    assert np.sign(written["bias"]).tolist() == [1, -1]
    assert abs(written["bias"]).max() >= 4095 << 7  # an end of the field


def test_a_golden_layer():
    # Loihi 1: largest weight 1.27 becomes 254, so 1 is 200; even weights; threshold 2 → 400; bias 0.5 → 100 · 64.
    weight, threshold = np.float32([[1.27, -0.5], [0.0149, 0.0152]]), np.float32(2)
    network = make_network(load_chip("loihi1"), "layer", weight, threshold, np.float32([0.5, -0.5]))
    written = assert_export_writes_the_same(network)
    assert written["weight"].tolist() == [[254, -100], [2, 4]]
    assert written["threshold_mant"] == 400
    assert written["bias"].tolist() == [6400, -6400]
    assert network.threshold_in_v("output") == 400 << ALIGN_BITS


@pytest.mark.parametrize("chip_name", ["loihi1", "loihi2"])
def test_gradients_reach_the_float_parameters(chip_name):
    """The rounding is passed straight through: weight, threshold and bias of weight scale 1/200 get 200 times more."""
    weight = np.float32([[1.27, -0.5, 0.4], [0.3, 0.2, 1.0]]) * (127 / 254 if chip_name == "loihi2" else 1)
    network = make_network(load_chip(chip_name), "layer", weight, np.float32(2), np.float32([0.5, -0.5]))
    quantized = quantized_parameters(network)
    (quantized.weights[0].sum() + quantized.threshold_mant + quantized.bias.sum() / 64).backward()
    for parameter in network.parameters():
        torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 200.0), rtol=1e-5, atol=0)
