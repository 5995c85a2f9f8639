"""Neurons as a module: thresholds stay positive, decays follow the time constants."""

from __future__ import annotations

import math

import pytest
import torch
from networks import dense_network
from torch import nn

from spikegraph.export.chips import load_chip
from spikegraph.export.errors import GraphError, OptionError
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork


@pytest.mark.parametrize("chip", [None, "loihi1", "loihi2"])
@pytest.mark.parametrize("threshold_per", ["layer", "channel", "neuron"])
@pytest.mark.parametrize("start", [1.0, 1e-4, 300.0])
def test_thresholds_stay_positive(chip, threshold_per, start):
    chip = load_chip(chip) if chip else None
    network = dense_network(3, 4, chip=chip, tau_mem=5e-3, v_threshold=start, threshold_per=threshold_per)
    neurons = network.module.output
    assert neurons.positive_threshold().unique().tolist() == [pytest.approx(start)]
    with torch.no_grad():
        neurons.v_threshold.fill_(-7.0)
    assert (neurons.positive_threshold() > 0).all()
    assert (network.threshold_in_v("output") > 0).all()
    network(torch.ones(3, 2, 3)).s["output"].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("chip", [None, "loihi2"])
def test_a_threshold_below_its_floor_can_rise_again(chip):
    network = dense_network(2, 3, chip=load_chip(chip) if chip else None, threshold_per="neuron")
    neurons = network.module.output
    with torch.no_grad():
        neurons.v_threshold.copy_(torch.tensor([-0.01, -0.01, 0.5]))
    for gradient, kept in ((1.0, [0, 0, 1]), (-1.0, [-1, -1, -1])):  # descent follows its opposite
        neurons.v_threshold.grad = None
        (gradient * neurons.positive_threshold()).sum().backward()
        assert neurons.v_threshold.grad.tolist() == kept
    assert neurons.positive_threshold().tolist() == [pytest.approx(1e-3), pytest.approx(1e-3), 0.5]

    neurons.v_threshold.grad = None
    network(torch.ones(3, 2, 2)).s["output"].sum().backward()  # fewer spikes by higher thresholds
    assert (neurons.v_threshold.grad < 0).all()


@pytest.mark.parametrize("name", ["reset", "surrogate", "threshold_per"])
def test_words_that_are_not_known_are_refused_at_once(name):
    with pytest.raises(OptionError, match=rf"^LIF\({name}='soft'\): is not known; choose one of '"):
        LIF(**{name: "soft"})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("tau_mem", (-1.0, 0.0, math.nan)),
        ("tau_syn", (-1e-3, math.inf, math.nan)),
        ("dt", (0.0, math.inf)),
        ("v_threshold", (0.0, -1.0, math.nan)),
        ("threshold_noise", (-0.1,)),
        ("refractory_steps", (0,)),
        ("max_spikes", (-1,)),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(name, values):
    for value in values:
        with pytest.raises(OptionError, match=rf"^LIF\({name}=.*\): must be (above|at least) [01]"):
            LIF(**{name: value})


def test_a_reset_that_the_chip_has_not_is_refused_before_training():
    network = SpikingNetwork(nn.Sequential(nn.Linear(2, 2), LIF(reset="subtract")), (2,))
    with pytest.raises(
        GraphError, match="1: reset = 'subtract', but Intel Loihi 1 has zero only; train with that reset"
    ):
        network.compute_in(load_chip("loihi1"))
    network.compute_in(load_chip("generic"))


def test_decays_follow_the_time_constants():
    decays = LIF(tau_mem=5e-3, tau_syn=2e-3, dt=1e-3).decays(load_chip("loihi1"))
    assert (decays.decay_u, decays.decay_v) == (1612, 742)  # 4096 (1 - exp(-1/2)), 4096 (1 - exp(-1/5))
    assert (decays.kept_u, decays.kept_v) == (1 - 1612 / 4096, 1 - 742 / 4096)
    exact = LIF(tau_mem=math.inf, tau_syn=0.0).decays(None)
    assert (exact.kept_u, exact.kept_v, exact.decay_u, exact.decay_v) == (0, 1, 4096, 0)
