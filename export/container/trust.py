"""What any HDF5 file is asked before it is trusted: its links, its filters, and how much it unpacks to."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py

from spikegraph.export.errors import FileFormatError

MAX_BYTES = 8 << 30  # 8 GiB
FETCH_AGAIN = "fetch or write the file again"

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_DEFLATES_TO = 1032  # times its size, at most (RFC 1951)
# What h5py, NumPy, zlib and json raise over a damaged file.
DAMAGE = (OSError, LookupError, RuntimeError, ValueError, TypeError, ArithmeticError, MemoryError, zlib.error)


@contextmanager
def opened(path: str | os.PathLike[str], *, cached: bool = True, wrote: str = "spikegraph") -> Iterator[h5py.File]:
    """Open a file for reading and turn whatever h5py raises over it into one clear error.

    Not `cached`: no chunk is read twice, so that a cache of them would only take room.
    """
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
        raise FileFormatError(where, what, f"give a file that {wrote} wrote")
    try:
        with h5py.File(path, "r", rdcc_nbytes=None if cached else 0) as file:
            yield file
    except DAMAGE as error:
        what = f"is truncated or damaged ({type(error).__name__}: {error})"
        raise FileFormatError(where, what, FETCH_AGAIN) from error


def items(group: h5py.Group, prefix: str, seen: set[int], where: str) -> Iterator[tuple[str, Any]]:
    """Yield (path, group or dataset) of a group and all below, without reading any; refuse all but hard links."""
    for name in group:
        path = f"{prefix}{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise FileFormatError(f"{where}: {path}", "is a soft or external link", FETCH_AGAIN)
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise FileFormatError(f"{where}: {path}", "is linked twice", FETCH_AGAIN)
        seen.add(address)
        if not isinstance(item, h5py.Group | h5py.Dataset):
            raise FileFormatError(f"{where}: {path}", "is neither a group nor a dataset", FETCH_AGAIN)
        yield path, item
        if isinstance(item, h5py.Group):
            yield from items(item, f"{path}/", seen, where)


def require_stored(dataset: h5py.Dataset, where: str) -> None:
    """Refuse a dataset that declares more than its file can hold: to read it takes no longer than the file is large."""
    if dataset.nbytes > _DEFLATES_TO * dataset.id.get_storage_size():
        what = f"declares {dataset.nbytes} bytes, of which {dataset.id.get_storage_size()} are stored"
        raise FileFormatError(where, what, FETCH_AGAIN)


def require_chunks_as_declared(dataset: h5py.Dataset, where: str) -> None:
    """Refuse a chunk that does not inflate to its declared size: HDF5 inflates it to whatever it holds."""
    n_bytes = dataset.dtype.itemsize * prod(dataset.chunks)

    def require(chunk: Any) -> None:
        _, packed = dataset.id.read_direct_chunk(chunk.chunk_offset)
        inflate = zlib.decompressobj()
        if chunk.filter_mask or len(inflate.decompress(packed, n_bytes + 1)) != n_bytes:
            what = f"its chunk at {chunk.chunk_offset} does not unpack to {n_bytes} bytes"
            raise FileFormatError(where, what, FETCH_AGAIN)

    dataset.id.chunk_iter(require)
