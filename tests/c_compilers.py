"""The compilers that tests of the C target use, as commands; a test skips, with the reason, where one is missing."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
COMMANDS = {
    "gcc": ["gcc", "-O1", *WARNINGS],
    "gcc -O3": ["gcc", "-O3", *WARNINGS],
    "gcc sanitized": ["gcc", "-O1", *WARNINGS, *SANITIZERS],
    "clang -O2": ["clang", "-O2", *WARNINGS],
    "clang sanitized": ["clang", "-O1", *WARNINGS, *SANITIZERS],
    "gcc 32-bit": ["gcc", "-m32", "-O2", *WARNINGS],
}


def command(name: str) -> list[str]:
    """Return one of `COMMANDS`, or skip."""
    problem = _problem(name)
    if problem:
        pytest.skip(f"{name}: {problem}")
    return COMMANDS[name]


@functools.cache
def _problem(name: str) -> str | None:
    if shutil.which(COMMANDS[name][0]) is None:
        return "is not installed"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.c"
        source.write_text("#include <stdio.h>\nint main(void) { return 0; }\n")
        compiled = subprocess.run(
            [*COMMANDS[name], str(source), "-o", f"{folder}/empty"], capture_output=True, text=True
        )
    return None if compiled.returncode == 0 else f"cannot compile here ({compiled.stderr.strip()[:200]})"
