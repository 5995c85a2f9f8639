"""Files that are no networks, or bad ones: one clear message each, in bounded memory, and never another exception."""

from __future__ import annotations

import copy
import tracemalloc
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import call, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from net_files import CUBA, LOIHI, conv, dense, write_net

from spikegraph.export.container.foreign import read_foreign
from spikegraph.export.errors import FileFormatError, GraphError, OptionError
from spikegraph.export.formats import read

OURS = (FileFormatError, GraphError, OptionError)
LAYERS: list[dict[str, Any]] = [
    {"type": "input", "shape": [2, 6, 5], "weight": [36.0], "bias": [3.0], "neuron": LOIHI},
    {**conv([2, 6, 5], 4, delay=[2]), "bias": np.float32([1, 2, 3, 4])},
    {"type": "pool", "shape": [4, 2, 1], "kernelSize": [2, 2], "weight": np.full((1, 1, 2, 2), 2.0), "neuron": CUBA},
    {"type": "flatten", "shape": [8, 1, 1]},
    {**dense(8, 6), "type": "dense_rec", "weight_rec": np.eye(6)},
    {**dense(6, 4, seed=3)},
]


def members(path: Path) -> list[str]:
    found: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_net(tmp_path_factory.mktemp("netx") / "good.net", LAYERS)
    read(path)
    return path


VALUES: dict[str, Any] = {
    "missing": None,
    "text": "seven",
    "a group": {"x": np.array(1)},
    "NaN": np.array([np.nan, 1.0]),
    "a NaN": np.float32(np.nan),
    "infinity": np.float64(np.inf),
    "half": np.float32(0.5),
    "huge": np.int64(1 << 62),
    "huge float": np.float64(1e300),
    "most of 64 bits": np.uint64((1 << 64) - 1),
    "negative": np.int64(-7),
    "empty": np.zeros(0),
    "cube": np.ones((3, 3, 3, 3, 3)),
    "texts": np.array(["a", "b"], object),
    "bool": np.bool_(True),
}


@pytest.mark.parametrize("kind", VALUES)
def test_any_member_as_what_it_should_not_be(kind: str, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read all the same is a network that such a member may stand in: `true` as a refDelay of 1."""
    names, whole = members(good), read_foreign(good, wrote="a test")
    assert len(names) > 60
    n_refused = 0
    for name in names:
        tree = copy.deepcopy(whole)
        *above, last = name.split("/")
        group = reduce(lambda folder, step: folder[step], above, tree)
        if VALUES[kind] is None:
            del group[last]
        else:
            value = VALUES[kind]
            group[last] = value if isinstance(value, str | dict) else np.asarray(value)
        monkeypatch.setattr("spikegraph.export.netx.read.read_foreign", lambda *_, tree=tree, **__: tree)
        n_refused += bool(refusal(good))
    limits = {"missing": 20, "bool": 20, "negative": 40}
    assert n_refused >= limits.get(kind, 45), f"{n_refused} of {len(names)}"


def refusal(path: Path) -> str:
    """What is said against a file, empty if nothing; any other exception than ours is one that the test dies of."""
    try:
        read(path)
    except OURS as error:
        return str(error)
    return ""


@settings(max_examples=60)
@given(data=st.data())
def test_a_byte_here_and_there(good: Path, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "bytes.net"
    path.write_bytes(content)
    refusal(path)


def test_truncated_anywhere(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    for size in range(0, len(content) - 1, max(len(content) // 40, 1)):
        (tmp_path / "short.net").write_bytes(content[:size])
        with pytest.raises(OURS):
            read(tmp_path / "short.net")


def instead(i: int, **changes: Any) -> list[dict[str, Any]]:
    layers = copy.deepcopy(LAYERS)
    layers[i].update(changes)
    return layers


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "shape with a hole": (instead(0, shape=[2, 0, 5]), "each at least 1"),
    "shape of four": (instead(0, shape=[2, 6, 5, 1]), "each at least 1"),
    "neurons without number": (instead(0, shape=[1 << 26, 1 << 26, 1 << 26]), "neurons, the limit is"),
    "dense layer without number": (instead(5, shape=[1 << 26]), "expected"),
    "kernel that does not fit": (instead(1, kernelSize=[5, 5]), r"kernelSize: is \(5, 5\)"),
    "stride 0": (instead(1, stride=[0, 1]), "stride"),
    "stride of three": (instead(1, stride=[1, 1, 1]), "stride"),
    "padding beyond all": (instead(1, padding=[1 << 40, 0]), "padding"),
    "padding beyond the kernel": (instead(1, padding=[9, 9]), "padding"),
    "dilation beyond the image": (instead(1, dilation=[1 << 20, 1]), "is larger than the padded input"),
    "groups 0": (instead(1, groups=0), "groups"),
    "groups that do not divide": (instead(1, groups=3), "groups"),
    "weights that are not whole": (instead(5, weight=np.full((4, 6), 0.5, np.float32)), "is not integer"),
    "weights beyond 16 bits": (instead(5, weight=np.full((4, 6), 1e6, np.float32)), "weight = 1000000"),
    "a matrix of the wrong rows": (instead(5, weight=np.ones((5, 6))), r"has shape \(5, 6\)"),
    "a loop of the wrong shape": (instead(4, weight_rec=np.ones((6, 5))), "weight_rec: has shape"),
    "delays without end": (instead(4, delay=[0, 0, 0, 0, 0, 5000]), "delay_steps = 5000"),
    "a delay for each of many neurons": (
        [{"type": "input", "shape": [1]}, dense(1, 1025, delay=np.arange(1025)), dense(1025, 1)],
        r"too many different delays \(1025 of sources, 1 of targets\); use at most 1024",
    ),
    "a pause of no step": (instead(5, neuron={**CUBA, "refDelay": 0}), "refractory_steps = 0"),
    "decays beyond 12 bits": (instead(5, neuron={**CUBA, "vDecay": 4097}), "decay_v = 4097"),
    "another layer's decays": (instead(5, neuron={**CUBA, "vDecay": [1, 2, 3]}), "vDecay: holds 3 numbers"),
    "a neuron that is a number": (instead(5, neuron=3), "neuron: is no group"),
    "a type that is a number": (instead(5, type=np.int64(3)), "type: is no text"),
    "sizes that are wrong": (instead(5, inFeatures=7), "inFeatures: is 7, expected 6"),
    "channels that are wrong": (instead(1, inChannels=3), "inChannels: is 3, expected 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_layers_that_make_no_network(name: str, tmp_path: Path) -> None:
    layers, message = BAD[name]
    with pytest.raises(OURS, match=message):
        read(write_net(tmp_path / "bad.net", layers))


def file_with(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            change(file)

    return write


def _a_bomb(file: h5py.File) -> None:
    """4 GiB of zeros in a few MiB."""
    file.create_dataset("layer/0/weight", (1 << 10, 1 << 20), np.float32, chunks=(1, 1 << 20), compression="gzip")
    for row in range(16):
        file["layer/0/weight"][row] = 0


def _never_written(file: h5py.File) -> None:
    file.create_dataset("layer/0/weight", (1 << 20, 1 << 20), np.float32, chunks=(1, 1 << 20))


def _layers_missing(file: h5py.File) -> None:
    file["layer/0/type"], file["layer/2/type"] = "input", "dense"


def _in_circles(file: h5py.File) -> None:
    layer = file.create_group("layer/0")
    layer["again"] = file["layer"]


def _elsewhere(file: h5py.File) -> None:
    file.create_group("layer/0")["weight"] = h5py.ExternalLink("/etc/passwd", "/x")


def _layer_as_number(file: h5py.File) -> None:
    file["layer"] = 3


def _layer_as_text(file: h5py.File) -> None:
    file["layer/0"] = "dense"


def _many_layers(file: h5py.File) -> None:
    for i in range(2000):
        file.create_group(f"layer/{i:04}")


FILES: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "nothing": (lambda file: None, "layer: is missing"),
    "no layers": (lambda file: file.create_group("layer") and None, "is empty"),
    "a layer is missing": (_layers_missing, "expected layers 0 to 1"),
    "a layer that is a number": (_layer_as_number, "layer: is no group"),
    "a layer that is a text": (_layer_as_text, "layer/0: is no group"),
    "numbers with zeros before them": (_many_layers, "expected layers 0 to 1999"),
    "circles": (_in_circles, "linked twice"),
    "another file": (_elsewhere, "soft or external link"),
    "a bomb": (_a_bomb, "declares|unpacks to"),
    "what was never written": (_never_written, "declares|unpacks to"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_network(name: str, tmp_path: Path) -> None:
    change, message = FILES[name]
    file_with(change)(tmp_path / "bad.net")
    tracemalloc.start()
    try:
        with pytest.raises(OURS, match=message):
            read(tmp_path / "bad.net")
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_on_the_command_line(good: Path, tmp_path: Path) -> None:
    """One message, exit code 2 and no half-written file; a good file is read by every command that takes a graph."""
    bad = write_net(tmp_path / "bad.net", instead(5, inFeatures=7))
    assert "inFeatures: is 7, expected 6" in refused("convert", bad, tmp_path / "bad.h5")
    assert not (tmp_path / "bad.h5").exists()
    assert call("inspect", good).exit_code == 0
    assert call("convert", good, tmp_path / "good.h5").exit_code == 0
    assert call("diff", good, tmp_path / "good.h5").exit_code == 0
