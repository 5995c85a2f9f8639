"""What is installed from a wheel, and not from a working tree, has every file that it reads."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {".py", ".pyc", ".so"}
DATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
FILES = sorted(
    path.relative_to(ROOT / "src")
    for folder in ("", "export", "hwsim", "targets", "trainer")
    for path in (ROOT / "src/spikegraph" / folder).rglob("*")
    if path.is_file() and path.suffix not in SOURCES and "__pycache__" not in path.parts
)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_that_is_no_module_is_package_data(file: Path) -> None:
    package = ".".join(file.parent.parts)
    assert any(file.match(pattern) for pattern in DATA.get(package, ())), f"{file} would be missing from a wheel"


def test_there_are_such_files() -> None:
    assert {path.suffix for path in FILES} >= {".toml", ".h", ".c"}
