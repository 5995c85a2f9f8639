"""The training loop: the same bits every time, stopped and resumed or not, and nothing learned from the test split."""

from __future__ import annotations

import csv
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from spikegraph.export.errors import DataError, FileFormatError, GraphError, OptionError, SpikegraphError
from spikegraph.export.quantize import quantize
from spikegraph.hwsim.simulate import simulate
from spikegraph.trainer import method
from spikegraph.trainer.data import DataSet, Split, load_data
from spikegraph.trainer.folder import RECIPE, load_run, train_recipe
from spikegraph.trainer.log import CsvLog
from spikegraph.trainer.loop import CHECKPOINT, LOG, SUMMARY, TrainingRun, readout_of
from spikegraph.trainer.losses import additions
from spikegraph.trainer.lower import lower
from spikegraph.trainer.objective import Objective
from spikegraph.trainer.recipe import load_recipe

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


class Killed(BaseException):
    """What stops a run from outside."""


def train(recipe, data, folder, *, resume=False, device="cpu", progress=lambda *_: None, **options):
    return train_recipe(recipe, data, folder, resume=resume, device=device, progress=progress, **options)


def kill_in(epoch, batch=2):
    def progress(what, done, total):
        if (what.startswith(f"epoch {epoch}/"), done) == (True, batch):
            raise Killed

    return progress


def files(folder):
    """Content of each file by name; the log without the seconds that it took."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    if LOG in found:
        found[LOG] = b"\n".join(line.rpartition(b",")[0] for line in found[LOG].splitlines())
    return found


SETTINGS = {
    "integers": {},
    "floats": {"quantization": {"chip": "none"}},
    "direct, membrane": {
        "coding": {"kind": "direct", "max_value": 7},
        "network": {"readout": "membrane", "reset": "subtract"},
        "quantization": {"chip": "loihi2"},
    },
    "first spike, pauses": {"coding": {"kind": "first_spike"}, "network": {"refractory_steps": 2}},
    "augmented": {"data": {"shift": 1, "flip": True, "rotate": 10, "scale": 0.1, "erase": 1}},
    "no hidden layer": {"network": {"layers": ""}},
    "SGD, the best epoch": {
        "training": {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1, "keep": "best", "gradient_clip": 0.5}
    },
    "float16": {"quantization": {"chip": "none"}, "training": {"precision": "float16", "gradient_clip": 1.0}},
    "floats, then integers": {
        "network": {"layers": "3c3 mp2 do0.5 6", "batch_norm": True, "threshold_per": "channel"},
        "training": {"float_epochs": 2, "keep": "best", "precision": "bfloat16", "additions_weight": 0.5},
    },
    "SGD without momentum, warm-up": {"training": {"optimizer": "sgd", "warmup_epochs": 2}},
    "Adam, in steps, MSE, patience": {
        "training": {
            "optimizer": "adam",
            "weight_decay": 1e-3,
            "schedule": "step",
            "decay": 0.5,
            "decay_every": 2,
            "loss": "mse",
            "patience": 1,
            "keep": "best",
            "epochs": 9,
        }
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_bits_every_time_stopped_or_not(tmp_path, tiny, make_recipe, name):
    recipe = make_recipe(**SETTINGS[name])
    whole = train(recipe, tiny, tmp_path / "whole")
    assert train(recipe, tiny, tmp_path / "again") == whole
    for epoch in (1, 3):
        with pytest.raises(Killed):
            train(recipe, tiny, tmp_path / "stopped", resume=True, progress=kill_in(epoch))
    assert not (tmp_path / "stopped" / SUMMARY).exists()
    assert train(recipe, tiny, tmp_path / "stopped", resume=True) == whole
    assert files(tmp_path / "whole").keys() == {CHECKPOINT, RECIPE, LOG, SUMMARY}
    assert files(tmp_path / "whole") == files(tmp_path / "again") == files(tmp_path / "stopped")


def test_stopped_between_two_files(tmp_path, tiny, make_recipe, monkeypatch):
    train(make_recipe(), tiny, tmp_path / "whole")

    def stop(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(CsvLog, "write", stop)
        with pytest.raises(Killed):
            train(make_recipe(), tiny, tmp_path / "stopped")
    train(make_recipe(), tiny, tmp_path / "stopped", resume=True)
    assert files(tmp_path / "whole") == files(tmp_path / "stopped")


def test_resuming_a_run_that_is_done(tmp_path, tiny, make_recipe):
    summary = train(make_recipe(), tiny, tmp_path)
    before = files(tmp_path)
    assert train(make_recipe(), tiny, tmp_path, resume=True) == summary
    assert files(tmp_path) == before


def test_another_seed_other_bits(tmp_path, tiny, make_recipe):
    train(make_recipe(), tiny, tmp_path / "a")
    train(make_recipe(training={"seed": 4}), tiny, tmp_path / "b")
    assert files(tmp_path / "a")[CHECKPOINT] != files(tmp_path / "b")[CHECKPOINT]


def test_it_learns(tmp_path, tiny, make_recipe):
    for chip in ("loihi1", "none"):
        summary = train(make_recipe(quantization={"chip": chip}, training={"epochs": 25}), tiny, tmp_path / chip)
        assert summary["test_accuracy"] >= 0.8  # of three classes
        assert summary["n_test"] == 30


def test_what_is_left_in_the_folder(tmp_path, tiny, make_recipe):
    recipe = make_recipe()
    summary = train(recipe, tiny, tmp_path)
    assert load_recipe(tmp_path / RECIPE) == recipe
    assert json.loads((tmp_path / SUMMARY).read_text()) == summary
    rows = list(csv.DictReader((tmp_path / LOG).read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["validation_accuracy"]) == summary["validation_accuracy"]
    assert float(rows[0]["loss"]) > float(rows[-1]["loss"])


def test_the_log_tells_accuracy_and_additions_of_training(tmp_path, tiny, make_recipe):
    """At a learning rate of almost 0 the network stays, and the figures of an epoch are those of its last state."""
    run = TrainingRun(make_recipe(training={"learning_rate": 1e-30, "epochs": 1}), tiny)
    seeds, encode = [], run.objective.encode
    run.objective.encode = lambda x, index, coding: seeds.append(coding) or encode(x, index, coding)
    run.train(tmp_path, lambda *_: None)
    encoded = encode(tiny.train.x[run.used], run.used, seeds[0])
    with torch.no_grad():
        s = run.network(encoded).s
    (row,) = csv.DictReader((tmp_path / LOG).read_text().splitlines())
    assert float(row["additions"]) == pytest.approx(float(additions(s, run.objective.fan_out)))
    right = s["output"].sum(dim=0).argmax(dim=1).numpy() == tiny.train.label[run.used]
    assert float(row["train_accuracy"]) == pytest.approx(right.mean())


@pytest.mark.parametrize("chip", ["none", "loihi2"])
def test_a_membrane_readout_trains_what_it_decides_by(tiny, make_recipe, chip):
    """Potentials, whatever the thresholds, which differ here by half."""
    network = {"readout": "membrane", "threshold_noise": 0.5, "threshold_per": "neuron"}
    run = TrainingRun(make_recipe(network=network, quantization={"chip": chip}), tiny)
    encoded = run.objective.encode(tiny.test.x, np.arange(30), run.coding)
    decision = run.objective.decide(encoded)
    for label in range(3):
        run.objective(encoded, torch.full((30,), label))
        assert float(run.objective.figures["train_accuracy"]) == pytest.approx((decision.predicted == label).mean())


def test_a_last_batch_without_a_variance_is_refused_before_training(tiny, make_recipe):
    """48 samples are left to train on, and the last batch of 47 has one, of which a map of 1 x 1 is one value."""
    one_value = {"layers": "2c3 mp2 2c3 mp2 2c3", "batch_norm": True}
    for recipe in (
        make_recipe(network=one_value, quantization={"chip": "none"}, training={"batch_size": 47}),
        make_recipe(network=one_value, training={"batch_size": 47, "float_epochs": 1}),
    ):
        with pytest.raises(
            OptionError, match=r"its batch norm sees a single value of each channel.*; choose a batch_size"
        ):
            TrainingRun(recipe, tiny)
    TrainingRun(make_recipe(network=one_value, training={"batch_size": 47}), tiny)  # takes no statistics
    run = TrainingRun(make_recipe(network=one_value, quantization={"chip": "none"}), tiny)
    run.network(torch.zeros(1, 2, 1, 4, 4))
    with pytest.raises(OptionError, match="its batch norm sees a single value"):
        run.network(torch.zeros(1, 1, 1, 4, 4))
    run.network.eval()(torch.zeros(1, 1, 1, 4, 4))


def test_load_run_gives_the_trained_network(tmp_path, tiny, make_recipe):
    summary = train(make_recipe(), tiny, tmp_path)
    recipe, network = load_run(tmp_path)
    run = TrainingRun(recipe, tiny)
    run.network.load_state_dict(network.state_dict())
    assert run.accuracy(tiny.test, np.arange(30)) == summary["test_accuracy"]


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize(("killed_in", "are_trained"), [(2, False), (3, False), (4, True)])
def test_clips_of_a_run_that_was_stopped_in_floats_fit_its_weights(
    tmp_path, tiny, make_recipe, keep, killed_in, are_trained
):
    """Two bits, two epochs in floats: until the third is done, no clip is trained."""
    settings = {"float_epochs": 2, "keep": keep, "learning_rate": 0.1}
    recipe = make_recipe(quantization={"chip": "generic", "weight_bits": 2}, training=settings)
    with pytest.raises(Killed):
        train(recipe, tiny, tmp_path, progress=kill_in(killed_in))
    _, network = load_run(tmp_path)
    loaded = {name: share.item() for name, share in network.clip_shares.items()}
    network.fit_clips()
    fitted = {name: share.item() for name, share in network.clip_shares.items()}
    assert fitted.keys() == {"0_0", "1_0"}
    assert (loaded == fitted) != are_trained


def test_load_run_of_a_folder_that_is_none(tmp_path, tiny, make_recipe):
    with pytest.raises(OptionError, match=f"is no training run: it has no {RECIPE}"):
        load_run(tmp_path)
    with pytest.raises(Killed):
        train(make_recipe(), tiny, tmp_path, progress=kill_in(1))
    with pytest.raises(FileFormatError, match="there is no checkpoint"):
        load_run(tmp_path)


def test_an_existing_run_is_not_overwritten(tmp_path, tiny, make_recipe):
    train(make_recipe(), tiny, tmp_path)
    before = files(tmp_path)
    with pytest.raises(OptionError, match="holds a training run already; add --resume"):
        train(make_recipe(), tiny, tmp_path)
    for settings in ({"training": {"epochs": 9}}, {"network": {"layers": "9"}}, {"quantization": {"chip": "loihi2"}}):
        with pytest.raises(OptionError, match="holds a run with other settings"):
            train(make_recipe(**settings), tiny, tmp_path, resume=True)
    assert files(tmp_path) == before


def test_a_run_without_a_checkpoint_starts_over(tmp_path, tiny, make_recipe):
    """What was stopped in its first epoch holds nothing worth keeping, also with other settings."""
    with pytest.raises(Killed):
        train(make_recipe(), tiny, tmp_path / "a", progress=kill_in(1))
    assert files(tmp_path / "a").keys() == {RECIPE}
    train(make_recipe(training={"seed": 8}), tiny, tmp_path / "a")
    train(make_recipe(training={"seed": 8}), tiny, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_folder_that_cannot_be_made(tmp_path, tiny, make_recipe):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OptionError, match="choose another --out"):
            train(make_recipe(), tiny, out)


def test_one_sample_cannot_be_shared_with_validation(tmp_path, tiny, make_recipe):
    data = replace(tiny, train=tiny.train.first(1))
    with pytest.raises(DataError, match="tiny: has 1 training sample, and at least 2 are needed"):
        train(make_recipe(), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("chip", ["none", "loihi1"])
def test_training_that_blows_up(tmp_path, tiny, make_recipe, chip):
    recipe = make_recipe(quantization={"chip": chip}, training={"learning_rate": 1e30, "weight_decay": 1e6})
    with pytest.raises(
        SpikegraphError, match=r"^epoch 1: the loss is .*not finite; train with a smaller learning rate"
    ) as caught:
        train(recipe, tiny, tmp_path)
    assert caught.type is SpikegraphError
    assert files(tmp_path).keys() == {RECIPE}


@pytest.mark.parametrize("chip", ["none", "loihi1"])
def test_a_learning_rate_far_too_large_leaves_numbers(tmp_path, tiny, make_recipe, chip):
    # Adam's steps are bounded, so the weights become ±1e30: useless, but finite, and the accuracy tells.
    summary = train(make_recipe(quantization={"chip": chip}, training={"learning_rate": 1e30}), tiny, tmp_path)
    assert summary["test_accuracy"] < 0.8
    load_run(tmp_path)


def test_a_loss_that_is_no_number(tmp_path, tiny, make_recipe, monkeypatch):
    monkeypatch.setattr(TrainingRun, "_epoch", lambda *_: {"loss": float("nan")})
    with pytest.raises(SpikegraphError, match=r"^epoch 1: the loss is nan; train with a smaller learning rate"):
        train(make_recipe(), tiny, tmp_path)


def test_a_lost_parameter_is_an_error_though_the_loss_is_finite(tmp_path, tiny, make_recipe):
    with pytest.raises(Killed):
        train(make_recipe(), tiny, tmp_path, progress=kill_in(3))
    before = files(tmp_path)
    run = TrainingRun(make_recipe(), tiny)
    run.history = [{"epoch": 1}]

    def lose(what, done, total):
        if done == total:
            with torch.no_grad():
                next(iter(run.network.parameters())).view(-1)[0] = float("nan")

    with pytest.raises(
        SpikegraphError, match=r"epoch 2: the loss is \d.*, and module\.hidden_synapses\.weight not finite"
    ):
        run.train(tmp_path, lose)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"coding": {"kind": "direct"}}, "graded input"),
        ({"network": {"reset": "subtract"}}, "reset = 'subtract'"),
        ({"network": {"refractory_steps": 64}}, "refractory_steps = 64"),
    ],
)
def test_what_the_chip_cannot_hold_is_refused_before_training(tmp_path, tiny, make_recipe, settings, says):
    with pytest.raises(GraphError, match=says):
        train(make_recipe(**settings), tiny, tmp_path / "out", progress=kill_in(1, 1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "device",
    [
        "gpu",
        "",
        "meta",
        "cpu:x",
        pytest.param("cuda", marks=NO_CUDA),
        pytest.param("cuda:0", marks=NO_CUDA),
        "cuda:4096" if torch.cuda.is_available() else "cuda:1",
    ],
)
def test_a_device_that_is_not_there(tmp_path, tiny, make_recipe, device):
    with pytest.raises(OptionError, match=f"--device: '{device}'.*; use cpu"):
        train(make_recipe(), tiny, tmp_path / "out", device=device)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stopped", [False, True])
def test_threads_are_left_as_they_were(tmp_path, tiny, make_recipe, stopped):
    before, inside = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:

        def progress(what, done, total):
            inside.append(torch.get_num_threads())
            if stopped:
                raise Killed

        if stopped:
            with pytest.raises(Killed):
                train(make_recipe(), tiny, tmp_path, progress=progress)
        else:
            train(make_recipe(), tiny, tmp_path, progress=progress)
        assert set(inside) == {1}  # a network this small
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_random_state_of_torch_is_left_as_it_was(tmp_path, tiny, make_recipe):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    train(make_recipe(), tiny, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def spy_on_samples(monkeypatch):
    """Record which samples of which split each forward pass reads, in training and out of it."""
    trained, judged = set(), set()
    encode = Objective.encode

    def spy(self, x, index, coding):
        (trained if self.training else judged).update(int(i) for i in index)
        return encode(self, x, index, coding)

    monkeypatch.setattr(Objective, "encode", spy)
    return trained, judged


def test_validation_is_disjoint_from_what_is_trained_on(tmp_path, tiny, make_recipe, monkeypatch):
    trained, judged = spy_on_samples(monkeypatch)
    run = TrainingRun(make_recipe(), replace(tiny, test=tiny.test.first(1)))
    run.train(tmp_path, lambda *_: None)
    assert len(trained) == len(run.used) == 48
    assert len(run.held_out) == 12  # 0.2 of 60
    assert trained.isdisjoint(run.held_out)
    assert judged == {*run.held_out.tolist(), 0}  # and the one test sample
    assert trained | set(run.held_out.tolist()) == set(range(60))


@pytest.mark.parametrize("share", [1e-9, 0.99999])
def test_neither_part_is_ever_empty(tiny, make_recipe, share):
    run = TrainingRun(make_recipe(data={"validation": share}), tiny)
    assert (len(run.held_out), len(run.used)) == ((1, 59) if share < 0.5 else (59, 1))


def test_the_test_split_changes_no_weight(tmp_path, tiny, make_recipe):
    rng = np.random.default_rng(7)
    other = Split(name="tiny:test", x=rng.random((5, 1, 4, 4), np.float32), label=rng.integers(0, 3, 5))
    summaries = [
        train(make_recipe(), DataSet(name="tiny", n_classes=3, train=tiny.train, test=test), tmp_path / name)
        for name, test in (("a", tiny.test), ("b", other))
    ]
    for name in (CHECKPOINT, LOG, RECIPE):
        assert files(tmp_path / "a")[name] == files(tmp_path / "b")[name]
    assert summaries[0]["validation_accuracy"] == summaries[1]["validation_accuracy"]
    assert summaries[0]["n_test"] != summaries[1]["n_test"]


def test_each_epoch_draws_its_own_spikes_and_validation_the_same(tmp_path, tiny, make_recipe, monkeypatch):
    seeds = {True: [], False: []}
    encode = Objective.encode

    def spy(self, x, index, coding):
        seeds[self.training].append(coding.seed)
        return encode(self, x, index, coding)

    monkeypatch.setattr(Objective, "encode", spy)
    train(make_recipe(), tiny, tmp_path)
    assert len(set(seeds[True])) == 4
    assert set(seeds[False]) == {3}  # the recipe's


@pytest.mark.parametrize("chip", ["loihi1", "none"])
@pytest.mark.parametrize(
    ("method", "thresholds", "weights"), [("stl", True, True), ("sl", False, True), ("tl", True, False)]
)
def test_what_each_method_trains(tmp_path, tiny, make_recipe, chip, method, thresholds, weights):
    recipe = make_recipe(network={"method": method}, quantization={"chip": chip})
    before = TrainingRun(recipe, tiny).network.state_dict()
    train(recipe, tiny, tmp_path)
    _, network = load_run(tmp_path)
    for name, value in network.state_dict().items():
        trained = thresholds if name.endswith("v_threshold") else weights
        assert bool((value != before[name]).any()) == trained, name


@pytest.mark.parametrize("chip", ["loihi1", "none"])
def test_no_bias_where_none_is_wanted(tmp_path, tiny, make_recipe, chip):
    train(make_recipe(network={"bias": False}, quantization={"chip": chip}), tiny, tmp_path)
    _, network = load_run(tmp_path)
    assert not [name for name in network.state_dict() if "bias" in name]


def test_digits_in_a_few_epochs(tmp_path):
    """Real digits, both arithmetics: far above chance after two epochs, and close to each other."""
    digits, recipe = load_data("digits"), load_recipe("stl-digits")
    accuracy = {
        chip: train(recipe.changed(epochs=3, chip=chip), digits, tmp_path / chip)["test_accuracy"]
        for chip in ("loihi1", "none")
    }
    assert min(accuracy.values()) > 0.85
    assert abs(accuracy["loihi1"] - accuracy["none"]) < 0.05


def test_each_batch_has_the_learning_rate_of_its_place(tmp_path, tiny, make_recipe):
    """Three batches an epoch: the warm-up climbs with each, the cosine falls with each epoch."""
    run, rates = TrainingRun(make_recipe(training={"warmup_epochs": 1, "epochs": 4}), tiny), []
    run.train(tmp_path, lambda *_: rates.append(run.stepper.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([0.01 / 3, 0.02 / 3, 0.01] + [0.01] * 3 + [0.0075] * 3 + [0.0025] * 3)
    logged = csv.DictReader((tmp_path / LOG).read_text().splitlines())
    assert [float(row["learning_rate"]) for row in logged] == rates[2::3]


def accuracies(monkeypatch, *of_epochs):
    """Let validation say these, one an epoch, and the test split 0.5."""
    left = list(of_epochs)
    monkeypatch.setattr(TrainingRun, "accuracy", lambda run, split, _: left.pop(0) if split is run.data.train else 0.5)


def states(run):
    """Return a progress callback that notes the network's state at the end of each epoch."""
    seen = []

    def note(what, done, total):
        if done == total:
            seen.append({name: tensor.clone() for name, tensor in run.network.state_dict().items()})

    return seen, note


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("keep", "kept"), [("best", 2), ("last", 4)])
def test_patience_and_the_epoch_that_is_kept(tmp_path, tiny, make_recipe, monkeypatch, keep, kept):
    # The best is epoch 2 (a tie with epoch 3 does not count as better); two epochs later the patience ends.
    run = TrainingRun(make_recipe(training={"epochs": 9, "patience": 2, "keep": keep}), tiny)
    accuracies(monkeypatch, 0.2, 0.6, 0.6, 0.5, 0.9)
    seen, note = states(run)
    (tmp_path / RECIPE).write_text(run.recipe.to_toml())
    summary = run.train(tmp_path, note)
    assert (summary["epochs"], summary["kept_epoch"]) == (4, kept)
    assert summary["validation_accuracy"] == {2: 0.6, 4: 0.5}[kept]
    assert not same(seen[1], seen[3])
    assert same(run.network.state_dict(), seen[kept - 1])  # what the test split was judged with
    assert same(load_run(tmp_path)[1].state_dict(), seen[kept - 1])  # what is exported


def test_the_best_epoch_is_remembered_by_a_run_that_goes_on(tmp_path, tiny, make_recipe, monkeypatch):
    recipe = make_recipe(training={"keep": "best"})
    accuracies(monkeypatch, 0.7, 0.1)
    with pytest.raises(Killed):
        train(recipe, tiny, tmp_path, progress=kill_in(3))
    best = load_run(tmp_path)[1].state_dict()
    accuracies(monkeypatch, 0.1, 0.2)
    assert train(recipe, tiny, tmp_path, resume=True)["kept_epoch"] == 1
    assert same(load_run(tmp_path)[1].state_dict(), best)


def test_gradients_are_clipped_all_together(tmp_path, tiny, make_recipe, monkeypatch):
    """With plain SGD at a constant rate 0.1 a step is no longer than 0.1 · 1e-3."""
    settings = {"optimizer": "sgd", "schedule": "constant", "learning_rate": 0.1, "gradient_clip": 1e-3, "epochs": 1}
    run = TrainingRun(make_recipe(training=settings), tiny)
    before = torch.cat([p.detach().flatten() for p in run.stepper.parameters])
    lengths = []

    def note(*_):
        nonlocal before
        after = torch.cat([p.detach().flatten() for p in run.stepper.parameters])
        lengths.append(float((after - before).norm()))
        before = after

    run.train(tmp_path, note)
    assert lengths == pytest.approx([1e-4] * 3, rel=1e-2)  # three batches


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_and_keeps_float32_parameters(tmp_path, tiny, make_recipe, precision, monkeypatch):
    recipe = make_recipe(quantization={"chip": "none"}, training={"epochs": 25, "precision": precision})
    seen, linear = set(), torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *a: seen.add(linear(*a).dtype) or linear(*a))
    summary = train(recipe, tiny, tmp_path)
    assert seen == {getattr(torch, precision), torch.float32}  # in training; in validation and test
    assert summary["test_accuracy"] >= 0.8
    assert {tensor.dtype for tensor in load_run(tmp_path)[1].state_dict().values()} == {torch.float32}


def test_the_scale_of_float16_gradients_goes_on_where_it_was(tmp_path, tiny, make_recipe):
    recipe = make_recipe(quantization={"chip": "none"}, training={"precision": "float16"})
    run = TrainingRun(recipe, tiny)
    run.stepper.scaler.load_state_dict(run.stepper.scaler.state_dict() | {"scale": 8.0})
    run.train(tmp_path, lambda *_: None)
    other = TrainingRun(recipe, tiny)
    other.resume(tmp_path / CHECKPOINT)
    assert other.stepper.scaler.state_dict() == run.stepper.scaler.state_dict()
    assert other.stepper.scaler.state_dict() | {"scale": 8.0, "_growth_tracker": 12} == run.stepper.scaler.state_dict()


def test_floats_first_then_the_integers_of_the_chip(tmp_path, tiny, make_recipe):
    run = TrainingRun(make_recipe(training={"float_epochs": 3}), tiny)
    computed_in = []
    run.train(tmp_path, lambda *_: computed_in.append(run.network.chip and run.network.chip.name))
    assert computed_in == [None] * 9 + ["loihi1"] * 3  # three batches an epoch


NETWORKS = {"dense": {"layers": "8"}, "conv": {"layers": "3c3 mp2 4c3 ap2 6", "v_threshold": 0.2}}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
@pytest.mark.parametrize("coding", [{}, {"kind": "direct", "max_value": 5}], ids=["rate", "direct"])
def test_additions_are_those_that_the_simulator_counts(tiny, make_recipe, network, coding):
    recipe = make_recipe(network=network, coding=coding, quantization={"chip": "generic"})
    run = TrainingRun(recipe, tiny)
    graph, _ = quantize(
        lower(run.network, n_steps=5, coding=recipe.input_coding, readout=readout_of(recipe)), recipe.chip
    )
    x, index = tiny.test.x, np.arange(30)
    encoded = run.objective.encode(x, index, run.coding)
    counted = simulate(graph, [(x.reshape(30, *graph.inputs["input"].shape), tiny.test.label, index)])
    run.network.eval()
    with torch.no_grad():
        of_all = 30 * additions(run.network(encoded).s, run.objective.fan_out)
    assert round(float(of_all)) == round(30 * counted.counts.mean("sops")) > 0
    assert float(of_all) == pytest.approx(round(float(of_all)), rel=1e-12)


def test_a_weight_on_additions_makes_fewer(tmp_path, tiny, make_recipe):
    def additions_of(weight):
        run = TrainingRun(make_recipe(training={"additions_weight": weight, "epochs": 20}), tiny)
        run.train(tmp_path, lambda *_: None)
        encoded = run.objective.encode(tiny.test.x, np.arange(30), run.coding)
        with torch.no_grad():
            return float(additions(run.network(encoded).s, run.objective.fan_out))

    assert additions_of(30.0) < 0.9 * additions_of(0.0)


class Dice(Objective):
    """An objective with random numbers of torch's own, as dropout draws them."""

    def forward(self, encoded, label):
        return super().forward(encoded * torch.bernoulli(torch.full_like(encoded, 0.5)), label)


def test_dropout_follows_from_the_seed_and_the_epoch(tmp_path, tiny, make_recipe, monkeypatch):
    monkeypatch.setattr(method, "Objective", Dice)
    whole = train(make_recipe(), tiny, tmp_path / "whole")
    torch.rand(100)  # what torch drew before does not matter
    with pytest.raises(Killed):
        train(make_recipe(), tiny, tmp_path / "stopped", progress=kill_in(3))
    assert train(make_recipe(), tiny, tmp_path / "stopped", resume=True) == whole
    assert files(tmp_path / "whole") == files(tmp_path / "stopped")
    draws = []
    monkeypatch.setattr(torch, "bernoulli", lambda p: draws.append(torch.rand(())) or p)
    train(make_recipe(), tiny, tmp_path / "draws")
    assert len(set(draws)) == len(draws) == 12  # another one in each of 3 batches of 4 epochs


def test_the_log_keeps_the_seconds_of_epochs_before_a_stop(tmp_path, tiny, make_recipe):
    with pytest.raises(Killed):
        train(make_recipe(), tiny, tmp_path, progress=kill_in(3))
    text = (tmp_path / LOG).read_text().splitlines()
    (tmp_path / LOG).write_text("\n".join([text[0], text[1].rpartition(",")[0] + ",77.5"]) + "\n")
    train(make_recipe(), tiny, tmp_path, resume=True)
    seconds = [row["seconds"] for row in csv.DictReader((tmp_path / LOG).read_text().splitlines())]
    assert seconds[:2] == ["77.5", ""]
    assert all(float(second) < 70 for second in seconds[2:])


def test_curves_for_tensorboard(tmp_path, tiny, make_recipe):
    with pytest.raises(Killed):
        train(make_recipe(), tiny, tmp_path, progress=kill_in(3), tensorboard=True)
    train(make_recipe(), tiny, tmp_path, resume=True, tensorboard=True)
    curves = {}
    for path in sorted((tmp_path / "tensorboard").iterdir()):
        for event in events(path):
            for value in event.summary.value:
                curves.setdefault(value.tag, {})[event.step] = value.simple_value
    rows = list(csv.DictReader((tmp_path / LOG).read_text().splitlines()))
    assert curves.keys() == {"learning_rate", "loss", "train_accuracy", "additions", "validation_accuracy"}
    for name, points in curves.items():
        assert points == pytest.approx({int(row["epoch"]): float(row[name]) for row in rows}, rel=1e-6)


def events(path):
    """Read TensorBoard's records: length, its checksum, an event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, place = path.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield Event.FromString(content[place + 12 : place + 12 + length])
        place += length + 16
