"""Every module, in every combination that hypothesis finds: the forward pass is the graph, on every chip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from random_networks import programs

from spikegraph.export.check import problems
from spikegraph.export.chips import load_chip
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.quantize import quantize
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.trainer.lower import lower
from spikegraph.trainer.network import SpikingNetwork

CHIPS = [("loihi1", None), ("loihi2", None), *[("generic", bits) for bits in (1, 2, 4, 8, 16)]]
N_CLASSES, N_SAMPLES = 3, 4


def trained(network: SpikingNetwork, raster, n: int) -> None:
    """Take a few steps that move every parameter."""
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.02)
    network.train()
    for _ in range(n):
        activity = network(raster)
        for name, s in activity.s.items():
            assert name == "input" or ((s == 0) | (s == 1)).all(), name  # under dropout too
        target = torch.rand(activity.s[network.outputs[0]].shape[1:])
        loss = sum((activity.s[name].mean(0) - 0.5).square().mean() for name in network.nodes)
        loss = loss + (activity.s[network.outputs[0]].mean(0) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()


def assert_same(network, graph, raster) -> None:
    run = run_reference(compile_program(graph), {"input": raster.numpy().astype(np.int64)}, record=list(network.nodes))
    windows = network.windows(raster)
    for name, window in windows.items():
        for variable in ("s", "u", "v"):
            found, expected = getattr(window, variable).numpy(), getattr(run.traces[name], variable)
            assert np.array_equal(found, expected), (name, variable)
    with torch.no_grad():
        activity = network(raster)
    assert list(activity.s) == ["input", *network.nodes]
    for name, window in windows.items():
        assert torch.equal(activity.s[name], window.s), name
    for name in network.outputs:
        assert torch.equal(activity.v_before_reset[name], windows[name].v_before_reset), name


@pytest.mark.parametrize(("chip_name", "weight_bits"), CHIPS)
def test_training_computes_the_graph(chip_name, weight_bits):
    chip = load_chip(chip_name, weight_bits=weight_bits)

    @given(st.data())
    @hypothesis_settings(max_examples=8, deadline=None)
    def check(data):
        graded = chip.graded_input.value and data.draw(st.sampled_from([True, False, False]))
        coding = (
            InputCoding(kind="direct", max_value=data.draw(st.sampled_from([7, 255])))
            if graded
            else InputCoding(kind="rate")
        )
        module, input_shape = data.draw(programs(chip, N_CLASSES, binary=not graded))
        floats_first = data.draw(st.booleans())
        network = SpikingNetwork(
            module, input_shape, chip=None if floats_first else chip, largest_input=coding.max_value
        )
        rng, n_steps = np.random.default_rng(data.draw(st.integers(0, 99))), data.draw(st.integers(2, 8))
        x = rng.random((N_SAMPLES, *input_shape), np.float32)
        raster = torch.from_numpy(coding.encode(x, np.arange(N_SAMPLES), n_steps)).float()
        trained(network, raster, 2)
        if floats_first:
            network.compute_in(chip)
            trained(network, raster, 1)
        output = "output" if len(network.outputs) == 1 else "output1"
        readout = Readout(kind="count", output=output)
        graph, _ = quantize(lower(network, n_steps=n_steps, coding=coding, readout=readout), chip)
        assert not problems(graph, chip)
        assert_same(network, graph, raster)

    check()
