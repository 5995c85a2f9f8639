"""Every shipped recipe trains on its own data's shapes, in floats and integers, and becomes a graph of its chip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spikegraph.export.chips import load_chip
from spikegraph.export.quantize import quantize
from spikegraph.export.recordings import Recordings
from spikegraph.trainer.method import build_network, build_objective, lower_network, readout_of
from spikegraph.trainer.recipe import load_recipe, recipe_names

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
LARGE = {"stl-mnist-paper", "stl-cifar10", "sstdp-cifar10"}  # made for a GPU


def samples(recipe, n):
    rng = np.random.default_rng(0)
    if recipe.data.set != "nmnist":
        return rng.random((n, *SHAPES[recipe.data.set]), np.float32)
    events = [(np.sort(rng.integers(0, 300_000, 500)), rng.integers(0, 2 * 34 * 34, 500)) for _ in range(n)]
    return Recordings.joined(events, (2, 34, 34))


def shape(recipe):
    return (2, 34, 34) if recipe.data.set == "nmnist" else SHAPES[recipe.data.set]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in recipe_names()]
)
def test_a_few_batches(name):
    recipe = load_recipe(name)
    chip = recipe.chip or load_chip("generic")
    network = build_network(recipe, shape(recipe), 10)
    objective = build_objective(recipe, network).train()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], recipe.training.learning_rate)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x, label, coding = samples(recipe, 2), torch.tensor([3, 7]), recipe.input_coding
    for arithmetic in (None, chip):
        network.compute_in(arithmetic)
        for batch in range(2):
            encoded = objective.encode(x, np.arange(2), replace(coding, seed=batch))
            loss = objective(encoded, label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert loss.isfinite()
    changed = [key for key, value in network.state_dict().items() if not torch.equal(value, before[key])]
    assert any(key.endswith("weight") for key in changed)
    objective.eval()
    decided = objective.decide(objective.encode(x, np.arange(2), coding))
    assert decided.predicted.shape == (2,)
    graph, _ = quantize(
        lower_network(network, n_steps=recipe.coding.n_steps, coding=coding, readout=readout_of(recipe)), chip
    )
    assert graph.readout == readout_of(recipe)
