"""The tree that a spikegraph file holds, as a flat list of entries, and the checksum over it.

A tree is a dict of names to arrays, values or further dicts. In the file a dict is a group, an array a dataset, and a
value an attribute: a number if it is one, else JSON text (in a dataset of its own where it is long). docs/format.md
specifies all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from spikegraph.export.connectivity import Array
from spikegraph.export.container.trust import FETCH_AGAIN
from spikegraph.export.errors import FileFormatError
from spikegraph.export.graph import NAME

VERSION = 1
FORMAT = "spikegraph"
HEADER = ("format", "version", "kind", "checksum")
DTYPES = frozenset(
    np.dtype(name).newbyteorder("<")
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
)
_PIECE = 1 << 19  # bytes that are read, converted or hashed at a time


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
class Entry:
    """One thing in a tree: a "group", "number", "text" or "array" with its path, and what it holds.

    An array may be a dataset, or what stands for one, that stays in its file. `dtype`: the type in the file of an array
    that memory holds in a narrower one.
    """

    path: str
    sort: str
    value: Any = b""  # bytes, ndarray or h5py.Dataset
    dtype: np.dtype[Any] | None = None


def tree_checksum(kind: str, tree: Mapping[str, Any]) -> str:
    """Return the checksum that a file of this kind with this tree carries: SHA-256 in hexadecimal."""
    return checksum_of(kind, entries_of(tree, where=kind))


def checksum_of(kind: str, entries: Iterable[Entry]) -> str:
    """Return the checksum of a file of this kind with these entries, in any order."""
    digest = hashlib.sha256()

    def add(field: bytes) -> None:
        digest.update(len(field).to_bytes(8, "little"))
        digest.update(field)

    for word in (FORMAT, str(VERSION), kind):
        add(word.encode())
    for entry in sorted(entries, key=lambda entry: entry.path):
        value = entry.value
        if isinstance(value, bytes):
            for field in (entry.path.encode(), entry.sort.encode(), b"", b"", value):
                add(field)
            continue
        dtype = entry.dtype or value.dtype
        for text in (entry.path, entry.sort, dtype.name, ",".join(str(n) for n in value.shape)):
            add(text.encode())
        digest.update((value.size * dtype.itemsize).to_bytes(8, "little"))
        for piece in _pieces(value):
            digest.update(np.ascontiguousarray(piece, dtype).data)
    return digest.hexdigest()


def _pieces(dataset: Array | h5py.Dataset) -> Iterator[Array]:
    """Yield the elements of an array in C order, in pieces that are whole chunks of its dataset where they can be."""
    if isinstance(dataset, np.ndarray):
        flat = np.ascontiguousarray(dataset).reshape(-1)
        yield from (flat[first : first + _PIECE // 8] for first in range(0, flat.size, _PIECE // 8))
        return
    if dataset.size == 0 or dataset.ndim == 0:
        yield dataset[()]
        return
    chunks = dataset.chunks or (1,) * dataset.ndim
    row_bytes = dataset.dtype.itemsize * dataset.size // dataset.shape[0]
    n_rows = max(_PIECE // row_bytes // chunks[0], 1) * chunks[0]
    if row_bytes * n_rows <= _PIECE or dataset.ndim == 1:
        for first in range(0, dataset.shape[0], n_rows):
            yield dataset[first : first + n_rows]
        return
    n_columns = max(_PIECE * dataset.shape[1] // row_bytes // chunks[1], 1) * chunks[1]
    for row in range(dataset.shape[0]):
        for first in range(0, dataset.shape[1], n_columns):
            yield dataset[row, first : first + n_columns]


def entries_of(tree: Mapping[str, Any], where: str, prefix: str = "") -> list[Entry]:
    """Lay a tree out as entries, sorted by path."""
    entries: list[Entry] = []
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if not isinstance(name, str) or not NAME.match(name) or path in HEADER:
            what = f"the name {name!r} is taken by the header or is not letters, digits, '_', '.' or '-'"
            raise FileFormatError(f"{where}: {path}", what, "rename it")
        if isinstance(value, Mapping):
            entries += [Entry(path=path, sort="group"), *entries_of(value, where, f"{path}/")]
        else:
            entries.append(_entry(path, value, where=f"{where}: {path}"))
    return sorted(entries, key=lambda entry: entry.path)


def _entry(path: str, value: Any, where: str) -> Entry:
    if isinstance(value, Wider):
        wider = np.dtype(value.dtype).newbyteorder("<")
        return replace(_entry(path, value.value, where), dtype=wider if np.can_cast(value.value.dtype, wider) else None)
    if isinstance(value, h5py.Dataset):
        return Entry(path=path, sort="array", value=value)
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"), order="C", copy=False)
        if little.dtype not in DTYPES:
            what = f"arrays of {value.dtype} cannot be stored"
            raise FileFormatError(where, what, "store bool, integers of 8 to 64 bits, float32 or float64")
        return Entry(path=path, sort="array", value=little)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) or (type(value) is int and -(1 << 63) <= value < 1 << 63):
        dtype = "<f8" if isinstance(value, float) else "<i8"
        return Entry(path=path, sort="number", value=np.array(value, dtype))
    plain = value.value if isinstance(value, Json) else list(value) if isinstance(value, tuple) else value
    try:
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        encoded = text.encode()
        if json.loads(text) != plain:
            raise ValueError("a tuple, or a key that is not text")
    except (TypeError, ValueError, RecursionError) as error:
        what = f"holds something that JSON would not give back as it was ({error})"
        raise FileFormatError(where, what, "use None, bool, finite numbers, str, list and dict only") from error
    return Entry(path=path, sort="text", value=encoded)


def tree_of(entries: Iterable[Entry], where: str) -> dict[str, Any]:
    """Put entries back into a tree; a dataset stays one."""
    tree: dict[str, Any] = {}
    for entry in sorted(entries, key=lambda entry: entry.path):
        *parents, name = entry.path.split("/")
        group = tree
        for parent in parents:
            group = group[parent]
        if not NAME.match(name) or name in group:
            what = f"{entry.path!r} is not a name, or a name that is there twice"
            raise FileFormatError(where, what, FETCH_AGAIN)
        if entry.sort == "array":
            group[name] = entry.value
        elif isinstance(entry.value, np.ndarray):
            group[name] = entry.value.item()
        else:
            group[name] = {} if entry.sort == "group" else json.loads(entry.value, parse_constant=_refuse_constant)
    return tree


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def text_dtype(n_bytes: int) -> np.dtype[Any]:
    """Return the type of a text of so many bytes of UTF-8."""
    dtype: np.dtype[Any] = h5py.string_dtype("utf-8", n_bytes)
    return dtype
