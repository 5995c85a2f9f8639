"""What the suite fetches is what it names, or is refused; without a network, on archives made here."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from conformance import fetch


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with both archives, as if pip had put them there; one of the files within wants to lie elsewhere."""
    folder = tmp_path / "cache"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.whl", "w") as wheel:
        wheel.writestr("tests/lava/lib/dl/netx/tiny.net", b"network")
        wheel.writestr("tests/lava/lib/dl/netx/gts/dense/in.npy", b"spikes")
        wheel.writestr("../../evil", b"evil")
    with tarfile.open(folder / "b.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("sinabs-3.1.3/docs/net.nir")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"nir"))
        link = tarfile.TarInfo("sinabs-3.1.3/docs/link.nir")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    archives = {
        project: (["never-asked"], name, hashlib.sha256((folder / name).read_bytes()).hexdigest())
        for project, name in (("lava-dl", "a.whl"), ("sinabs", "b.tar.gz"))
    }
    monkeypatch.setattr(fetch, "CACHE", folder)
    monkeypatch.setattr(fetch, "ARCHIVES", archives)
    return folder


def test_single_files_are_unpacked_under_names_of_ours(cache: Path) -> None:
    assert fetch.lava_dl("tiny.net").read_bytes() == b"network"
    assert fetch.lava_dl("gts/dense/in.npy") == cache / "lava-dl" / "gts-dense-in.npy"
    assert fetch.sinabs("docs/net.nir").read_bytes() == b"nir"
    names = sorted(str(p.relative_to(cache.parent)) for p in cache.parent.rglob("*") if p.is_file())
    assert names == [
        "cache/a.whl",
        "cache/b.tar.gz",
        "cache/lava-dl/gts-dense-in.npy",
        "cache/lava-dl/tiny.net",
        "cache/sinabs/docs-net.nir",
    ]


def test_links_and_files_that_are_not_there(cache: Path) -> None:
    with pytest.raises(KeyError):
        fetch.sinabs("docs/link.nir")
    with pytest.raises(KeyError):
        fetch.lava_dl("none.net")
    assert not list(cache.rglob("*.part"))


def test_another_archive_than_the_one_that_is_meant(cache: Path) -> None:
    with (cache / "a.whl").open("ab") as wheel:
        wheel.write(b"x")
    with pytest.raises(ValueError, match=r"expected [0-9a-f]{64}; remove it"):
        fetch.lava_dl("tiny.net")


def test_files_without_end(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_MOST", 5)
    with pytest.raises(ValueError, match="unpacks to more than 5 bytes"):
        fetch.lava_dl("tiny.net")
