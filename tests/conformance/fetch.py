"""Files of other projects, fetched through pip into a cache, and believed if their SHA-256 is the one known here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

CACHE = Path(os.environ.get("CONFORMANCE_CACHE", Path(__file__).parents[2] / ".conformance"))
_MOST = 64 << 20  # bytes of one file within an archive

# What pip downloads: its arguments, the file's name, its SHA-256.
ARCHIVES = {
    "lava-dl": (
        ["--ignore-requires-python", "lava-dl==0.6.0"],
        "lava_dl-0.6.0-py3-none-any.whl",
        "bcb448f2bb85dc0da4b4dbbbae16543d2a978c1da7279acc522ad621fc68c437",
    ),
    "sinabs": (
        ["--no-binary", ":all:", "sinabs==3.1.3"],
        "sinabs-3.1.3.tar.gz",
        "3289b01083e7c59af2c74b7ee5c3df5cc1197148625e5acc655fceab1a8ffe44",
    ),
}
_NETX = "tests/lava/lib/dl/netx"


def lava_dl(member: str) -> Path:
    """Return a file of lava-dl's tests, such as "tiny.net" or "gts/dense/in.npy"."""
    return _member("lava-dl", f"{_NETX}/{member}", member)


def sinabs(member: str) -> Path:
    """Return a file of sinabs' source distribution."""
    return _member("sinabs", f"sinabs-3.1.3/{member}", member)


def _member(project: str, inside: str, name: str) -> Path:
    """Return one file of an archive; it lies under a name that this project chose, whatever the archive says."""
    path = CACHE / project / name.replace("/", "-")
    if not path.exists():
        content = _content(_archive(project), inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)
    return path


def _content(archive: Path, inside: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(inside) as file:
            content = file.read(_MOST + 1)
    else:
        with tarfile.open(archive) as tar:
            member = tar.extractfile(inside)
            if member is None:
                raise ValueError(f"{archive}: {inside} is no file")
            content = member.read(_MOST + 1)
    if len(content) > _MOST:
        raise ValueError(f"{archive}: {inside} unpacks to more than {_MOST} bytes")
    return content


def _archive(project: str) -> Path:
    arguments, name, sha256 = ARCHIVES[project]
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", str(CACHE), *arguments], check=True)
    require(path, sha256)
    return path


def require(path: Path, sha256: str) -> None:
    """Raise `ValueError` for a file that is not the one that is meant."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{path} has the SHA-256 {found}, expected {sha256}; remove it, and fetch it again")
