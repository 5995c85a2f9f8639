"""Writing a container: at once, or its arrays row by row as they come. A failure leaves no file behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.container.read import StoredArray
from spikegraph.export.container.tree import FORMAT, HEADER, VERSION, Entry, checksum_of, entries_of, text_dtype
from spikegraph.export.errors import FileFormatError

_LONGEST_ATTRIBUTE = 4096  # bytes; HDF5 allows 64 KiB in all
_SMALLEST_COMPRESSED = 1024  # bytes; below, a chunk index costs more than it saves
_CHUNK = 1 << 19  # bytes of an array that grows; what is smaller than one is kept in memory until the end


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
    with ContainerWriter(path, kind) as writer:
        writer.finish(tree)


class ContainerWriter:
    """A container whose arrays may grow, row by row, before the rest of its tree is known.

    Used in a `with` block. The file is there only once `finish` is through: until then it has a temporary name, and it
    is removed where the block is left by an error. The same rows give the same bytes, however they were cut into parts.

    Parameters
    ----------
    path : path
        Replaced in one step when everything is on the disk.
    kind : str
        What the tree is: "graph", "run", …

    Raises
    ------
    FileFormatError
        The folder does not exist or is not writable; there is no space.
    """

    def __init__(self, path: str | os.PathLike[str], kind: str) -> None:
        self._path, self._kind = Path(path), kind
        self._temporary = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.tmp")
        self._growing: dict[str, _Growing] = {}

    def __enter__(self) -> Self:
        path = self._path
        if not path.parent.is_dir():
            raise FileFormatError(str(path), f"the folder {path.parent} does not exist", "make it, or save elsewhere")
        if path.is_dir():
            raise FileFormatError(str(path), "is a folder", "give the name of a file in it")
        with self._writing():
            self._file = h5py.File(self._temporary, "x", libver=("earliest", "v110"))
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with suppress(OSError, RuntimeError):
                self._file.close()
        finally:
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    def append(self, rows: Mapping[str, Array]) -> None:
        """Append rows to arrays that grow along their first axis.

        Parameters
        ----------
        rows : mapping of path in the tree → ndarray (rows, …)
            In each call the same paths, the same number of rows for all of them.
        """
        for path, part in rows.items():
            if path not in self._growing:
                self._growing[path] = _Growing(self._file, path, part.shape[1:], part.dtype)
        # In the order in which chunks become full, so that the file does not show in which parts the rows came.
        full = [
            (end, path)
            for path, part in rows.items()
            for end in range(*self._growing[path].next_chunks(len(part)), self._growing[path].chunk[0])
        ]
        with self._writing():
            for end, path in sorted(full):
                self._growing[path].write(rows[path], end)
        for path, part in rows.items():
            self._growing[path].keep(part)

    def finish(self, tree: Mapping[str, Any]) -> dict[str, StoredArray]:
        """Write everything else, give the file its name, and return the arrays that grew, by their paths.

        Parameters
        ----------
        tree : dict
            As for `write_container`, without the arrays that grew.
        """
        whole: dict[str, Any] = dict(tree)
        with self._writing():
            for path, growing in self._growing.items():
                *parents, name = path.split("/")
                group = whole
                for parent in parents:
                    group[parent] = dict(group.get(parent, {}))
                    group = group[parent]
                group[name] = growing.finish()
            entries = entries_of(whole, where=str(self._path))
            checksum = checksum_of(self._kind, entries)
            for name, value in zip(HEADER, (FORMAT, VERSION, self._kind, checksum), strict=True):
                write_attribute(self._file, name, value.encode() if isinstance(value, str) else np.array(value, "<i8"))
            for entry in entries:
                _write(self._file, entry)
            grown = {
                entry.path: StoredArray.of(entry, self._path, checksum)
                for entry in entries
                if entry.path in self._growing
            }
            self._file.close()
            with self._temporary.open("rb+") as written:
                os.fsync(written.fileno())
            self._temporary.replace(self._path)
        return grown

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            what = f"cannot be written ({reason})"
            raise FileFormatError(str(self._path), what, "free space, or save elsewhere") from error


class _Growing:
    """An array that grows: whole chunks go to the file, the rest is kept."""

    def __init__(self, file: h5py.File, path: str, row: Shape, dtype: np.dtype[Any]) -> None:
        self._file, self._path, self._dtype = file, path, dtype.newbyteorder("<")
        self.chunk = _chunk(row, dtype.itemsize)
        self._kept = np.empty((0, *row), self._dtype)
        self._n_rows = 0  # in the file and kept
        self._dataset: h5py.Dataset | None = None

    def next_chunks(self, n: int) -> tuple[int, int]:
        """Return the range of row numbers in which further chunks end once n rows are appended."""
        written = self._n_rows - len(self._kept)
        return written + self.chunk[0], self._n_rows + n + 1

    def write(self, rows: Array, end: int) -> None:
        """Write the chunk that ends before row `end`; `rows` begins where the rows of earlier calls end."""
        rest = rows[max(end - self.chunk[0] - self._n_rows, 0) : end - self._n_rows]
        self._extend(np.concatenate([self._kept, rest]) if len(self._kept) else rest, end)
        self._kept = self._kept[:0]

    def keep(self, rows: Array) -> None:
        """Keep what does not fill a chunk."""
        written = 0 if self._dataset is None else len(self._dataset)
        rest = rows[max(written - self._n_rows, 0) :]
        self._kept = np.concatenate([self._kept, rest]).astype(self._dtype, copy=False)
        self._n_rows += len(rows)

    def finish(self) -> Array | h5py.Dataset:
        """Return the array if it was too small for a chunk, else the dataset that holds all of it."""
        if self._dataset is None:
            return self._kept
        if len(self._kept):
            self._extend(self._kept, self._n_rows)
        return self._dataset

    def _extend(self, rows: Array, end: int) -> None:
        if self._dataset is None:
            self._dataset = self._file.create_dataset(
                self._path,
                shape=(0, *rows.shape[1:]),
                maxshape=(None, *rows.shape[1:]),
                dtype=self._dtype,
                chunks=self.chunk,
                compression="gzip",
                compression_opts=1,
                shuffle=True,
                track_times=False,
            )
        self._dataset.resize(end, axis=0)
        self._dataset[end - len(rows) :] = np.ascontiguousarray(rows)


def _chunk(row: Shape, itemsize: int) -> Shape:
    """Choose chunks whose elements follow each other in C order: some rows, or a part of one row."""
    chunk = list(row)
    for axis in range(len(row)):
        inner = itemsize * int(np.prod(row[axis + 1 :]))
        chunk[axis] = max(min(row[axis], _CHUNK // inner), 1)
    return max(_CHUNK // (itemsize * int(np.prod(row))), 1), *chunk


def write_attribute(group: h5py.Group, name: str, value: Array | bytes) -> None:
    """Write one value of a tree, or of the header, as an attribute."""
    dtype = text_dtype(len(value)) if isinstance(value, bytes) else value.dtype
    group.attrs.create(name, value, dtype=dtype)


def _write(file: h5py.File, entry: Entry) -> None:
    folder, _, name = entry.path.rpartition("/")
    group = file[folder] if folder else file
    if isinstance(entry.value, h5py.Dataset):
        return  # it is there already
    if entry.sort == "group":
        group.require_group(name)
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
        group.create_dataset(name, data=entry.value, dtype=text_dtype(len(entry.value)), track_times=False)
    else:
        write_attribute(group, name, entry.value)
