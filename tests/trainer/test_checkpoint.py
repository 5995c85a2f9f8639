"""Checkpoints: a round trip that loses nothing, no pickle, and refusals that leave no half-written file."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from spikegraph.export.errors import FileFormatError, SpikegraphError
from spikegraph.trainer import checkpoint
from spikegraph.trainer.checkpoint import load_checkpoint, read_progress, save_checkpoint
from spikegraph.trainer.layers import SpikingDense
from spikegraph.trainer.network import SpikingNetwork

PROGRESS = {"history": [{"epoch": 1, "loss": 0.1 + 0.2, "validation_accuracy": 0.5}], "n_in": 4, "n_classes": 2}


def make(seed=0, hidden=5):
    torch.manual_seed(seed)
    network = SpikingNetwork(
        {
            "hidden": SpikingDense(4, hidden, tau_mem=5e-3, threshold_per="neuron"),
            "output": SpikingDense(hidden, 2, tau_mem=5e-3),
        }
    )
    return network, torch.optim.AdamW(network.parameters(), lr=1e-2)


def step(network, optimizer, n=2):
    torch.manual_seed(9)
    s = (torch.rand(6, 3, 4) < 0.5).float()
    for _ in range(n):
        optimizer.zero_grad()
        network(s)[1].square().mean().backward()
        optimizer.step()


@pytest.fixture
def saved(tmp_path):
    network, optimizer = make()
    step(network, optimizer)
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, network, optimizer, PROGRESS)
    return path, network, optimizer


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_round_trip(saved):
    path, network, optimizer = saved
    other, other_optimizer = make(seed=1)
    assert load_checkpoint(path, other, other_optimizer) == PROGRESS == read_progress(path)
    assert same(network.state_dict(), other.state_dict())
    states, other_states = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert len(states) == 6
    assert all(same(states[index], other_states[index]) for index in states)
    for each in ((network, optimizer), (other, other_optimizer)):  # and goes on alike
        step(*each)
    assert same(network.state_dict(), other.state_dict())


def test_loading_without_an_optimizer(saved):
    path, network, _ = saved
    other, _ = make(seed=1)
    load_checkpoint(path, other)
    assert same(network.state_dict(), other.state_dict())


def test_same_state_same_bytes(saved, tmp_path):
    path, network, optimizer = saved
    save_checkpoint(tmp_path / "again.safetensors", network, optimizer, PROGRESS)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_nothing_is_pickled(saved, monkeypatch):
    path, *_ = saved

    def refuse(*args, **kwargs):
        raise AssertionError("pickle")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    load_checkpoint(path, *make())
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert isinstance(json.loads(path.read_bytes()[8 : 8 + header]), dict)


def test_a_pickle_is_refused(saved):
    path, network, _ = saved
    torch.save(network.state_dict(), path)
    with pytest.raises(FileFormatError, match="is no checkpoint"):
        load_checkpoint(path, network)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated(saved, keep):
    path, *_ = saved
    path.write_bytes(path.read_bytes()[:keep])
    network, optimizer = make(seed=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(FileFormatError, match="is no checkpoint"):
        load_checkpoint(path, network, optimizer)
    assert same(before, network.state_dict())
    assert not optimizer.state_dict()["state"]


def test_there_is_none(tmp_path):
    with pytest.raises(FileFormatError, match="there is no checkpoint; train first"):
        read_progress(tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"progress": "not JSON"},
        {"progress": "[]"},
        {"progress": "{}"},
        {"progress": json.dumps({**PROGRESS, "history": 3})},
        {"progress": json.dumps({**PROGRESS, "n_in": "many"})},
        {"progress": json.dumps({**PROGRESS, "n_classes": 0})},
    ],
)
def test_foreign_safetensors(saved, metadata):
    path, network, _ = saved
    save_file(load_file(path), path, metadata=metadata)
    for load in (lambda: read_progress(path), lambda: load_checkpoint(path, network)):
        with pytest.raises(FileFormatError, match="is no checkpoint"):
            load()


@pytest.mark.parametrize("hidden", [4, 6])
def test_another_network(saved, hidden):
    path, *_ = saved
    with pytest.raises(FileFormatError, match="is no checkpoint of this network"):
        load_checkpoint(path, *make(hidden=hidden))


def spoiled(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"progress": json.dumps(PROGRESS)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["network.layers.hidden.weight", "optimizer.0.exp_avg"])
def test_not_finite(saved, name, value):
    path, *_ = saved
    spoiled(path, lambda tensors: tensors[name].view(-1)[:1].fill_(value))
    with pytest.raises(FileFormatError, match="holds NaN or infinity; train again with a smaller learning rate"):
        load_checkpoint(path, *make())


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("network.layers.output.bias"),
        lambda tensors: tensors.pop("optimizer.0.exp_avg"),
        lambda tensors: tensors.update({"optimizer.x.exp_avg": torch.zeros(1)}),
        lambda tensors: tensors.update({"optimizer.99.exp_avg": torch.zeros(1)}),
        lambda tensors: tensors.update({"optimizer.1": torch.zeros(1)}),
        lambda tensors: tensors.update({"optimizer.0.exp_avg": torch.zeros(3, 3)}),
        lambda tensors: tensors.update({"network.more": torch.zeros(1)}),
    ],
)
def test_tensors_that_do_not_belong(saved, change):
    path, *_ = saved
    spoiled(path, change)
    with pytest.raises(FileFormatError, match="is no checkpoint of this network"):
        load_checkpoint(path, *make())


@pytest.mark.parametrize("error", [OSError("No space left on device"), SafetensorError("I/O error: No space left")])
def test_no_half_written_file(saved, monkeypatch, error):
    path, network, optimizer = saved
    before = path.read_bytes()

    def half(tensors, to, metadata):
        to.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", half)
    step(network, optimizer)
    with pytest.raises(SpikegraphError, match=r"cannot be written \(.*No space left.*\); make room"):
        save_checkpoint(path, network, optimizer, PROGRESS)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_stopped_while_saving(saved, monkeypatch):
    path, network, optimizer = saved
    before = path.read_bytes()

    def stop(tensors, to, metadata):
        to.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, network, optimizer, PROGRESS)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
