"""Code run with a compiled part that the address and undefined-behaviour sanitizers watch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc on Linux, which brings the sanitizers"
)


def run_sanitized(source: Path, code: str, folder: Path, *flags: str) -> None:
    """Compile `source` into a library, and run Python `code` that gets its path as sys.argv[1] and ends with "done"."""
    library = folder / f"{source.stem}.so"
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    plain = ["-std=gnu11", "-O1", "-g", "-DSPIKEGRAPH_PLAIN_LIBRARY", "-shared", "-fPIC"]
    subprocess.run(["gcc", *plain, *sanitizers, *flags, str(source), "-o", str(library)], check=True)
    asan = ["gcc", "-print-file-name=libasan.so"]
    preload = subprocess.run(asan, check=True, capture_output=True, text=True).stdout.strip()
    environment = {**os.environ, "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-c", code, str(library)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout.strip() == "done"
