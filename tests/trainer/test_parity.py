"""A trained network and its graph are the same thing: every spike, every state, every decision."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from networks import dense_network
from torch import nn

from spikegraph.export.check import problems
from spikegraph.export.chips import load_chip
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.quantize import quantize
from spikegraph.hwsim.simulate import rasters_of, simulate
from spikegraph.trainer.execute import execute
from spikegraph.trainer.lower import lower
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork

CHIPS = [("loihi1", None), ("loihi2", None), ("generic", 2), ("generic", 4), ("generic", 8)]
N_CLASSES = 3


def assert_same(network, graph, x, index):
    """Compare the forward pass with the reference engine; return how many spikes each population fired."""
    rasters = rasters_of(graph, x, index)
    run = simulate(graph, [(x, np.zeros(len(x), int), index)], record=list(graph.populations))
    states = execute(network, rasters)
    assert list(states) == list(graph.populations)
    for name, trace in run.traces.items():
        for variable in ("s", "u", "v"):
            assert np.array_equal(states[name][variable], trace[variable]), (name, variable)
    s, v_before_reset = read(network, torch.from_numpy(rasters["input"]).float())
    decision = graph.readout.decide(s.numpy() > 0, v_before_reset.numpy())
    assert np.array_equal(decision.predicted, run.predicted)
    assert np.array_equal(decision.decided, run.decided)
    return {name: int(state["s"].sum()) for name, state in states.items()}


@torch.no_grad()
def read(network, raster):
    activity, (name,) = network(raster), network.outputs
    return activity.s[name], activity.v_before_reset[name]


def train_steps(network, raster, label, n):
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(n):
        activity, (name,) = network(raster), network.outputs
        s, v = activity.s[name], activity.v_before_reset[name]
        optimizer.zero_grad()
        (torch.nn.functional.cross_entropy(s.sum(0), label) + 1e-9 * v.mean()).backward()
        optimizer.step()


@st.composite
def experiments(draw):
    chip_name, weight_bits = draw(st.sampled_from(CHIPS))
    chip = load_chip(chip_name, weight_bits=weight_bits)
    kinds = ["rate", "first_spike"] + ["direct"] * chip.graded_input.value
    coding = InputCoding(kind=draw(st.sampled_from(kinds)), seed=5, max_value=draw(st.sampled_from([1, 15, 32767])))
    if coding.kind != "direct":
        coding = InputCoding(kind=coding.kind, seed=coding.seed)
    sizes = [draw(st.integers(1, 9)), *draw(st.lists(st.integers(1, 8), max_size=2)), N_CLASSES]
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    modules = OrderedDict()
    for k, (n_in, n_out) in enumerate(pairwise(sizes)):
        modules[f"synapses{k}"] = nn.Linear(n_in, n_out)
        modules[f"layer{k}"] = LIF(
            tau_mem=draw(st.sampled_from([2e-3, 1e-2, float("inf"), 1e-9])),
            tau_syn=draw(st.sampled_from([0.0, 0.0, 3e-3])),
            v_threshold=draw(st.sampled_from([0.2, 1.0])),
            threshold_per=draw(st.sampled_from(["layer", "neuron"])),
            reset=draw(st.sampled_from(chip.reset.modes)),
            refractory_steps=draw(st.sampled_from([1, 1, 2, 4])),
            max_spikes=draw(st.sampled_from([0, 1, 2])) if chip.max_spikes.value else 0,
            surrogate=draw(st.sampled_from(["arctan", "fast_sigmoid", "triangle"])),
        )
    readout = Readout(kind=draw(st.sampled_from(["count", "membrane"])), output="output")
    network = SpikingNetwork(nn.Sequential(modules), sizes[:1], chip=chip, largest_input=coding.max_value)
    return network, chip, coding, readout, draw(st.integers(1, 12))


@given(experiments(), st.integers(0, 2**32 - 1))
@hypothesis_settings(max_examples=60, deadline=None)
def test_training_computes_the_graph(experiment, seed):
    network, chip, coding, readout, n_steps = experiment
    rng = np.random.default_rng(seed)
    x, index = rng.random((6, *network.input_shape), np.float32), rng.permutation(6)
    raster = torch.from_numpy(coding.encode(x, index, n_steps)).float()
    train_steps(network, raster, torch.tensor(rng.integers(0, N_CLASSES, 6)), 3)
    graph, _ = quantize(lower(network, n_steps=n_steps, coding=coding, readout=readout), chip)
    assert not problems(graph, chip)
    assert_same(network, graph, x, index)


def test_numbers_that_wrap_and_saturate_agree_as_well():
    # 40 lines of 32767 · 127, aligned by 2^6, are far beyond 2^23: u wraps in the first step.
    torch.manual_seed(0)
    chip = load_chip("generic")
    modules = OrderedDict(
        hidden_synapses=nn.Linear(40, 8, bias=False),
        hidden=LIF(tau_mem=1e-2, tau_syn=5e-3, reset="none"),
        output_synapses=nn.Linear(8, N_CLASSES),
        output=LIF(tau_mem=float("inf")),
    )
    nn.init.uniform_(modules["hidden_synapses"].weight, -0.27, 0.27)
    network = SpikingNetwork(nn.Sequential(modules), (40,), chip=chip, largest_input=32767)
    rng = np.random.default_rng(0)
    coding, readout = InputCoding(kind="direct", max_value=32767), Readout(kind="count", output="output")
    graph, _ = quantize(lower(network, n_steps=20, coding=coding, readout=readout), chip)
    x, index = rng.random((5, 40), np.float32), np.arange(5)
    run = simulate(graph, [(x, np.zeros(5, int), index)])
    assert run.counts.window["wraps"]["hidden"].sum() > 0
    assert run.counts.window["saturations"]["hidden"].sum() > 0
    assert assert_same(network, graph, x, index)["hidden"] > 0


@pytest.mark.parametrize(("chip_name", "weight_bits"), CHIPS)
def test_a_float_network_quantizes_after_training(chip_name, weight_bits):
    torch.manual_seed(1)
    network, rng = (
        dense_network(12, 16, N_CLASSES, tau_mem=5e-3, threshold_per="neuron"),
        np.random.default_rng(1),
    )
    label = rng.integers(0, N_CLASSES, 60)
    x = np.clip(rng.random((60, 12)) * 0.3 + 0.7 * (np.arange(12) // 4 == label[:, None]), 0, 1).astype(np.float32)
    coding, readout = InputCoding(kind="rate", seed=3), Readout(kind="count", output="output")
    raster = torch.from_numpy(coding.encode(x, np.arange(60), 12)).float()
    train_steps(network, raster, torch.tensor(label), 40)
    chip = load_chip(chip_name, weight_bits=weight_bits)
    graph, report = quantize(lower(network, n_steps=12, coding=coding, readout=readout), chip)
    assert not problems(graph, chip)
    assert all(error.clipped_share == 0 for error in report.projections.values())
    run = simulate(graph, [(x, label, np.arange(60))])
    s, v = read(network, raster)
    float_accuracy = readout.decide(s.numpy() > 0, v.numpy()).correct(label).mean()
    integer_accuracy = (run.decided & (run.predicted == label)).mean()
    assert float_accuracy > 0.9
    assert integer_accuracy >= float_accuracy - (0.5 if weight_bits == 2 else 0.1)


def test_lowering_says_all_of_it():
    torch.manual_seed(0)
    neurons = {"tau_mem": 7e-3, "tau_syn": 2e-3, "dt": 2e-3, "refractory_steps": 3, "max_spikes": 2}
    network = dense_network(4, 3, reset="subtract", v_threshold=0.5, largest_input=9, **neurons)
    readout = Readout(kind="membrane", output="output")
    coding = InputCoding(kind="direct", max_value=9)
    graph = lower(network, n_steps=5, coding=coding, readout=readout, provenance={"seed": 1})
    population = graph.populations["output"]
    assert (graph.dt, graph.n_steps, graph.inputs["input"].max_value, graph.provenance) == (2e-3, 5, 9, {"seed": 1})
    assert (population.tau_mem, population.tau_syn, population.reset) == (7e-3, 2e-3, "subtract")
    assert (population.refractory_steps, population.max_spikes, population.v_threshold) == (3, 2, 0.5)
    assert (graph.outputs["output"].population, graph.outputs["output"].variable) == ("output", "v")
    synapses = network.module.output_synapses
    assert np.array_equal(graph.projections["input_to_output"].weight, synapses.weight.detach().numpy() / np.float32(9))
    assert np.array_equal(population.bias, synapses.bias.detach().numpy())
