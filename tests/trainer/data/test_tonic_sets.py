"""Event sets that tonic reads: their order, split and form are ours, whatever order its list is in."""

from __future__ import annotations

import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from commands import refused
from five_neurons import network

from spikegraph.export.errors import DataError
from spikegraph.export.formats import save
from spikegraph.trainer.data import load_split
from spikegraph.trainer.data.tonic_sets import TONIC, split_of

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("p", bool), ("t", np.int64)])
SOUND = np.dtype([("t", int), ("x", int), ("p", int)])


class Fake:
    """A data set in tonic's form: `n` recordings of each class; recording k has k % 3 events, at times from 500 on."""

    def __init__(self, name, n=20, dtype=EVENT):
        known = TONIC[name]
        names = [f"class{k:03}/{i:02}" for k in range(known.n_classes) for i in range(n)]
        order = np.random.default_rng(0).permutation(len(names))  # as a file system lists them
        self.data = [names[k] for k in order] if dtype == EVENT else []
        self.targets = [name.partition("/")[0] for name in self.data]
        self.names, self.dtype, self.read = names, dtype, []

    def __len__(self):
        return len(self.names)

    def __getitem__(self, number):
        self.read.append(number)
        name = self.data[number] if self.data else self.names[number]
        events = np.zeros(int(name[-2:]) % 3, self.dtype)
        events["t"] = 500 + 10 * np.arange(len(events))[::-1]
        events["x"] = int(name[-2:])
        events["p"] = 1
        return events, name.partition("/")[0]


@pytest.fixture
def tonic(monkeypatch):
    """Put a package in the place of tonic; return what its classes were called with."""
    called = []

    def opener(name):
        def make(**options):
            called.append((name, options))
            return Fake(name, dtype=SOUND if name == "shd" else EVENT)

        return make

    datasets = SimpleNamespace(**{known.dataset: opener(name) for name, known in TONIC.items()})
    monkeypatch.setitem(sys.modules, "tonic", SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)
    return called


@pytest.mark.parametrize("name", TONIC)
def test_every_set(tonic, tmp_path, name):
    known = TONIC[name]
    train, test = (load_split(f"{name}:{part}", tmp_path) for part in ("train", "test"))
    if known.split:
        assert [options["train"] for _, options in tonic] == [True, False]
        assert len(train) == len(test) == 20 * known.n_classes
    else:
        assert (len(train), len(test)) == (18 * known.n_classes, 2 * known.n_classes)
    assert train.sample_shape == known.shape
    assert set(test.label) == set(range(known.n_classes))
    assert {options["save_to"] for _, options in tonic} == {str(tmp_path)}


def test_the_split_is_of_names_and_disjoint(tonic, tmp_path):
    """The tenth and the twentieth recording of each class, by their names: numbers 9 and 19, at x 9 and 19."""
    test = load_split("cifar10-dvs:test", tmp_path)
    x = test.samples(np.arange(20))
    assert np.diff(x.offsets).tolist() == [0, 1] * 10  # 9 % 3 and 19 % 3 events
    assert (x.index % 128).tolist() == [19] * 10
    assert test.label.tolist() == [k for k in range(10) for _ in range(2)]


def test_recordings_are_read_when_they_are_chosen_in_order_of_time(tonic, tmp_path):
    split = load_split("dvs-gesture:test", tmp_path).first(6)
    dataset = split.x._dataset
    assert dataset.read == []
    x = split.samples(np.array([5, 0, 2]))
    assert len(dataset.read) == 3
    assert x.shape == (3, 2, 128, 128)
    assert np.diff(x.offsets).tolist() == [2, 0, 2]
    assert x.t.tolist() == [0, 10, 0, 10]
    (batch, label, index), (_, _, rest) = split.batches((2, 32, 32), 4)
    assert (batch.shape, label.tolist(), index.tolist(), rest.tolist()) == (
        (4, 2, 32, 32),
        [0] * 4,
        [0, 1, 2, 3],
        [4, 5],
    )


def test_sound_has_no_rows(tonic, tmp_path):
    split = load_split("shd", tmp_path)
    assert split.samples(np.array([4])).index.tolist() == [4]
    assert next(split.batches((700,), 5))[0].shape == (5, 700)


def test_events_outside_the_shape(tonic, tmp_path, monkeypatch):
    split = load_split("dvs-gesture", tmp_path)
    monkeypatch.setattr(split.x._dataset, "dtype", np.dtype([*EVENT.descr[1:], ("x", np.int16)]))
    read = Fake.__getitem__

    def beyond(self, number):
        events, target = read(self, number)
        events["x"] += 128
        return events, target

    monkeypatch.setattr(Fake, "__getitem__", beyond)
    with pytest.raises(DataError, match=r"dvs-gesture: recording \d+ has events at 129…129, expected 0…127"):
        split.samples(np.array([1]))


@pytest.mark.parametrize("error", [OSError, KeyError, IndexError, TypeError, EOFError, AttributeError])
def test_a_damaged_file_is_one_message(tonic, tmp_path, monkeypatch, error):
    split = load_split("dvs-gesture", tmp_path)

    def fail(self, number):
        raise error("half a\nfile")

    monkeypatch.setattr(Fake, "__getitem__", fail)
    with pytest.raises(DataError, match=rf"recording \d+ \(class000/01\) cannot be read \({error.__name__}: .?half a"):
        split.samples(np.array([1]))
    with pytest.raises(DataError, match=rf"shd: recording 0 cannot be read \({error.__name__}"):  # for its class
        load_split("shd", tmp_path)


def test_a_recording_without_a_field(tonic, tmp_path, monkeypatch):
    split = load_split("dvs-gesture", tmp_path)
    monkeypatch.setattr(split.x._dataset, "dtype", SOUND)
    with pytest.raises(DataError, match=r"cannot be read .*no field of name y"):
        split.samples(np.array([1]))


def test_other_classes_than_it_should_have(tonic):
    with pytest.raises(DataError, match="dvs-gesture: has 20 classes in 400 recordings, expected 11"):
        split_of(Fake("shd"), "dvs-gesture", "test")


@pytest.mark.parametrize("error", [OSError, KeyError, zipfile.BadZipFile])
def test_it_cannot_be_fetched(monkeypatch, tmp_path, error):
    def fail(**_):
        raise error("no route to host")

    datasets = SimpleNamespace(DVSGesture=fail)
    monkeypatch.setitem(sys.modules, "tonic", SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)
    with pytest.raises(
        DataError, match=r"could not be fetched \('?no route to host'?\); fetch it with tonic\.datasets\.DVS"
    ):
        load_split("dvs-gesture", tmp_path)


def test_tonic_is_an_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tonic", None)
    save(network(), tmp_path / "net.h5")
    says = refused("simulate", tmp_path / "net.h5", "--data", "shd:test")
    assert "is not installed; pip install 'spikegraph[events]'" in says.replace("\n", " ")
