"""The kernel of one-spike layers under the address and undefined-behaviour sanitizers (slow: compiled by hand)."""

from __future__ import annotations

from pathlib import Path

import pytest
from sanitized import needs_gcc, run_sanitized

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / "trainer" / "sstdp" / "_kernel.c"
RUN = f"""
import ctypes, sys
sys.path.insert(0, {str(HERE)!r})
from spikegraph.trainer.sstdp import kernel
library = ctypes.CDLL(sys.argv[1])
kernel.library = lambda: library
import test_kernel as tests
tests.test_the_kernel_is_the_definition()
tests.test_the_kernel_is_the_reference_engine()
tests.test_by_hand()
tests.test_sums_beyond_32_bits_keep_the_low_ones()
for geometry in tests.GEOMETRIES:
    for with_table in (False, True):
        tests.test_sums_over_pairs(geometry, with_table)
    tests.test_same_bits_with_any_number_of_threads(geometry)
print("done")
"""


@pytest.mark.slow
@needs_gcc
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    run_sanitized(SOURCE, RUN, tmp_path, "-ffp-contract=off")
