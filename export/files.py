"""Text files and folders that are whole or absent."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spikegraph.export.errors import FileFormatError, TargetError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Hand out a temporary name beside a file; when all is written, and on the disk, it gets its own.

    Raises
    ------
    FileFormatError
        There is no such folder, the name is a folder's, or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise FileFormatError(str(path), f"the folder {path.parent} does not exist", "make it, or save elsewhere")
    if path.is_dir():
        raise FileFormatError(str(path), "is a folder", "give the name of a file in it")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:  # h5py raises either
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise FileFormatError(str(path), f"cannot be written ({reason})", "free space, or save elsewhere") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write text to a temporary name in the same folder, then rename.

    The name is the same each time: whoever is killed and goes on, as training does, leaves nothing behind.

    Raises
    ------
    FileFormatError
        It cannot be written: the folder is gone, the disk is full, …; an older file stays as it was.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise FileFormatError(str(path), what, "make room, or choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Hand out an empty folder under a temporary name; when all is in it, it gets its own.

    Raises
    ------
    TargetError
        There is such a file, or a folder that is not empty; or it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TargetError(str(folder), "exists and is not an empty folder", "choose a new folder, or remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            part = Path(temporary) / folder.name
            part.mkdir()  # by itself, because a temporary folder is closed to others
            yield part
            part.replace(folder)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise TargetError(str(folder), what, "choose another folder") from error
