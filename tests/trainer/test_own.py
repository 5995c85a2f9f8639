"""A module of one's own, from training to verify, and data in memory."""

import re

import pytest
import torch
from torch import nn

from spikegraph import stages
from spikegraph.export.errors import FileFormatError, GraphError, OptionError, RecipeError
from spikegraph.trainer.folder import load_run
from spikegraph.trainer.modules import LIF

RECIPE = {
    "name": "mine",
    "data": {"set": "in memory", "validation": 0.2},
    "coding": {"kind": "rate", "n_steps": 5},
    "network": {"method": "module", "neurons_per_class": 2},
    "quantization": {"chip": "loihi1"},
    "training": {"epochs": 3, "float_epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "seed": 3},
}


class Net(nn.Module):
    def __init__(self, n_out=6):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.hidden = LIF(tau_mem=5e-3, v_threshold=0.5, threshold_per="channel", threshold_noise=0.1)
        self.flatten, self.linear, self.out = nn.Flatten(), nn.Linear(64, n_out), LIF(tau_mem=5e-3, v_threshold=0.5)

    def forward(self, s):
        return self.out(self.linear(self.flatten(self.hidden(self.norm(self.conv(s))))))


def changed(**sections):
    return RECIPE | {name: RECIPE[name] | values for name, values in sections.items()}


@pytest.fixture
def run(tiny, tmp_path):
    stages.train(RECIPE, tmp_path / "run", data=tiny, module=Net)
    return tmp_path / "run"


def test_it_goes_through_every_stage(tiny, run, tmp_path):
    exported = stages.export(run, tmp_path / "net.h5", module=Net)
    assert list(exported.graph.populations) == ["hidden", "out"]
    assert exported.graph.readout.neurons_per_class == 2
    assert exported.graph.provenance["data"] == "tiny:train"
    assert stages.simulate(tmp_path / "net.h5", tiny.test).accuracy > 0.5
    proof = stages.verify(tmp_path / "net.h5", ["torch", "native"], tiny.test, module=Net)
    assert proof.identical
    assert [comparison.place for comparison in proof.verification.comparisons] == ["torch", "native"]
    assert proof.verification.comparisons[0].n_samples == len(tiny.test)


def test_the_seed_of_the_recipe_draws_its_weights(tiny, run, tmp_path):
    torch.manual_seed(99)  # whatever the generator stands at
    stages.train(RECIPE, tmp_path / "again", data=tiny, module=Net)
    stages.train(changed(training={"seed": 4}), tmp_path / "other", data=tiny, module=Net)
    folders = (run, tmp_path / "again", tmp_path / "other")
    state, again, other = (load_run(folder, Net)[1].state_dict() for folder in folders)
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert not torch.equal(state["module.linear.weight"], other["module.linear.weight"])


def test_it_goes_on_to_the_same_bits(tiny, run, tmp_path, monkeypatch):
    from spikegraph.trainer import loop

    save = loop.TrainingRun._save

    def saved_and_stopped(run, path):
        save(run, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop.TrainingRun, "_save", saved_and_stopped)
        with pytest.raises(KeyboardInterrupt):
            stages.train(RECIPE, tmp_path / "stopped", data=tiny, module=Net)
    summary = stages.train(RECIPE, tmp_path / "stopped", data=tiny, module=Net, resume=True)
    assert summary["epochs"] == 3
    one, other = (folder / "checkpoint.safetensors" for folder in (run, tmp_path / "stopped"))
    assert one.read_bytes() == other.read_bytes()


def test_a_run_without_its_module_is_told_where_it_belongs(tiny, run, tmp_path):
    words = re.escape("is a module of your own (method 'module'); from Python, hand over the class")
    with pytest.raises(RecipeError, match=words):
        stages.train(RECIPE, tmp_path / "none", data=tiny)
    with pytest.raises(RecipeError, match=words):
        stages.export(run, tmp_path / "net.h5")
    stages.export(run, tmp_path / "net.h5", module=Net)
    with pytest.raises(RecipeError, match=words):
        stages.verify(tmp_path / "net.h5", ["torch"], tiny.test)
    with pytest.raises(FileFormatError, match="is no checkpoint of this network"):
        stages.export(run, tmp_path / "net.h5", module=lambda: nn.Sequential(Net(16), nn.Linear(16, 6), LIF()))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        (Net(), RecipeError, "is made already, its weights not drawn from the recipe's seed"),
        (lambda: "net", RecipeError, "gave a str in place of a torch.nn.Module"),
        (
            lambda: Net(3),
            RecipeError,
            r"of \(3,\) neurons; end it in one population \(6,\): 3 classes",
        ),
        (lambda: nn.Sequential(nn.Conv2d(1, 6, 4), LIF()), RecipeError, r"returns the spikes of \(6, 1, 1\) neurons"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU()), GraphError, "ReLU"),
    ],
)
def test_modules_that_do_not_fit(tiny, tmp_path, module, error, words):
    with pytest.raises(error, match=words):
        stages.train(RECIPE, tmp_path / "run", data=tiny, module=module)
    assert not (tmp_path / "run").exists()


def test_a_recipe_with_layers_takes_no_module(tiny, tmp_path):
    recipe = changed(network={"method": "stl", "layers": "8", "tau_mem": 5e-3})
    with pytest.raises(RecipeError, match="the recipe has a network, method 'stl'; leave it out, or say"):
        stages.train(recipe, tmp_path / "run", data=tiny, module=Net)


def test_what_does_not_go_with_the_data_is_refused_before_anything_is_written(tiny, tmp_path):
    for section in ({"coding": {"kind": "events"}}, {"data": {"drop": 0.2}}):
        with pytest.raises(Exception, match="pixels") as caught:
            stages.train(changed(**section), tmp_path / "run", data=tiny, module=Net)
        assert caught.value.__class__.__module__ == OptionError.__module__
        assert not (tmp_path / "run").exists()


def test_a_run_with_other_settings_is_told_apart(tiny, run):
    with pytest.raises(OptionError) as caught:
        stages.train(changed(training={"seed": 4, "epochs": 5}), run, data=tiny, module=Net, resume=True)
    assert "holds a run with other settings (training.epochs 3 and 5, training.seed 3 and 4)" in str(caught.value)
    assert f"spikegraph train {run / 'recipe.toml'} --out {run} --resume" in str(caught.value)
