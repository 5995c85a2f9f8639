"""Text files that are whole or absent, and one message where they cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spikegraph.export.errors import FileFormatError
from spikegraph.export.files import write_whole


def test_whole(tmp_path: Path) -> None:
    for text in ("one", "another"):
        write_whole(tmp_path / "log.csv", text)
        assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"log.csv": text}


def test_a_folder_that_was_deleted_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"log\.csv: cannot be written \(No such file or directory\); make room"):
        write_whole(tmp_path / "gone" / "log.csv", "one")


def test_a_full_disk_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "log.csv", "one")

    def half(path: Path, text: str, **_: object) -> int:
        path.write_bytes(text.encode()[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(FileFormatError, match=r"cannot be written \(No space left on device\)"):
        write_whole(tmp_path / "log.csv", "another")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"log.csv": "one"}


def test_a_name_that_is_a_folder_s(tmp_path: Path) -> None:
    (tmp_path / "log.csv" / "inside").mkdir(parents=True)
    with pytest.raises(FileFormatError, match="cannot be written"):
        write_whole(tmp_path / "log.csv", "one")
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
