"""Archives: nothing is written, whatever a member is called, and none makes us read or hold more than is expected."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib

import pytest

from spikegraph.export.errors import DataError
from spikegraph.trainer.data.archive import read_members

MOST, LIMIT = 1000, 1 << 20


def names_and_contents(path):
    return list(read_members(path, lambda name: name.endswith(".bin"), most=MOST, limit=LIMIT))


def tar_of(path, *members):
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def member(name, size=0, **fields):
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_members_that_lead_elsewhere_write_nothing(tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    before = sorted(tmp_path.rglob("*"))
    packed = tar_of(
        inside / "a.tar.gz",
        (member("../evil.bin", 4), b"evil"),
        (member("/evil.bin", 4), b"evil"),
        (member("link.bin", type=tarfile.SYMTYPE, linkname="../secret.bin"), b""),
        (member("hard.bin", type=tarfile.LNKTYPE, linkname="../secret.bin"), b""),
        (member("pipe.bin", type=tarfile.FIFOTYPE), b""),
    )
    assert [content for _, content in names_and_contents(packed)] == [b"evil", b"evil"]  # read, and only that
    with zipfile.ZipFile(inside / "a.zip", "w") as archive:
        archive.writestr("../evil.bin", b"evil")
    assert names_and_contents(inside / "a.zip") == [("../evil.bin", b"evil")]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, inside / "a.tar.gz", inside / "a.zip"])


@pytest.mark.parametrize("opener", [gzip.open, lzma.open], ids=["gz", "xz"])
def test_a_member_of_many_gigabytes(tmp_path, opener, monkeypatch):
    """The header says 64 GB, of which 4 MB of zeros are there: reading ends at the limit, in pieces."""
    path = tmp_path / ("bomb.tar.gz" if opener is gzip.open else "bomb.tar.xz")
    for name in ("not-wanted", "wanted.bin"):
        with opener(path, "wb") as file:
            file.write(member(name, 64 << 30).tobuf())
            file.write(bytes(4 << 20))
        with pytest.raises(
            DataError, match=r"more than 1048576 bytes when unpacked|has 68719476736 bytes, at most 1000"
        ):
            names_and_contents(path)


def test_many_members_that_are_too_large_together(tmp_path):
    content = bytes(900)
    packed = tar_of(tmp_path / "a.tar.gz", *[(member(f"{k}.bin", 900), content) for k in range(1200)])
    with pytest.raises(DataError, match="more than 1048576 bytes when unpacked"):
        names_and_contents(packed)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(1200):
            archive.writestr(f"{k}.bin", content)
    with pytest.raises(DataError, match="more than 1048576 bytes when unpacked"):
        names_and_contents(tmp_path / "a.zip")


def test_a_name_of_gigabytes_is_not_read(tmp_path):
    """A header of GNU's long names announces a name of 2 GB."""
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(member("././@LongLink", 2 << 30, type=tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT))
        file.write(b"a" * (8 << 20))
    with pytest.raises(DataError, match="a piece of 2147483648 bytes, at most 1048576 are expected"):
        names_and_contents(path)


def test_a_zip_that_lies_about_a_size(tmp_path):
    """The directory says 10 bytes, the content has 10 MB: not more than 10 are unpacked, and they are not whole."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", bytes(10 << 20))
    content = path.read_bytes()
    path.write_bytes(content.replace((10 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="cannot be read"):
        names_and_contents(path)


def test_a_zip_with_one_large_member(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", bytes(1001))
    with pytest.raises(DataError, match=r"a\.bin has more than 1000 bytes"):
        names_and_contents(tmp_path / "a.zip")


def test_not_an_archive(tmp_path):
    for suffix in (".zip", ".tar.gz", ".tar.xz", ".tgz"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(zlib.compress(b"what else" * 200))
        with pytest.raises(DataError, match=r"cannot be read .*; fetch the file again"):
            names_and_contents(path)


def test_an_encrypted_zip(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.bin", b"secret")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag in the member's header, and in the directory
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read \(.*encrypted"):
        names_and_contents(path)
