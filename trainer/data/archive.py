"""Files by name, out of a folder or an archive (.zip, .tar.gz, .tar.xz), without unpacking anything to disk.

Nothing that an archive says is believed: not where a member wants to lie, nor how large it is. What is wanted is
chosen by name, read into memory up to a limit, and the rest is passed over, also up to a limit.
"""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from spikegraph.export.errors import DataError

_TAR: dict[str, Callable[[Path], Any]] = {
    ".tar.gz": gzip.open,
    ".tgz": gzip.open,
    ".tar.xz": lzma.open,
}
SUFFIXES = (".zip", *_TAR)
_REMEDY = "fetch the file again"
_BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)
_SEALED = RuntimeError  # a zip that is encrypted, or packed in an unknown way


class _Limited:
    """A stream that can be read up to a limit only, and at most `piece` bytes at once: what tarfile reads from."""

    def __init__(self, stream: IO[bytes], limit: int, piece: int) -> None:
        self._stream, self._limit, self._piece = stream, limit, piece

    def read(self, size: int) -> bytes:
        if size > self._piece:
            raise ValueError(f"a piece of {size} bytes, at most {self._piece} are expected")
        content = self._stream.read(size)
        self._require(self._stream.tell())
        return content

    def seek(self, place: int) -> None:
        self._require(place)
        self._stream.seek(place)

    def tell(self) -> int:
        return self._stream.tell()

    def _require(self, place: int) -> None:
        if place > self._limit:
            raise ValueError(f"more than {self._limit} bytes when unpacked")


def read_members(path: Path, wanted: Callable[[str], bool], *, most: int, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each wanted file, in the order of the archive; of a folder, sorted.

    Parameters
    ----------
    path : Path
        A folder, or an archive with one of `SUFFIXES`.
    wanted : callable(name) → bool
        Chooses by the name inside, with "/" between folders.
    most : int
        Bytes that a wanted file may have.
    limit : int
        Bytes that all files of an archive may have together, wanted or not.

    Raises
    ------
    DataError
        The archive is damaged, a wanted file is larger than `most`, or all of them are larger than `limit`.
    """
    try:
        if path.is_dir():
            yield from _from_folder(path, wanted, most)
        elif path.name.endswith(".zip"):
            yield from _from_zip(path, wanted, most, limit)
        else:
            opener = next(opener for suffix, opener in _TAR.items() if path.name.endswith(suffix))
            with opener(path) as stream:
                yield from _from_tar(stream, wanted, most, limit)
    except (*_BROKEN, _SEALED) as error:
        raise DataError(str(path), f"cannot be read ({error})", _REMEDY) from error


def _from_folder(folder: Path, wanted: Callable[[str], bool], most: int) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if wanted(name) and path.is_file():
            with path.open("rb") as file:
                yield name, _whole(file.read(most + 1), name, most)


def _from_zip(path: Path, wanted: Callable[[str], bool], most: int, limit: int) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and wanted(member.filename)]
        if sum(member.file_size for member in members) > limit:
            raise ValueError(f"more than {limit} bytes when unpacked")
        for member in members:
            with archive.open(member) as file:
                yield member.filename, _whole(file.read(most + 1), member.filename, most)


def _from_tar(stream: IO[bytes], wanted: Callable[[str], bool], most: int, limit: int) -> Iterator[tuple[str, bytes]]:
    limited = _Limited(stream, limit, max(most, 1 << 20))  # 1 MiB: headers, and names however long
    with tarfile.open(fileobj=limited, mode="r:") as archive:  # type: ignore[call-overload]
        for member in archive:
            if member.isreg() and wanted(member.name):
                if member.size > most:
                    raise ValueError(f"{member.name} has {member.size} bytes, at most {most} are expected")
                file = archive.extractfile(member)
                yield member.name, _whole(file.read() if file else b"", member.name, most)
    while limited.read(1 << 20):  # to its end: tarfile takes a damaged header for the end, the checksum does not
        pass


def _whole(content: bytes, name: str, most: int) -> bytes:
    if len(content) > most:
        raise ValueError(f"{name} has more than {most} bytes")
    return content
