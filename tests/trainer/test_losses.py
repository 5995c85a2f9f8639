"""Losses and additions by hand, and their gradients."""

import math

import pytest
import torch

from spikegraph.trainer.losses import additions, cross_entropy, mean_squared_error, share_of_additions


def test_cross_entropy_of_counts():
    # Softmax of (1, 0): e / (e + 1).
    loss = cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 5)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-1)))


def test_mean_squared_error_of_rates():
    # Four steps: rates (3/4, 1/4) and (1/2, 0), labels 0 and 1: (1/16 + 1/16 + 1/4 + 1) / 4.
    score = torch.tensor([[3.0, 1.0], [2.0, 0.0]])
    assert float(mean_squared_error(score, torch.tensor([0, 1]), 4)) == pytest.approx((1 / 16 + 1 / 16 + 1 / 4 + 1) / 4)


def spikes():
    """Two steps, two samples: 3 + 1 spikes of 3 inputs (one graded), 2 + 1 of 2 neurons."""
    pixels = torch.tensor([[[1, 0, 7], [0, 0, 0]], [[0, -3, 0], [1, 0, 0]]]).float()
    hidden = torch.tensor([[[1, 0], [0, 1]], [[0, 1], [0, 0]]]).float()
    return {"input": pixels, "hidden": hidden, "output": torch.ones(2, 2, 5)}


def test_additions_by_hand():
    # (4 spikes × fan-out 2 + 3 spikes × fan-out 5) / 2 samples; the output reaches nothing.
    assert float(additions(spikes(), {"input": 2, "hidden": 5})) == (4 * 2 + 3 * 5) / 2
    # Of 3 inputs × 2 steps × 2 + 2 neurons × 2 steps × 5 = 32.
    assert float(share_of_additions(spikes(), {"input": 2, "hidden": 5})) == 11.5 / 32


def test_additions_with_a_fan_out_of_each_neuron():
    # Inputs with 1, 2 and 3 synapses fire 2, 1 and 1 times: 2 + 2 + 3, over two samples.
    each = {"input": torch.tensor([1, 2, 3])}
    assert float(additions(spikes(), each)) == 3.5
    assert float(share_of_additions(spikes(), each)) == 3.5 / (2 * 6)


def test_additions_of_feature_maps():
    s = {"conv": torch.ones(2, 1, 4, 3, 3)}
    per_place = torch.arange(9.0).reshape(3, 3)  # broadcasts over the 4 channels: 36 synapses each
    assert float(additions(s, {"conv": per_place})) == 2 * 4 * 36
    assert float(share_of_additions(s, {"conv": per_place})) == 1
    assert float(share_of_additions(s, {"conv": 9.0})) == 1


def test_gradient_of_additions_is_the_fan_out():
    hidden = spikes()["hidden"].requires_grad_()
    additions({"hidden": hidden}, {"hidden": torch.tensor([5, 7])}).backward()
    assert torch.equal(hidden.grad, torch.tensor([2.5, 3.5]).expand(2, 2, 2))  # over two samples


def test_no_synapses_no_share():
    assert float(share_of_additions(spikes(), {})) == 0
    assert float(share_of_additions(spikes(), {"hidden": 0})) == 0
