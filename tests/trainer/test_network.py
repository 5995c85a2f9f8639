"""A network over a window: both ways to run it agree, and gradients go where they should."""

from __future__ import annotations

import pytest
import torch
from networks import dense_network

from spikegraph.export.chips import load_chip

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
