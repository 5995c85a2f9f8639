import hashlib
import math
import os
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import h5py
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegraph.export.container import (
    ContainerWriter,
    Json,
    Wider,
    container_kind,
    read,
    read_container,
    tree,
    tree_checksum,
    write,
    write_container,
)
from spikegraph.export.errors import FileFormatError

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
TREE = {
    "counts": np.arange(1000).reshape(10, 100),
    "few": np.array([1, -2, 3], np.int8),
    "group": {"n": 3, "x": 0.5, "deep": {"name": "hidden"}, "empty": {}},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=20))
)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,8}", fullmatch=True).filter(lambda n: n not in tree.HEADER)
values = arrays | st.floats() | json_values.filter(lambda value: not isinstance(value, dict))
trees = st.recursive(
    st.dictionaries(names, values, max_size=4),
    lambda inner: st.dictionaries(names, values | inner, max_size=4),
    max_leaves=6,
)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return type(a) is type(b) and a == b


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tree.h5"
    write_container(path, "run", TREE)
    return path


def refused(path: Path, match: str, **options: int) -> FileFormatError:
    with pytest.raises(FileFormatError, match=match) as caught:
        read_container(path, "run", **options)
    assert caught.value.problem.where.startswith(str(path))
    assert caught.value.problem.remedy
    return caught.value


def sealed(path: Path) -> None:
    """Give a file the checksum of what is in it: what somebody does who changes a file on purpose."""
    with h5py.File(path, "r+") as file:
        found = list(read._survey(file, "test"))
        entries = [read._read(name, item, "test") for name, item in found]
        del file.attrs["checksum"]
        write.write_attribute(file, "checksum", tree.checksum_of("run", entries).encode())


@settings(max_examples=80, deadline=None)
@given(trees)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, tree: dict) -> None:
    path = tmp_path_factory.mktemp("tree") / "tree.h5"
    write_container(path, "run", tree)
    assert same(read_container(path, "run"), tree)


@pytest.mark.parametrize("dtype", [">i2", ">f8", ">u4"])
def test_big_endian_arrays_come_back_little_endian(tmp_path: Path, dtype: str) -> None:
    write_container(tmp_path / "a.h5", "run", {"a": np.array([1, 2, 300], dtype)})
    read = read_container(tmp_path / "a.h5", "run")["a"]
    assert read.dtype == np.dtype(dtype).newbyteorder("<")
    assert read.tolist() == [1, 2, 300]


@pytest.mark.parametrize("n", [0, 3, 128, 129, 5000])
def test_array_that_is_narrower_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """The file and its checksum are those of the wide array; `narrow` gives the narrow one back where it is packed."""
    monkeypatch.setattr(tree, "_PIECE", 800)
    array = np.arange(-1, n - 1, dtype=np.int32)
    for name, value in (("a", array.astype(np.int64)), ("b", Wider(value=array, dtype=np.int64))):
        write_container(tmp_path / name, "run", {"x": value, "y": np.arange(9)})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    wide, narrow = read_container(tmp_path / "b", "run")["x"], read_container(tmp_path / "b", "run", narrow=True)["x"]
    assert wide.dtype == np.int64
    assert narrow.dtype == (np.int32 if n > 128 else np.int64)  # 128 · 8 = 1024 bytes: not packed
    assert wide.tolist() == narrow.tolist() == array.tolist()


@pytest.mark.parametrize("number", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32, 2**63 - 1])
def test_number_that_is_too_wide_to_narrow(tmp_path: Path, number: int) -> None:
    array = np.zeros((700, 3), np.int64)
    array[-1, -1] = number
    write_container(tmp_path / "a", "run", {"x": array})
    found = read_container(tmp_path / "a", "run", narrow=True)["x"]
    assert found.dtype == (np.int32 if -(2**31) <= number < 2**31 else np.int64)
    assert np.array_equal(found, array)


def test_array_that_is_not_contiguous(tmp_path: Path) -> None:
    array = np.arange(24).reshape(4, 6).T[::2]
    write_container(tmp_path / "a.h5", "run", {"a": array})
    assert np.array_equal(read_container(tmp_path / "a.h5", "run")["a"], array)


@pytest.mark.parametrize("n_bytes", [4000, 4096, 4097, 70_000, 300_000])
def test_long_text_and_json(tmp_path: Path, n_bytes: int) -> None:
    tree = {"text": "é" * (n_bytes // 2), "provenance": Json(value={"a/b": ["x" * n_bytes, None, 1.5], "": {}})}
    write_container(tmp_path / "a.h5", "run", tree)
    assert read_container(tmp_path / "a.h5", "run") == {"text": tree["text"], "provenance": tree["provenance"].value}


def test_same_tree_same_bytes(tmp_path: Path) -> None:
    write_container(tmp_path / "a.h5", "run", TREE)
    time.sleep(1.1)  # HDF5 keeps times in seconds
    write_container(tmp_path / "b.h5", "run", dict(reversed(TREE.items())))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_checksum_as_specified(path: Path) -> None:
    def field(content: bytes) -> bytes:
        return struct.pack("<Q", len(content)) + content

    tree = {"b": np.array([[1, -1]], np.int16), "a": {"n": 3, "name": "é", "x": 0.5}}
    records = [
        ("a", "group", "", "", b""),
        ("a/n", "number", "int64", "", struct.pack("<q", 3)),
        ("a/name", "text", "", "", '"é"'.encode()),
        ("a/x", "number", "float64", "", struct.pack("<d", 0.5)),
        ("b", "array", "int16", "1,2", b"\x01\x00\xff\xff"),
    ]
    message = field(b"spikegraph") + field(b"1") + field(b"run")
    for *texts, content in records:
        message += b"".join(field(text.encode()) for text in texts) + field(content)
    assert tree_checksum("run", tree) == hashlib.sha256(message).hexdigest()
    with h5py.File(path) as file:
        assert file.attrs["checksum"].decode() == tree_checksum("run", TREE)


@pytest.mark.parametrize(
    "other",
    [
        {**TREE, "few": np.array([1, -2, 4], np.int8)},
        {**TREE, "few": np.array([1, -2, 3], np.int16)},
        {**TREE, "few": np.array([[1, -2, 3]], np.int8)},
        {**TREE, "group": {**TREE["group"], "x": 0.25}},
        {**TREE, "group": {k: v for k, v in TREE["group"].items() if k != "empty"}},
        {**{k: v for k, v in TREE.items() if k != "few"}, "many": TREE["few"]},
        {**TREE, "group": {**TREE["group"], "n": "3"}},
    ],
)
def test_checksum_sees_every_change(other: dict) -> None:
    assert tree_checksum("run", other) != tree_checksum("run", TREE)
    assert tree_checksum("run", TREE) != tree_checksum("graph", TREE)


def test_kind_is_told_without_reading(path: Path) -> None:
    assert container_kind(path) == "run"


# Writing


@pytest.mark.parametrize(
    ("tree", "match"),
    [
        ({"a/b": 1}, "name 'a/b'"),
        ({"..": 1}, "name '..'"),
        ({"version": 1}, "taken by the header"),
        ({"a": {1: 2}}, "the name 1"),
        ({"a": np.array([1j])}, "complex128"),
        ({"a": np.array(["x"])}, "<U1"),
        ({"a": np.array([None])}, "object"),
        ({"a": Json(value=float("nan"))}, "JSON"),
        ({"a": [float("inf")]}, "JSON"),
        ({"a": Json(value={1: 2})}, "key that is not text"),
        ({"a": [(1, 2)]}, "a tuple"),
        ({"a": [object()]}, "JSON"),
        ({"a": "\ud800"}, "JSON"),
    ],
)
def test_what_a_file_cannot_hold(tmp_path: Path, tree: dict, match: str) -> None:
    with pytest.raises(FileFormatError, match=match):
        write_container(tmp_path / "a.h5", "run", tree)
    assert list(tmp_path.iterdir()) == []


def test_names_of_the_header_are_free_below_the_root(tmp_path: Path) -> None:
    write_container(tmp_path / "a.h5", "run", {"readout": {"kind": "count"}})
    assert read_container(tmp_path / "a.h5", "run") == {"readout": {"kind": "count"}}


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"folder .*nowhere does not exist"):
        write_container(tmp_path / "nowhere" / "a.h5", "run", TREE)


def test_path_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="is a folder"):
        write_container(tmp_path, "run", TREE)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FileFormatError, match="Permission denied"):
        write_container(tmp_path / "a.h5", "run", TREE)


def test_open_that_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "unable to open file: errno = 13")

    monkeypatch.setattr(h5py, "File", denied)
    with pytest.raises(FileFormatError, match=r"cannot be written \(Permission denied\)"):
        write_container(tmp_path / "a.h5", "run", TREE)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("flush failed"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["_write", "fsync"])
def test_failure_leaves_what_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, where: str
) -> None:
    before, calls = path.read_bytes(), []
    write_entry = write._write

    def fail_in_the_middle(*arguments: object) -> None:
        calls.append(arguments)
        if where == "fsync" or len(calls) == 3:
            assert len(list(path.parent.iterdir())) == 2
            raise error
        write_entry(*arguments)

    monkeypatch.setattr(*((write, "_write") if where == "_write" else (os, "fsync")), fail_in_the_middle)
    with pytest.raises(FileFormatError if isinstance(error, Exception) else KeyboardInterrupt):
        write_container(path, "run", {**TREE, "few": np.zeros(3)})
    assert calls
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


# Reading


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "missing.h5", "does not exist")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    refused(tmp_path / "pipe.h5", "is not a file")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    refused(tmp_path / "a.h5", "is empty")


@pytest.mark.parametrize("content", [b"nodes:\n  - dense\n", b"\x80\x04\x95pickle", b"\x89HDF"])
def test_not_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    refused(tmp_path / "a.h5", "not an HDF5 file")


@pytest.mark.parametrize("attributes", [{}, {"format": "nir"}, {"format": 7}, {"format": ["spikegraph"]}])
def test_other_hdf5(tmp_path: Path, attributes: dict) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update(attributes)
    refused(tmp_path / "a.h5", "not a spikegraph file")


def test_truncated_at_every_length(path: Path) -> None:
    content = path.read_bytes()
    for n_bytes in [*range(8, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:n_bytes])
        refused(path, "truncated or damaged")


def test_other_kind(path: Path) -> None:
    with pytest.raises(FileFormatError, match="is a run, expected a graph"):
        read_container(path, "graph")


def test_kind_is_part_of_the_checksum(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        write.write_attribute(file, "kind", b"graph")
    with pytest.raises(FileFormatError, match="was changed"):
        read_container(path, "graph")


@pytest.mark.parametrize(
    ("version", "match"),
    [
        (2, "version 2, this spikegraph reads up to 1; upgrade"),
        (0, "version 0"),
        (-1, "version -1"),
        (1.0, "version 1.0"),
    ],
)
def test_other_version(path: Path, version: float, match: str) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = version
    refused(path, match)


@pytest.mark.parametrize("name", ["format", "version", "kind", "checksum"])
def test_header_that_lacks(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        del file.attrs[name]
    refused(path, {"format": "not a spikegraph", "version": "None", "kind": "which kind", "checksum": "None"}[name])


def test_changed_array(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["counts"][3, 5] += 1
    refused(path, "was changed")


def test_changed_number(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["group"].attrs["n"] = 4
    refused(path, "was changed")


@pytest.mark.parametrize("name", ["counts", "group/deep", "group/empty"])
def test_removed(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
    refused(path, "was changed")


def test_added(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["group"].attrs["new"] = 4
    refused(path, "was changed")


def test_flipped_bits_are_noticed_or_harmless(path: Path) -> None:
    content, rng = path.read_bytes(), np.random.default_rng(1)
    for position in rng.integers(0, len(content), 300):
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            tree = read_container(path, "run")
        except FileFormatError:
            continue
        assert same(tree, TREE)  # the bit was in a gap that holds nothing


@pytest.mark.parametrize("options", [{"chunks": (1 << 20,), "compression": "gzip"}, {"chunks": (1 << 20,)}, {}])
def test_bomb_by_declaration(path: Path, options: dict) -> None:
    with h5py.File(path, "r+") as file:
        file.create_dataset("bomb", (10**12,), "i1", **options)
    refused(path, "unpacks to 10000000[0-9]* bytes, the limit is 8589934592")


def test_many_arrays_that_are_too_large_together(path: Path) -> None:
    refused(path, "unpacks to 8[0-9]+ bytes, the limit is 8000", max_bytes=8000)
    assert read_container(path, "run", max_bytes=8500)


def test_bomb_by_chunk(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.create_dataset("bomb", (1,), "i8", chunks=(1 << 28,), maxshape=(None,), compression="gzip")
    refused(path, "the limit is 1000000", max_bytes=1_000_000)


@pytest.mark.parametrize("stream", [zlib.compress(bytes(50_000_000)), zlib.compress(bytes(10)), b"no deflate"])
def test_bomb_by_stream(path: Path, stream: bytes) -> None:
    with h5py.File(path, "r+") as file:
        bomb = file.create_dataset("bomb", (2000,), "i1", chunks=(2000,), compression="gzip")
        bomb.id.write_direct_chunk((0,), stream)
    tracemalloc.start()
    refused(path, "does not unpack to 2000 bytes|damaged")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_chunk_that_is_not_packed(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        bomb = file.create_dataset("bomb", (2000,), "i1", chunks=(2000,), compression="gzip")
        bomb.id.write_direct_chunk((0,), zlib.compress(bytes(2000)), filter_mask=1)
    refused(path, "does not unpack")


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/counts"), h5py.SoftLink("/nowhere"), h5py.ExternalLink("/etc/passwd", "/")]
)
def test_links(path: Path, link: object) -> None:
    with h5py.File(path, "r+") as file:
        file["group/link"] = link
    assert "group/link" in str(refused(path, "soft or external link"))


@pytest.mark.parametrize(("name", "target"), [("group/again", "group"), ("again", "counts"), ("group/root", "/")])
def test_hard_links_and_loops(path: Path, name: str, target: str) -> None:
    with h5py.File(path, "r+") as file:
        file[name] = file[target]
    refused(path, "linked twice")


def test_external_storage(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"12345678")
    with h5py.File(path, "r+") as file:
        file.create_dataset("outside", (8,), "i1", external=[(str(tmp_path / "secret"), 0, 8)])
    refused(path, "not plain")


def test_virtual_dataset(path: Path) -> None:
    layout = h5py.VirtualLayout((3,), "i1")
    layout[:] = h5py.VirtualSource(str(path), "few", (3,))
    with h5py.File(path, "r+") as file:
        file.create_virtual_dataset("virtual", layout)
    refused(path, "not plain")


@pytest.mark.parametrize(
    "options", [{"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 3}, {"compression": 32001}]
)
def test_other_filters(path: Path, options: dict) -> None:
    with h5py.File(path, "r+") as file:
        if options == {"compression": 32001}:  # a plug-in that is not installed
            created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            created.set_chunk((100,))
            created.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
            h5py.h5d.create(file.id, b"odd", h5py.h5t.STD_I8LE, h5py.h5s.create_simple((100,)), created)
        else:
            file.create_dataset("odd", data=np.arange(100), chunks=(100,), **options)
    refused(path, "packed other than by shuffle and gzip")


@pytest.mark.parametrize(
    "options",
    [
        {"data": ["a", "b"], "dtype": h5py.string_dtype()},
        {"data": "a", "dtype": h5py.string_dtype()},
        {"data": [b"a", b"b"], "dtype": "S1"},
        {"data": [b"1", b"2"], "dtype": h5py.string_dtype("utf-8", 1)},
        {"data": np.arange(3, dtype=">i4")},
        {"data": np.array([1j])},
        {"data": np.array([1.5], np.float16)},
        {"data": np.zeros(2, [("a", "i4"), ("b", "f4")])},
        {"shape": (2,), "dtype": h5py.vlen_dtype(np.int8)},
        {"shape": (2,), "dtype": h5py.ref_dtype},
        {"shape": (2,), "dtype": h5py.enum_dtype({"A": 0, "B": 1})},
        {"shape": (2,), "dtype": h5py.opaque_dtype(np.dtype("V4"))},
        {"data": h5py.Empty("i4")},
    ],
)
def test_other_types(path: Path, options: dict) -> None:
    with h5py.File(path, "r+") as file:
        file.create_dataset("odd", **options)
    refused(path, "has a type that version 1 does not have")


@pytest.mark.parametrize("value", ["text of variable length", np.arange(3), np.int32(1), h5py.Empty("i8"), True])
def test_other_types_of_attribute(path: Path, value: object) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["odd"] = value
    refused(path, "has a type that version 1 does not have")


def test_attribute_of_a_dataset(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["counts"].attrs["unit"] = 1
    refused(path, "not plain")


def test_named_type(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["odd"] = np.dtype("i4")
    refused(path, "neither a group nor a dataset")


@pytest.mark.parametrize("text", ["zero", "NaN", "[1", "\xff", "[" * 3000])
def test_text_that_is_not_json(path: Path, text: str) -> None:
    with h5py.File(path, "r+") as file:
        write.write_attribute(file, "odd", text.encode("latin-1"))
    sealed(path)
    refused(path, "damaged")


@pytest.mark.parametrize("name", ["a b", "é", "."])
def test_name_that_is_not_a_name(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        write.write_attribute(file, name, b"1")
    sealed(path)
    refused(path, "not a name")


def test_name_that_is_there_twice(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        write.write_attribute(file, "few", b"1")
    sealed(path)
    refused(path, "there twice")


# Arrays that grow


def grown(path: Path, sizes: list[int], rest: dict, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "_CHUNK", chunk)
    whole = {
        "a": np.arange(7 * 30).reshape(30, 7),
        "g/b": (np.arange(60) % 3 == 0).reshape(30, 2, 1),
        "g/c": np.arange(30.0),
    }
    with ContainerWriter(path, "run") as writer:
        first = 0
        for size in sizes:
            writer.append({name: array[first : first + size] for name, array in whole.items()})
            first += size
        stored = writer.finish(rest)
    assert {name: tuple(array.shape) for name, array in stored.items()} == {n: a.shape for n, a in whole.items()}
    for name, array in whole.items():
        assert same(stored[name].read(), array)
        assert same(stored[name].read(4, 9), array[4:9])
    tree = {**rest, "a": whole["a"], "g": {**rest.get("g", {}), "b": whole["g/b"], "c": whole["g/c"]}}
    assert same(read_container(path, "run"), tree)
    with h5py.File(path) as file:
        assert file.attrs["checksum"].decode() == tree_checksum("run", tree)


@pytest.mark.parametrize("chunk", [1, 50, 400, 10**6])
def test_arrays_that_grow(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = {"n": 3, "g": {"text": "x", "few": np.arange(4)}, "z": {}}
    contents = []
    for k, sizes in enumerate([[30], [1] * 30, [10, 10, 10], [29, 1], [0, 13, 0, 17]]):
        grown(tmp_path / f"{k}.h5", sizes, rest, chunk, monkeypatch)
        contents.append((tmp_path / f"{k}.h5").read_bytes())
    assert len(set(contents)) == 1
    assert len(list(tmp_path.iterdir())) == 5


def test_arrays_that_are_left_in_the_file(path: Path) -> None:
    tree = read_container(path, "run", leave="group")
    assert same(tree, TREE)  # it has no arrays
    write_container(path, "run", {"left": {"deep": TREE, "text": "x" * 5000}, "leftover": np.arange(3)})
    tree = read_container(path, "run", leave="left", max_bytes=20_000)
    assert same(tree["leftover"], np.arange(3))
    assert tree["left"]["text"] == "x" * 5000
    assert same(tree["left"]["deep"]["counts"].read(), TREE["counts"])
    assert same(tree["left"]["deep"]["few"].read(1), TREE["few"][1:])
    with h5py.File(path, "r+") as file:
        file["left/deep/few"][0] = 2
    with pytest.raises(FileFormatError, match="was changed"):
        read_container(path, "run", leave="left")


def test_a_chunk_of_an_array_that_is_left_counts(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.create_dataset("left/a", data=np.zeros(3000), chunks=(3000,), maxshape=(None,), compression="gzip")
    with pytest.raises(FileFormatError, match="the limit is 20000"):
        read_container(path, "run", leave="left", max_bytes=20_000)


def test_an_error_inside_the_block_leaves_what_was_there(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), ContainerWriter(path, "run") as writer:  # noqa: PT012
        writer.append({"a": np.zeros((10, 1000))})
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
