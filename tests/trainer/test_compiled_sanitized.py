"""The compiled window under the address and undefined-behaviour sanitizers (slow: compiled by hand)."""

from __future__ import annotations

from pathlib import Path

import pytest
from sanitized import needs_gcc, run_sanitized

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
@needs_gcc
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    run_sanitized(SOURCE, RUN, tmp_path, "-ffp-contract=off")
