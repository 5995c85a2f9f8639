"""neuron.h is C99, and its arithmetic is that of export/fixed.py, at both ends of every range."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from spikegraph.export import fixed

HEADER = Path(__file__).parents[2] / "hwsim" / "neuron.h"
SOURCE = f"""
#include "{HEADER}"
int32_t decay(int32_t y, int32_t keep) {{ return sg_decay(y, keep); }}
int32_t decay_small(int32_t y, int32_t keep, int bits) {{ return sg_decay_small(y, keep, bits); }}
int32_t wrap24(uint32_t y) {{ return sg_wrap24(y); }}
int32_t saturate24(int32_t y) {{ return sg_saturate24(y); }}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("neuron")
    (folder / "neuron.c").write_text(SOURCE)
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, str(folder / "neuron.c"), "-o", str(folder / "neuron.so")], check=True)
    return ctypes.CDLL(str(folder / "neuron.so"))


STATES = [0, 1, -1, 63, -64, 4095, -4095, 4096, -4096, 2**23 - 1, 1 - 2**23, 2**23]


def test_decay(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(0)
    for y in [*STATES, *rng.integers(-(2**23), 2**23, 300).tolist()]:
        for d in [0, 1, 2, 2047, 2048, 4094, 4095, 4096, *rng.integers(0, 4097, 5).tolist()]:
            kept = abs(y) * (4096 - d) // 4096
            assert library.decay(y, 4096 - d) == (kept if y >= 0 else -kept) == fixed.decay(y, d)


def test_small_decay(library: ctypes.CDLL) -> None:
    """At the ends of what it holds: |y| · keep just below 2^31."""
    rng = np.random.default_rng(2)
    for d in [0, 1, 2, 128, 256, 2048, 3000, 4095, 4096, *rng.integers(0, 4097, 20).tolist()]:
        unit = int(np.gcd(4096, 4096 - d))
        keep, bits = (4096 - d) // unit, 12 - unit.bit_length() + 1
        most = min((2**31 - 1) // max(keep, 1), 2**23)
        for y in [0, 1, 63, most - 1, most, *rng.integers(0, most, 50).tolist()]:
            assert library.decay_small(y, keep, bits) == fixed.decay(y, d)
            assert library.decay_small(-y, keep, bits) == fixed.decay(-y, d)


def test_wrap_and_saturate(library: ctypes.CDLL) -> None:
    rng = np.random.default_rng(1)
    ends = [k * 2**24 + e for k in (-127, -2, -1, 0, 1, 2, 126) for e in (-(2**23), 1 - 2**23, 2**23 - 1, 2**23)]
    for y in [*STATES, *ends, -(2**31), 2**31 - 1, *rng.integers(-(2**31), 2**31, 300).tolist()]:
        assert library.wrap24(ctypes.c_uint32(y & 0xFFFFFFFF)) == fixed.wrap24(y)
        assert library.saturate24(y) == fixed.saturate24(y) == max(1 - 2**23, min(2**23 - 1, y))
