"""Reading HDF5 that other tools wrote: into dicts of arrays and texts, in bounded memory, with nothing trusted."""

from __future__ import annotations

import os
from math import prod
from typing import Any

import h5py
import numpy as np

from spikegraph.export.container.trust import (
    FETCH_AGAIN,
    MAX_BYTES,
    items,
    opened,
    require_chunks_as_declared,
    require_stored,
)
from spikegraph.export.errors import FileFormatError

MAX_TEXTS = 1 << 20  # elements of all arrays of texts together
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def read_foreign(path: str | os.PathLike[str], *, wrote: str, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read an HDF5 file that is not spikegraph's.

    Parameters
    ----------
    path : path
    wrote : str
        What such files are written by, for messages: "give a file that {wrote} wrote".
    max_bytes : int
        Refuse a file that unpacks to more; known before any array is unpacked.

    Returns
    -------
    dict
        Of names to dicts (groups), arrays of numbers or bool (datasets; in the machine's byte order), and for texts str
        or, in an array, object arrays of str. Attributes are left out.

    Raises
    ------
    FileFormatError
        The file is missing, no HDF5 or damaged; holds links other than hard ones, references, compound or other types,
        arrays outside the file, filters other than gzip, shuffle and checksums; or unpacks to more than the limit.
    """
    tree: dict[str, Any] = {}
    with opened(path, wrote=wrote) as file:
        found = list(items(file, "", set(), where=str(path)))
        n_bytes = sum(_bytes(item, f"{path}: {name}") for name, item in found if isinstance(item, h5py.Dataset))
        if n_bytes > max_bytes:
            what = f"unpacks to {n_bytes} bytes, the limit is {max_bytes}"
            raise FileFormatError(str(path), what, "raise max_bytes if you trust the file")
        budget = _TextBudget(max_bytes)
        for name, item in found:
            *above, last = name.split("/")
            folder = tree
            for step in above:
                folder = folder[step]
            folder[last] = {} if isinstance(item, h5py.Group) else _value(item, f"{path}: {name}", budget)
    return tree


class _TextBudget:
    """What texts of variable length may still take: their length is known only once they are read."""

    def __init__(self, max_bytes: int) -> None:
        self.n_bytes, self.n = max_bytes, MAX_TEXTS

    def take(self, text: bytes, where: str) -> str:
        self.n_bytes -= len(text)
        self.n -= 1
        if self.n_bytes < 0 or self.n < 0:
            raise FileFormatError(where, "holds more text than any network has", FETCH_AGAIN)
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FileFormatError(where, "holds text that is not UTF-8", FETCH_AGAIN) from error


def _bytes(item: h5py.Dataset, where: str) -> int:
    layout = item.id.get_create_plist()
    filters = {layout.get_filter(i)[0] for i in range(layout.get_nfilters())}
    if item.external or layout.get_layout() == h5py.h5d.VIRTUAL:
        raise FileFormatError(where, "lies outside the file", FETCH_AGAIN)
    if not filters <= _FILTERS:
        raise FileFormatError(where, "is packed other than by gzip", "write it with gzip, or unpacked")
    if item.shape is None or (item.dtype.kind not in "biufS" and h5py.check_string_dtype(item.dtype) is None):
        raise FileFormatError(where, f"is neither numbers nor text (dtype {item.dtype})", FETCH_AGAIN)
    if h5py.check_string_dtype(item.dtype) is not None and item.size > MAX_TEXTS:
        raise FileFormatError(where, f"declares {item.size} texts, the limit is {MAX_TEXTS}", FETCH_AGAIN)
    require_stored(item, where)  # an array of any layout may be declared and never written
    # A chunk may be declared larger than its dataset; it is unpacked whole.
    return int(item.dtype.itemsize * max(prod(item.shape), prod(item.chunks or ())))


def _value(item: h5py.Dataset, where: str, budget: _TextBudget) -> Any:
    if item.chunks and item.compression:
        require_chunks_as_declared(item, where)
    if h5py.check_string_dtype(item.dtype) is None:
        value = np.asarray(item[()])
        return value.astype(value.dtype.newbyteorder("="))
    if item.shape == ():
        return budget.take(bytes(item[()]), where)
    texts = np.empty(item.shape, object)
    for place in np.ndindex(item.shape):  # one by one: many may refer to the same long text
        texts[place] = budget.take(bytes(item[place]), where)
    return texts
