"""Memory that is freed stays with the process: it is not cleared anew, page by page, for the next block."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SIZE = 64 << 20  # beyond 32 MB glibc always hands a block back, unless it is told not to
RUN = f"""
import ctypes, resource, sys
from spikegraph.trainer.memory import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.memset.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
libc.free.argtypes = (ctypes.c_void_p,)
done = keep_freed_memory() if sys.argv[1] == "keep" else True
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc({SIZE})
    libc.memset(block, 1, {SIZE})
    libc.free(block)
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(how: str) -> tuple[str, int]:
    out = subprocess.run([sys.executable, "-c", RUN, how], capture_output=True, text=True, check=True).stdout
    done, faults = out.split()
    return done, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc")
def test_a_freed_block_is_used_again() -> None:
    page = 4096
    assert run("as it is") == ("True", pytest.approx(SIZE / page, rel=0.1))
    done, faults = run("keep")
    assert done == "True"
    assert faults < 100


def test_elsewhere_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikegraph.trainer import memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory()
