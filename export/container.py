"""The spikegraph container: a checksummed HDF5 file that holds a tree of names, whatever its kind.

A tree is a dict of names to arrays, values or further dicts. In the file a dict is a group, an array a dataset, and a
value an attribute: a number if it is one, else JSON text (in a dataset of its own where it is long). docs/format.md
specifies all of it. Files come from anywhere, so nothing is read before its layout and size are known to be harmless.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import FileFormatError
from spikegraph.export.graph import NAME

VERSION = 1
MAX_BYTES = 8 << 30  # 8 GiB

_FORMAT = "spikegraph"
_HEADER = ("format", "version", "kind", "checksum")
_DTYPES = frozenset(
    np.dtype(name).newbyteorder("<")
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
)
_NUMBERS = (np.dtype("<i8"), np.dtype("<f8"))
_LONGEST_ATTRIBUTE = 4096  # bytes; HDF5 allows 64 KiB in all
_PIECE = 1 << 16  # elements that are converted or hashed at a time
_SMALLEST_COMPRESSED = 1024  # bytes; below, a chunk index costs more than it saves
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# What h5py, NumPy, zlib and json raise over a damaged file.
_DAMAGE = (OSError, LookupError, RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError, zlib.error)
_FETCH_AGAIN = "fetch or write the file again"


@dataclass(frozen=True, kw_only=True)
class Json:
    """A value stored as one JSON text although it is a dict, such as a provenance; reading gives the value back."""

    value: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Wider:
    """An array that the file holds in a wider type than memory does."""

    value: Array
    dtype: npt.DTypeLike


@dataclass(frozen=True, kw_only=True, eq=False)
class _Entry:
    """One thing in a tree: a "group", "number", "text" or "array" with its path, and what it holds.

    `dtype`: the type in the file of an array that memory holds in a narrower one.
    """

    path: str
    sort: str
    value: Array | bytes = b""
    dtype: np.dtype[Any] | None = None


def write_container(path: str | os.PathLike[str], kind: str, tree: Mapping[str, Any]) -> None:
    """Write a tree to a file; the same tree gives the same bytes, and a failure leaves no file behind.

    Parameters
    ----------
    path : path
        Replaced in one step when everything is on the disk.
    kind : str
        What the tree is: "graph", "run", …
    tree : dict
        Names (letters, digits, '_', '.', '-') to arrays, `Wider`, dicts, `Json`, or anything plain JSON: None, bool,
        int, float (also infinity and NaN), str, list.

    Raises
    ------
    FileFormatError
        The tree holds something that the file cannot; the folder does not exist or is not writable.

    Examples
    --------
    >>> write_container("counts.h5", "run", {"spikes": np.arange(3), "n_steps": 8})
    >>> read_container("counts.h5", "run")
    {'n_steps': 8, 'spikes': array([0, 1, 2])}
    """
    path = Path(path)
    entries = _entries(tree, where=str(path))
    checksum = _checksum(kind, entries)
    if not path.parent.is_dir():
        raise FileFormatError(str(path), f"the folder {path.parent} does not exist", "make it, or save elsewhere")
    if path.is_dir():
        raise FileFormatError(str(path), "is a folder", "give the name of a file in it")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with h5py.File(temporary, "x", libver=("earliest", "v110")) as file:
            for name, value in zip(_HEADER, (_FORMAT, VERSION, kind, checksum), strict=True):
                _write_attribute(file, name, value.encode() if isinstance(value, str) else np.array(value, "<i8"))
            for entry in entries:
                _write(file, entry)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise FileFormatError(str(path), f"cannot be written ({reason})", "free space, or save elsewhere") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_container(
    path: str | os.PathLike[str], kind: str, *, max_bytes: int = MAX_BYTES, narrow: bool = False
) -> dict[str, Any]:
    """Read a tree from a file.

    Parameters
    ----------
    path : path
    kind : str
        What the file must be.
    max_bytes : int
        Refuse a file that unpacks to more; known before anything is unpacked.
    narrow : bool
        Return packed arrays of int64 as int32 where every number fits; they are never in memory as int64.

    Returns
    -------
    dict
        The tree: arrays (little-endian, writable), dicts, and JSON values.

    Raises
    ------
    FileFormatError
        The file is missing, damaged, not a spikegraph file, of another kind or a newer version, holds what no
        spikegraph writes, is too large, or its content is not what its checksum says.
    """
    with _opened(path) as file:
        header = _header(file, where=str(path))
        if header["kind"] != kind:
            what = f"is a {header['kind']}, expected a {kind}"
            raise FileFormatError(str(path), what, f"give the file of a {kind}")
        found = list(_survey(file, "", set(), where=str(path)))
        n_bytes = sum(_unpacked_bytes(item, where=f"{path}: {name}") for name, item in found)
        if n_bytes > max_bytes:
            what = f"unpacks to {n_bytes} bytes, the limit is {max_bytes}"
            raise FileFormatError(str(path), what, "raise max_bytes if you trust the file")
        entries = [_read(name, item, f"{path}: {name}", narrow=narrow) for name, item in found]
        checksum = _checksum(kind, entries)
        if checksum != header["checksum"]:
            what = f"its content has the checksum {checksum}, but the file says {header['checksum']}: it was changed"
            raise FileFormatError(str(path), what, _FETCH_AGAIN)
        return _tree(entries, where=str(path))


def container_kind(path: str | os.PathLike[str]) -> str:
    """Tell what a file is ("graph", "run", …) without reading its content; raises as `read_container` does."""
    with _opened(path) as file:
        return str(_header(file, where=str(path))["kind"])


def tree_checksum(kind: str, tree: Mapping[str, Any]) -> str:
    """Return the checksum that a file of this kind with this tree carries: SHA-256 in hexadecimal."""
    return _checksum(kind, _entries(tree, where=kind))


def _checksum(kind: str, entries: Iterable[_Entry]) -> str:
    digest = hashlib.sha256()

    def add(field: bytes) -> None:
        digest.update(len(field).to_bytes(8, "little"))
        digest.update(field)

    def add_array(array: Array, dtype: np.dtype[Any]) -> None:
        digest.update((array.size * dtype.itemsize).to_bytes(8, "little"))
        flat = np.ascontiguousarray(array).reshape(-1)
        for start in range(0, flat.size, _PIECE):
            digest.update(flat[start : start + _PIECE].astype(dtype, copy=False).data)

    for word in (_FORMAT, str(VERSION), kind):
        add(word.encode())
    for entry in sorted(entries, key=lambda entry: entry.path):
        value = entry.value
        if isinstance(value, bytes):
            for field in (entry.path.encode(), entry.sort.encode(), b"", b"", value):
                add(field)
        else:
            dtype, shape = entry.dtype or value.dtype, ",".join(str(n) for n in value.shape)
            for text in (entry.path, entry.sort, dtype.name, shape):
                add(text.encode())
            add_array(value, dtype)
    return digest.hexdigest()


def _entries(tree: Mapping[str, Any], where: str, prefix: str = "") -> list[_Entry]:
    """Lay a tree out as entries, sorted by path."""
    entries = []
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if not isinstance(name, str) or not NAME.match(name) or path in _HEADER:
            what = f"the name {name!r} is taken by the header or is not letters, digits, '_', '.' or '-'"
            raise FileFormatError(f"{where}: {path}", what, "rename it")
        if isinstance(value, Mapping):
            entries += [_Entry(path=path, sort="group"), *_entries(value, where, f"{path}/")]
        else:
            entries.append(_entry(path, value, where=f"{where}: {path}"))
    return sorted(entries, key=lambda entry: entry.path)


def _entry(path: str, value: Any, where: str) -> _Entry:
    if isinstance(value, Wider):
        wider = np.dtype(value.dtype).newbyteorder("<")
        return replace(_entry(path, value.value, where), dtype=wider if np.can_cast(value.value.dtype, wider) else None)
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
        if little.dtype not in _DTYPES:
            what = f"arrays of {value.dtype} cannot be stored"
            raise FileFormatError(where, what, "store bool, integers of 8 to 64 bits, float32 or float64")
        return _Entry(path=path, sort="array", value=little)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) or (type(value) is int and -(1 << 63) <= value < 1 << 63):
        dtype = "<f8" if isinstance(value, float) else "<i8"
        return _Entry(path=path, sort="number", value=np.array(value, dtype))
    plain = value.value if isinstance(value, Json) else list(value) if isinstance(value, tuple) else value
    try:
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        encoded = text.encode()
        if json.loads(text) != plain:
            raise ValueError("a tuple, or a key that is not text")
    except (TypeError, ValueError, RecursionError) as error:
        what = f"holds something that JSON would not give back as it was ({error})"
        raise FileFormatError(where, what, "use None, bool, finite numbers, str, list and dict only") from error
    return _Entry(path=path, sort="text", value=encoded)


def _tree(entries: Iterable[_Entry], where: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for entry in sorted(entries, key=lambda entry: entry.path):
        *parents, name = entry.path.split("/")
        group = tree
        for parent in parents:
            group = group[parent]
        if not NAME.match(name) or name in group:
            what = f"{entry.path!r} is not a name, or a name that is there twice"
            raise FileFormatError(where, what, _FETCH_AGAIN)
        if isinstance(entry.value, np.ndarray):
            group[name] = entry.value if entry.sort == "array" else entry.value.item()
        else:
            group[name] = {} if entry.sort == "group" else json.loads(entry.value, parse_constant=_refuse_constant)
    return tree


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _text_dtype(n_bytes: int) -> np.dtype[Any]:
    dtype: np.dtype[Any] = h5py.string_dtype("utf-8", n_bytes)
    return dtype


def _write_attribute(group: h5py.Group, name: str, value: Array | bytes) -> None:
    dtype = _text_dtype(len(value)) if isinstance(value, bytes) else value.dtype
    group.attrs.create(name, value, dtype=dtype)


def _write(file: h5py.File, entry: _Entry) -> None:
    folder, _, name = entry.path.rpartition("/")
    group = file[folder] if folder else file
    if entry.sort == "group":
        group.create_group(name)
    elif entry.sort == "array" and not isinstance(entry.value, bytes):
        packed = entry.value.size * (entry.dtype or entry.value.dtype).itemsize > _SMALLEST_COMPRESSED
        packing = {"compression": "gzip", "shuffle": True} if packed else {}
        if entry.dtype is None or not packed:
            group.create_dataset(name, data=entry.value, dtype=entry.dtype, track_times=False, **packing)
        else:
            dataset = group.create_dataset(name, entry.value.shape, entry.dtype, track_times=False, **packing)
            for chunk in dataset.iter_chunks():
                dataset[chunk] = entry.value[chunk]
    elif isinstance(entry.value, bytes) and len(entry.value) > _LONGEST_ATTRIBUTE:
        group.create_dataset(name, data=entry.value, dtype=_text_dtype(len(entry.value)), track_times=False)
    else:
        _write_attribute(group, name, entry.value)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a file for reading and turn whatever h5py raises over it into one clear error."""
    path = Path(path)
    where = str(path)
    if not path.exists():
        raise FileFormatError(where, "does not exist", "check the name")
    if not path.is_file():
        raise FileFormatError(where, "is a folder" if path.is_dir() else "is not a file", "give the name of a file")
    try:
        with path.open("rb") as raw:
            signature = raw.read(len(_SIGNATURE))
    except OSError as error:
        what = f"cannot be opened ({os.strerror(error.errno or 0)})"
        raise FileFormatError(where, what, "check its permissions") from error
    if signature != _SIGNATURE:
        what = "is not an HDF5 file" if signature else "is empty"
        raise FileFormatError(where, what, "give a file that spikegraph wrote")
    try:
        # Every chunk is read once, so a cache of chunks would only take room.
        with h5py.File(path, "r", rdcc_nbytes=0) as file:
            yield file
    except _DAMAGE as error:
        what = f"is truncated or damaged ({type(error).__name__}: {error})"
        raise FileFormatError(where, what, _FETCH_AGAIN) from error


def _header(file: h5py.File, where: str) -> dict[str, Any]:
    """Return the header of a file that this version can read."""
    header: dict[str, Any] = dict.fromkeys(_HEADER)
    for name in _HEADER:
        if name in file.attrs and _plain(file.attrs.get_id(name)):
            value = _value(file.attrs.get_id(name))
            header[name] = value.decode() if isinstance(value, bytes) else value.item()
    if header["format"] != _FORMAT:
        raise FileFormatError(where, "is an HDF5 file, but not a spikegraph file", "give a file that spikegraph wrote")
    version = header["version"]
    if not isinstance(version, int) or version < 1:
        raise FileFormatError(where, f"has version {version}, which never existed", _FETCH_AGAIN)
    if version > VERSION:
        what = f"is of version {version}, this spikegraph reads up to {VERSION}"
        raise FileFormatError(where, what, "upgrade spikegraph")
    if not NAME.match(header["kind"] or ""):
        raise FileFormatError(where, "does not say of which kind it is", _FETCH_AGAIN)
    return header


def _survey(group: h5py.Group, prefix: str, seen: set[int], where: str) -> Iterator[tuple[str, Any]]:
    """Yield (path, object) for all attributes, datasets and groups below a group, without reading any."""
    yield from ((f"{prefix}{a}", group.attrs.get_id(a)) for a in group.attrs if prefix or a not in _HEADER)
    for name in group:
        path = f"{prefix}{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise FileFormatError(f"{where}: {path}", "is a soft or external link", _FETCH_AGAIN)
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise FileFormatError(f"{where}: {path}", "is linked twice", _FETCH_AGAIN)
        seen.add(address)
        if not isinstance(item, h5py.Group | h5py.Dataset):
            raise FileFormatError(f"{where}: {path}", "is neither a group nor a dataset", _FETCH_AGAIN)
        yield path, item
        if isinstance(item, h5py.Group):
            yield from _survey(item, f"{path}/", seen, where)


def _plain(item: Any) -> bool:
    """Whether an attribute or dataset has one of the types that version 1 knows, to the bit."""
    stored = item.id.get_type() if isinstance(item, h5py.Dataset) else item.get_type()
    if stored.get_class() == h5py.h5t.STRING:
        known = item.shape == ()
        dtype = _text_dtype(stored.get_size())
    else:
        dtype = np.dtype(item.dtype.str)
        known = dtype in _DTYPES if isinstance(item, h5py.Dataset) else dtype in _NUMBERS and item.shape == ()
    return bool(known and item.shape is not None and stored == h5py.h5t.py_create(dtype, logical=True))


def _unpacked_bytes(item: Any, where: str) -> int:
    """Return the bytes that reading takes; refuse any layout that version 1 does not have."""
    if isinstance(item, h5py.Group):
        return 0
    if not _plain(item):
        raise FileFormatError(where, f"has a type that version {VERSION} does not have", _FETCH_AGAIN)
    if not isinstance(item, h5py.Dataset):
        return int(item.get_type().get_size())
    layout = item.id.get_create_plist()
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    if (
        len(item.attrs)
        or item.external
        or layout.get_layout() == h5py.h5d.VIRTUAL
        or filters not in ([], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE], [h5py.h5z.FILTER_DEFLATE])
    ):
        what = "is a dataset that is not plain, or packed other than by shuffle and gzip"
        raise FileFormatError(where, what, _FETCH_AGAIN)
    # A chunk may be declared larger than its dataset; it is unpacked whole.
    return int(item.dtype.itemsize * max(prod(item.shape), prod(item.chunks or ())))


def _require_chunks_as_declared(dataset: h5py.Dataset, where: str) -> None:
    # HDF5 inflates a chunk to whatever it holds, however small its declared size.
    n_bytes = dataset.dtype.itemsize * prod(dataset.chunks)

    def require(chunk: Any) -> None:
        _, packed = dataset.id.read_direct_chunk(chunk.chunk_offset)
        inflate = zlib.decompressobj()
        if chunk.filter_mask or len(inflate.decompress(packed, n_bytes + 1)) != n_bytes:
            what = f"its chunk at {chunk.chunk_offset} does not unpack to {n_bytes} bytes"
            raise FileFormatError(where, what, _FETCH_AGAIN)

    dataset.id.chunk_iter(require)


def _narrowed(dataset: h5py.Dataset) -> Array | None:
    """Read a dataset of int64 into an array of int32, piece by piece; None if a number does not fit."""
    narrow = np.empty(dataset.shape, np.int32)
    for chunk in dataset.iter_chunks():
        wide = dataset[chunk]
        narrow[chunk] = wide
        if not np.array_equal(narrow[chunk], wide):
            return None
    return narrow


def _value(item: Any) -> Array | bytes:
    if isinstance(item, h5py.Dataset):
        value = item[()]
    else:
        value = np.empty((), item.dtype)
        item.read(value)
        value = value[()]
    return bytes(value) if isinstance(value, bytes) else np.asarray(value, item.dtype)


def _read(path: str, item: Any, where: str, *, narrow: bool = False) -> _Entry:
    if isinstance(item, h5py.Group):
        return _Entry(path=path, sort="group")
    if isinstance(item, h5py.Dataset) and item.chunks and item.compression:
        _require_chunks_as_declared(item, where)
        if narrow and item.dtype == np.int64:
            narrowed = _narrowed(item)
            if narrowed is not None:
                return _Entry(path=path, sort="array", value=narrowed, dtype=item.dtype)
    value = _value(item)
    sort = "text" if isinstance(value, bytes) else "array" if isinstance(item, h5py.Dataset) else "number"
    return _Entry(path=path, sort=sort, value=value)
