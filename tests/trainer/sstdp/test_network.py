"""Networks of a recipe: trained, lowered, quantized, run; spike for spike and state for state the same."""

import copy

import numpy as np
import pytest
import torch

from spikegraph.export.chips import load_chip
from spikegraph.export.coding import InputCoding
from spikegraph.export.errors import OptionError, RecipeError
from spikegraph.export.quantize import quantize
from spikegraph.hwsim.simulate import rasters_of, simulate
from spikegraph.targets.places import native
from spikegraph.targets.verify import verify
from spikegraph.trainer.data import DataSet, Split
from spikegraph.trainer.folder import load_run, train_recipe
from spikegraph.trainer.loop import TrainingRun
from spikegraph.trainer.method import build_network, build_objective, execute, lower_network, readout_of
from spikegraph.trainer.recipe import OneSpikeRecipe, load_recipe, recipe_names

RECIPE = {
    "name": "tiny",
    "data": {"set": "tiny", "validation": 0.2},
    "coding": {"kind": "first_spike", "n_steps": 24},
    "network": {"method": "sstdp", "layers": "12", "urgency": 1.0},
    "quantization": {"chip": "loihi1"},
    "training": {"epochs": 3, "batch_size": 16, "learning_rate": 2e-2, "seed": 3},
}
CODING = InputCoding(kind="first_spike")


def recipe(**sections):
    raw = copy.deepcopy(RECIPE)
    for section, values in sections.items():
        raw[section] |= values
    return OneSpikeRecipe.model_validate(raw)


def images(name, n, seed, n_classes=3):
    """Images of 6 x 6 pixels with a bright row for each class, grey and black around."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_classes, n)
    x = rng.random((n, 1, 6, 6)) * 0.4 * (rng.random((n, 1, 6, 6)) < 0.5)
    x[np.arange(n), 0, 2 * label] = 0.6 + 0.4 * rng.random((n, 6))
    return Split(name=name, x=x.astype(np.float32), label=label)


@pytest.fixture
def data():
    return DataSet(name="tiny", n_classes=3, train=images("tiny:train", 75, 0), test=images("tiny:test", 40, 1))


def train(settings, data, folder):
    return train_recipe(settings, data, folder, resume=False, device="cpu", progress=lambda *_: None)


@pytest.mark.parametrize(
    ("layers", "chip", "n_steps"),
    [
        ("12", "loihi1", 24),
        ("12", "loihi1", 80),
        ("6c3 mp2 8 do0.2", "loihi1", 80),
        ("6c3 mp2 8", "loihi2", 24),
        ("3c3 4c5/2", "loihi1", 24),
        ("3c3 4c5/2", "generic:4", 24),
        ("6c3 mp2 8", "generic:1", 24),
        ("6c3 mp2", "generic:2", 24),
        ("mp3", "loihi2", 24),
        ("5c3 mp2 mp2", "loihi1", 80),
        ("", "generic", 100),
    ],
)
def test_trained_lowered_and_run_they_are_the_same(layers, chip, n_steps, data, tmp_path):
    chip, _, width = chip.partition(":")
    bits = int(width) if width else None
    settings = recipe(
        network={"layers": layers},
        coding={"n_steps": n_steps},
        quantization={"chip": chip, "weight_bits": bits},
        training={"epochs": 1},
    )
    run = TrainingRun(settings, data)
    run.train(tmp_path, lambda *_: None, test=False)
    network, profile = run.network.train(), load_chip(chip, weight_bits=bits)
    graph, report = quantize(
        lower_network(network, n_steps=n_steps, coding=CODING, readout=readout_of(settings)), profile
    )
    x, label, index = data.test.x.reshape(40, *graph.inputs["input"].shape), data.test.label, np.arange(40)
    rasters = rasters_of(graph, x, index)
    verification = verify(graph, rasters, {"torch": lambda g, r: execute(network, g, r), "native": native})
    assert verification.identical, str(verification)
    result = simulate(graph, [(x, label, index)], until="decision")
    run.objective.eval()
    decision = run.objective.decide(run.objective.encode(data.test.x, index, CODING))
    assert np.array_equal(decision.predicted, result.predicted)
    assert np.array_equal(decision.decided, result.decided)
    assert np.array_equal(decision.step, result.decision_step)
    assert decision.decided.any()
    # Loihi 1 counts no spikes: each population that fires once was rewritten, by a pause or by inhibition.
    rewritten = [name for name, population in report.populations.items() if "max_spikes" in population.rewrite]
    assert rewritten == (list(graph.populations) if chip == "loihi1" else [])
    assert len(graph.projections) == len(graph.populations) * (2 if (chip, n_steps) == ("loihi1", 80) else 1)


def test_a_spike_too_late_is_noticed(data):
    settings = recipe(quantization={"chip": "generic"})
    network = build_network(settings, (1, 6, 6), 3)
    graph, _ = quantize(lower_network(network, n_steps=24, coding=CODING, readout=readout_of(settings)), settings.chip)
    with torch.no_grad():
        network.layers["hidden"].weight.mul_(0.97).add_(0.02)
    rasters = rasters_of(graph, data.test.x.reshape(40, 36), np.arange(40))
    assert not verify(graph, rasters, {"torch": lambda g, r: execute(network, g, r)}).identical
    with pytest.raises(OptionError, match="more than once"):
        execute(network, graph, {"input": np.ones((24, 1, 36), np.uint8)})


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"rule": "causal", "aim": "code", "weights": "positive", "sums": (4.0, 4.0)},
        {"rule": "stdp", "aim": "paper", "causal": 0.8, "anticausal": 0.2, "weights": "positive", "sums": (4.0, 4.0)},
    ],
)
@pytest.mark.parametrize("chip", ["none", "loihi1"])
def test_learning_improves_on_little_data(network, chip, data, tmp_path):
    published = "rule" in network
    training = {"epochs": 12, "optimizer": "sgd", "learning_rate": 0.1} if published else {"epochs": 8}
    settings = recipe(network=network, quantization={"chip": chip}, training=training)
    before = TrainingRun(settings, data)
    chance = before.accuracy(data.test, np.arange(40))
    summary = train(settings, data, tmp_path / "run")
    assert summary["test_accuracy"] > max(0.75, chance + 0.2)


def test_same_seed_same_bits(data, tmp_path):
    settings = recipe()
    first, second = train(settings, data, tmp_path / "a"), train(settings, data, tmp_path / "b")
    other = train(recipe(training={"seed": 4}), data, tmp_path / "c")
    assert first == second
    networks = [load_run(tmp_path / name)[1].state_dict() for name in "abc"]
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    assert not torch.equal(networks[0]["layers.hidden.weight"], networks[2]["layers.hidden.weight"])
    assert first != other


def test_the_last_batch_counts(data, tmp_path):
    # 75 samples less 15 for validation in batches of 16: 16 + 16 + 16 + 12, none dropped.
    run, sizes = TrainingRun(recipe(training={"epochs": 1}), data), []
    run.objective.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[1])))
    run.train(tmp_path, lambda *_: None, test=False)
    assert sizes == [16, 16, 16, 12]


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("sstdp")])
def test_a_shipped_recipe_learns_from_a_few_batches(name):
    settings = load_recipe(name)
    pixels = (3, 32, 32) if "cifar" in name else (1, 28, 28)
    rng = np.random.default_rng(0)
    network = build_network(settings, pixels, 10)
    objective = build_objective(settings, network)
    x, label = (rng.random((4, *pixels)) * (rng.random((4, *pixels)) < 0.5)).astype(np.float32), torch.arange(4)
    objective(objective.encode(x, np.arange(4), CODING), label).backward()
    for layer in network.neurons().values():
        assert layer.weight.grad.isfinite().all()
        assert layer.weight.grad.abs().sum() > 0
    assert {10} == {layer.geometry.outputs for layer in list(network.neurons().values())[-1:]}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"coding": {"kind": "rate"}}, "needs coding 'first_spike'"),
        ({"network": {"layers": "8rec"}}, "no recurrent layers"),
        ({"network": {"layers": "mp2 do0.5"}}, "follows it"),
        ({"training": {"additions_weight": 0.1}}, "additions_weight = .* is for methods stl, sl and tl"),
        ({"network": {"rule": "causal"}}, "use margin with evidence"),
        ({"network": {"weights": "positive"}}, "need 2 sums"),
    ],
)
def test_what_does_not_go_together_is_refused(sections, message):
    with pytest.raises(ValueError, match=message):
        recipe(**sections)


@pytest.mark.parametrize(
    ("layers", "pixels", "says"),
    [
        ("4c3 mp2 mp2 mp2", (1, 6, 6), r"nothing is left of \(1, 6, 6\) after pool3"),
        ("8c3", (36,), "conv1 needs rows and columns"),
        ("mp2", (36,), "pool1 needs rows and columns"),
        ("60000 60000", (36,), "weights up to hidden2"),
        ("6c3 mp6 8c1 4c3", (1, 6, 6), "conv2 sees a single pixel"),
        ("6c3 mp6 8c1 mp1", (1, 6, 6), "conv2 sees a single pixel"),
    ],
)
def test_a_network_that_does_not_fit_its_samples_is_refused(layers, pixels, says):
    with pytest.raises(RecipeError, match=says):
        build_network(recipe(network={"layers": layers}), pixels, 3)
