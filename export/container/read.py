"""Reading a container: files come from anywhere, so nothing is read before its layout and size are known."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.container.tree import (
    DTYPES,
    FORMAT,
    HEADER,
    VERSION,
    Entry,
    checksum_of,
    text_dtype,
    tree_of,
)
from spikegraph.export.container.trust import (
    FETCH_AGAIN,
    MAX_BYTES,
    items,
    opened,
    require_chunks_as_declared,
    require_stored,
)
from spikegraph.export.errors import FileFormatError
from spikegraph.export.graph import NAME

_NUMBERS = (np.dtype("<i8"), np.dtype("<f8"))


@dataclass(frozen=True, kw_only=True)
class StoredArray:
    """An array that stays in its file until it is read, which may be done in parts.

    Parameters
    ----------
    file : path
    path : str
        Path in the tree.
    shape : tuple of int
    dtype : dtype
    checksum : str
        Of the file in which it was found: read from no other.
    """

    file: Path
    path: str
    shape: Shape
    dtype: np.dtype[Any]
    checksum: str

    @classmethod
    def of(cls, entry: Entry, file: Path, checksum: str) -> StoredArray:
        """Stand for the array of an entry."""
        value = entry.value
        return cls(file=file.absolute(), path=entry.path, shape=value.shape, dtype=value.dtype, checksum=checksum)

    def read(self, first: int = 0, last: int | None = None) -> Array:
        """Return rows `first` up to, not including, `last`; raises `FileFormatError` if the file is another by now."""
        with opened(self.file) as file:
            if _header(file, where=str(self.file))["checksum"] != self.checksum:
                raise FileFormatError(str(self.file), "was replaced since it was opened", "load it again")
            return np.asarray(file[self.path][first:last])


def read_container(
    path: str | os.PathLike[str],
    kind: str,
    *,
    max_bytes: int = MAX_BYTES,
    leave: Collection[str] = (),
    narrow: bool = False,
) -> dict[str, Any]:
    """Read a tree from a file.

    Parameters
    ----------
    path : path
    kind : str
        What the file must be.
    max_bytes : int
        Refuse a file that unpacks to more; known before anything is unpacked.
    leave : collection of str
        Names of groups at the root whose arrays stay in the file: they are checked, but do not count in `max_bytes`.
    narrow : bool
        Return packed arrays of int64 as int32 where every number fits; they are never in memory as int64.

    Returns
    -------
    dict
        The tree: arrays (little-endian, writable; `StoredArray` for those left in the file), dicts, and JSON values.

    Raises
    ------
    FileFormatError
        The file is missing, damaged, not a spikegraph file, of another kind or a newer version, holds what no
        spikegraph writes, is too large, or its content is not what its checksum says.
    """
    with opened(path, cached=bool(leave)) as file:
        header = _header(file, where=str(path))
        if header["kind"] != kind:
            what = f"is a {header['kind']}, expected a {kind}"
            raise FileFormatError(str(path), what, f"give the file of a {kind}")
        found = list(_survey(file, where=str(path)))
        left = {name for name, item in found if name.partition("/")[0] in leave and _is_array(item)}
        n_bytes = sum(_unpacked_bytes(item, where=f"{path}: {name}", left=name in left) for name, item in found)
        if n_bytes > max_bytes:
            what = f"unpacks to {n_bytes} bytes, the limit is {max_bytes}"
            raise FileFormatError(str(path), what, "raise max_bytes if you trust the file")
        entries = [_read(name, item, where=f"{path}: {name}", left=name in left, narrow=narrow) for name, item in found]
        checksum = checksum_of(kind, entries)
        if checksum != header["checksum"]:
            what = f"its content has the checksum {checksum}, but the file says {header['checksum']}: it was changed"
            raise FileFormatError(str(path), what, FETCH_AGAIN)
        stored = [
            replace(entry, value=StoredArray.of(entry, Path(path), checksum))
            if isinstance(entry.value, h5py.Dataset)
            else entry
            for entry in entries
        ]
        return tree_of(stored, where=str(path))


def container_kind(path: str | os.PathLike[str]) -> str:
    """Tell what a file is ("graph", "run", …) without reading its content; raises as `read_container` does."""
    with opened(path) as file:
        return str(_header(file, where=str(path))["kind"])


def _header(file: h5py.File, where: str) -> dict[str, Any]:
    """Return the header of a file that this version can read."""
    header: dict[str, Any] = dict.fromkeys(HEADER)
    for name in HEADER:
        if name in file.attrs and _plain(file.attrs.get_id(name)):
            value = _value(file.attrs.get_id(name))
            header[name] = value.decode() if isinstance(value, bytes) else value.item()
    if header["format"] != FORMAT:
        raise FileFormatError(where, "is an HDF5 file, but not a spikegraph file", "give a file that spikegraph wrote")
    version = header["version"]
    if not isinstance(version, int) or version < 1:
        raise FileFormatError(where, f"has version {version}, which never existed", FETCH_AGAIN)
    if version > VERSION:
        what = f"is of version {version}, this spikegraph reads up to {VERSION}"
        raise FileFormatError(where, what, "upgrade spikegraph")
    if not NAME.match(header["kind"] or ""):
        raise FileFormatError(where, "does not say of which kind it is", FETCH_AGAIN)
    return header


def _survey(file: h5py.File, where: str) -> Iterator[tuple[str, Any]]:
    """Yield (path, object) for all attributes, datasets and groups of a file, without reading any."""
    yield from ((name, file.attrs.get_id(name)) for name in file.attrs if name not in HEADER)
    for path, item in items(file, "", set(), where):
        yield path, item
        if isinstance(item, h5py.Group):
            yield from ((f"{path}/{name}", item.attrs.get_id(name)) for name in item.attrs)


def _plain(item: Any) -> bool:
    """Whether an attribute or dataset has one of the types that version 1 knows, to the bit."""
    stored = item.id.get_type() if isinstance(item, h5py.Dataset) else item.get_type()
    if stored.get_class() == h5py.h5t.STRING:
        known = item.shape == ()
        dtype = text_dtype(stored.get_size())
    else:
        dtype = np.dtype(item.dtype.str)
        known = dtype in DTYPES if isinstance(item, h5py.Dataset) else dtype in _NUMBERS and item.shape == ()
    return bool(known and item.shape is not None and stored == h5py.h5t.py_create(dtype, logical=True))


def _is_array(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.id.get_type().get_class() != h5py.h5t.STRING


def _unpacked_bytes(item: Any, where: str, *, left: bool = False) -> int:
    """Return the bytes that reading takes; refuse any layout that version 1 does not have."""
    if isinstance(item, h5py.Group):
        return 0
    if not _plain(item):
        raise FileFormatError(where, f"has a type that version {VERSION} does not have", FETCH_AGAIN)
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
        raise FileFormatError(where, what, FETCH_AGAIN)
    if left:
        require_stored(item, where)
        return int(item.dtype.itemsize * prod(item.chunks or ()))
    # A chunk may be declared larger than its dataset; it is unpacked whole.
    return int(item.dtype.itemsize * max(prod(item.shape), prod(item.chunks or ())))


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


def _read(path: str, item: Any, where: str, *, left: bool = False, narrow: bool = False) -> Entry:
    if isinstance(item, h5py.Group):
        return Entry(path=path, sort="group")
    if isinstance(item, h5py.Dataset) and item.chunks and item.compression:
        require_chunks_as_declared(item, where)
    if left:
        return Entry(path=path, sort="array", value=item)
    if narrow and isinstance(item, h5py.Dataset) and item.chunks and item.compression and item.dtype == np.int64:
        narrowed = _narrowed(item)
        if narrowed is not None:
            return Entry(path=path, sort="array", value=narrowed, dtype=item.dtype)
    value = _value(item)
    sort = "text" if isinstance(value, bytes) else "array" if isinstance(item, h5py.Dataset) else "number"
    return Entry(path=path, sort=sort, value=value)
