"""Text files and folders that are whole or absent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spikegraph.export.errors import TargetError


def write_whole(path: Path, text: str) -> None:
    """Write text to a temporary name in the same folder, then rename."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


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
