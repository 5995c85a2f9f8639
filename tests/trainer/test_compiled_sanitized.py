"""The compiled window under the address and undefined-behaviour sanitizers (slow: compiled by hand)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "trainer" / "_window.c"
RUN = f"""
import ctypes, sys
sys.path.insert(0, {str(HERE)!r})
from spikegraph.trainer import compiled
library = ctypes.CDLL(sys.argv[1])
compiled.library = lambda: library
import test_compiled as tests
tests.test_floats()
tests.test_integers()
tests.test_the_ends_of_the_integers()
tests.test_threads_do_not_change_a_bit()
print("done")
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc on Linux")
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    library = tmp_path / "window.so"
    flags = ["-std=gnu11", "-O1", "-g", "-ffp-contract=off", "-fsanitize=address,undefined"]
    strict = ["-fno-sanitize-recover=undefined", "-DSPIKEGRAPH_PLAIN_LIBRARY", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, *strict, str(SOURCE), "-o", str(library)], check=True)
    preload = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    environment = {**os.environ, "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(library)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout.strip() == "done"
