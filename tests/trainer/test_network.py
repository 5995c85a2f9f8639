"""A network over a window: both ways to run it agree, and gradients go where they should."""

from __future__ import annotations

import pytest
import torch
from networks import dense_network
from torch import nn

from spikegraph.export.chips import load_chip
from spikegraph.export.errors import OptionError
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_forward_and_windows_agree(device):
    torch.manual_seed(0)
    neurons = {"tau_mem": 5e-3, "tau_syn": 2e-3, "v_threshold": 0.2, "threshold_per": "neuron"}
    for chip in (None, load_chip("loihi1"), load_chip("generic", weight_bits=4)):
        network = dense_network(6, 9, chip=chip, **neurons).to(device)
        s = (torch.rand(10, 3, 6) < 0.5).float().to(device)
        activity, windows = network(s), network.windows(s)
        assert list(activity.s) == ["input", "output"]
        assert list(windows) == ["output"]
        assert activity.s["output"].sum() > 0
        assert torch.equal(activity.s["output"], windows["output"].s)
        assert torch.equal(activity.v_before_reset["output"], windows["output"].v_before_reset)


def test_what_is_not_trained_has_no_gradient():
    network = dense_network(3, 2, bias=False, tau_mem=5e-3, train_threshold=False)
    network(torch.ones(4, 1, 3)).s["output"].sum().backward()
    assert network.module.output_synapses.weight.grad is not None
    assert network.module.output_synapses.bias is None
    assert network.module.output.v_threshold.grad is None


@pytest.mark.parametrize("weight_bits", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("kernel", [1, 2])
def test_relays_fire_for_a_single_spike_and_for_many(weight_bits, kernel):
    """By weights of one bit, where a threshold of a half is beyond them, and of sixteen, near overflow."""
    torch.manual_seed(0)
    chip = load_chip("generic", weight_bits=weight_bits)
    module = nn.Sequential(nn.MaxPool2d(kernel), nn.Flatten(), nn.Linear((4 // kernel) ** 2, 2), LIF())
    network = SpikingNetwork(module, (1, 4, 4), chip=chip)
    s = (torch.rand(6, 8, 1, 4, 4) < 0.3).float()
    s[0] = 1
    expected = nn.functional.max_pool2d(s.flatten(0, 1), kernel).view(6, 8, 1, 4 // kernel, 4 // kernel)
    assert torch.equal(network.windows(s)["0"].s, expected)
    assert torch.equal(network(s).s["0"], expected)


def test_a_pool_that_is_read_has_a_potential():
    network = SpikingNetwork(nn.Sequential(LIF(v_threshold=0.5), nn.MaxPool2d(2)), (1, 2, 2))
    activity = network(torch.tensor([1.0, 0, 0, 1]).view(1, 1, 1, 2, 2))
    assert activity.s["1"].item() == 1
    assert activity.v_before_reset["1"].item() == 2  # two spikes, by a weight of 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_input_that_is_no_number_is_refused(value):
    network, s = dense_network(4, 2), torch.zeros(3, 2, 4)
    s[1, 1, 2] = value
    for run in (network, network.windows):
        with pytest.raises(OptionError, match=r"^input: holds NaN or infinity; hand in spikes"):
            run(s)
