"""Checkpoints: a round trip that loses nothing, no pickle, and refusals that leave no half-written file."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from networks import dense_network
from safetensors.torch import load_file, save_file

from spikegraph.export.errors import FileFormatError, SpikegraphError
from spikegraph.trainer import checkpoint
from spikegraph.trainer.checkpoint import load_checkpoint, read_progress, save_checkpoint

PROGRESS = {
    "history": [{"epoch": 1, "loss": 0.1 + 0.2, "validation_accuracy": 0.5}],
    "pixels": [1, 2, 2],
    "n_classes": 2,
}


def make(seed=0, hidden=5):
    torch.manual_seed(seed)
    network = dense_network(4, hidden, 2, tau_mem=5e-3, threshold_per="neuron")
    return network, torch.optim.AdamW(network.parameters(), lr=1e-2)


def step(network, optimizer, n=2):
    torch.manual_seed(9)
    s = (torch.rand(6, 3, 4) < 0.5).float()
    for _ in range(n):
        optimizer.zero_grad()
        network(s).v_before_reset["output"].square().mean().backward()
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


def test_changed_tensors_are_noticed(saved):
    path, *_ = saved
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # the last bit of a number: finite, and of the right shape
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="is damaged: its tensors are not those that were written"):
        load_checkpoint(path, make(seed=1)[0])


def test_a_checkpoint_from_before_there_were_checksums(saved):
    path, network, _ = saved
    save_file(load_file(path), path, metadata={"progress": json.dumps(PROGRESS)})
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
        {"progress": json.dumps({**PROGRESS, "history": [{"epoch": 1}]})},
        {"progress": json.dumps({**PROGRESS, "history": [{"epoch": 2, "validation_accuracy": 0.5}]})},
        {"progress": json.dumps({**PROGRESS, "history": [{"epoch": 1, "validation_accuracy": "high"}]})},
        {"progress": json.dumps({**PROGRESS, "pixels": "many"})},
        {"progress": json.dumps({**PROGRESS, "pixels": 16})},
        {"progress": json.dumps({**PROGRESS, "pixels": []})},
        {"progress": json.dumps({**PROGRESS, "pixels": [1, 0, 4]})},
        {"progress": json.dumps({**PROGRESS, "pixels": [1, 2.5, 4]})},
        {"progress": json.dumps({**PROGRESS, "pixels": [2, 2]})},
        {"progress": json.dumps({**PROGRESS, "pixels": [1, 2, 2, 1]})},
        {"progress": json.dumps({**PROGRESS, "pixels": [True]})},
        {"progress": json.dumps({**PROGRESS, "pixels": [1, 10**6, 10**6]})},
        {"progress": json.dumps({**PROGRESS, "pixels": [10**30]})},
        {"progress": json.dumps({**PROGRESS, "n_classes": 0})},
        {"progress": json.dumps({**PROGRESS, "n_classes": True})},
        {"progress": json.dumps({**PROGRESS, "n_classes": 10**12})},
        {"progress": "[" * 200_000},
        {"progress": '{"a":' * 200_000},
        {"progress": json.dumps({**PROGRESS, "scaler": {"scale": 8}})},
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
@pytest.mark.parametrize("name", ["network.module.hidden1_synapses.weight", "optimizer.0.exp_avg"])
def test_not_finite(saved, name, value):
    path, *_ = saved
    spoiled(path, lambda tensors: tensors[name].view(-1)[:1].fill_(value))
    with pytest.raises(FileFormatError, match="holds NaN or infinity; train again with a smaller learning rate"):
        load_checkpoint(path, *make())


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("network.module.output_synapses.bias"),
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


def stop_half_way(monkeypatch, error):
    """Let writing fail once the temporary file is there."""

    def stop(descriptor):
        assert os.fstat(descriptor).st_size
        raise error

    monkeypatch.setattr(checkpoint.os, "fsync", stop)


def test_no_half_written_file(saved, monkeypatch):
    path, network, optimizer = saved
    before = path.read_bytes()
    stop_half_way(monkeypatch, OSError("No space left on device"))
    step(network, optimizer)
    with pytest.raises(SpikegraphError, match=r"cannot be written \(.*No space left.*\); make room"):
        save_checkpoint(path, network, optimizer, PROGRESS)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_stopped_while_saving(saved, monkeypatch):
    path, network, optimizer = saved
    before = path.read_bytes()
    stop_half_way(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, network, optimizer, PROGRESS)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


class WithBuffers(torch.nn.Module):
    """Batch norm keeps running statistics, and counts its batches in whole numbers."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)


def test_buffers_and_the_best_epoch(tmp_path):
    network = WithBuffers()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(0)
    network.norm(torch.rand(4, 3)).square().sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, PROGRESS, best)
    other = WithBuffers()
    other_optimizer = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    load_checkpoint(tmp_path / "c.safetensors", other, other_optimizer)
    assert same(other.state_dict(), network.state_dict())
    assert int(other.norm.num_batches_tracked) == 1
    momenta = [optimizer.state_dict()["state"][index]["momentum_buffer"] for index in (0, 1)]
    assert all(momentum.any() for momentum in momenta)
    for index, momentum in enumerate(momenta):
        assert torch.equal(other_optimizer.state_dict()["state"][index]["momentum_buffer"], momentum)
    load_checkpoint(tmp_path / "c.safetensors", other, part="best")
    assert same(other.state_dict(), best)
    adam = torch.optim.Adam(other.parameters())
    with pytest.raises(FileFormatError, match="its optimizer trained other parameters"):
        load_checkpoint(tmp_path / "c.safetensors", other, adam)


def test_a_checkpoint_without_a_best_epoch(saved):
    path, *_ = saved
    with pytest.raises(FileFormatError, match="is no checkpoint of this network"):
        load_checkpoint(path, make()[0], part="best")


def test_sgd_without_momentum_has_no_state(tmp_path):
    network, _ = make()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    step(network, optimizer)
    save_checkpoint(tmp_path / "c.safetensors", network, optimizer, PROGRESS)
    assert not any(name.startswith("optimizer.") for name in load_file(tmp_path / "c.safetensors"))
    other, _ = make(seed=1)
    load_checkpoint(tmp_path / "c.safetensors", other, torch.optim.SGD(other.parameters(), lr=0.1))
    assert same(other.state_dict(), network.state_dict())
