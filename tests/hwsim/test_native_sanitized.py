"""The kernel under the address and undefined-behaviour sanitizers, on the random graphs (slow: compiled by hand)."""

from __future__ import annotations

from pathlib import Path

import pytest
from sanitized import needs_gcc, run_sanitized

HERE = Path(__file__).parent
KERNEL = HERE.parents[1] / "hwsim" / "_kernel.c"
RUN = f"""
import ctypes, sys
sys.path[:0] = [{str(HERE.parent)!r}, {str(HERE)!r}]
from spikegraph.hwsim import kernel as compiled
library = ctypes.CDLL(sys.argv[1])
library.sg_run.restype = library.sg_level.restype = ctypes.c_int64
compiled.kernel = lambda: library
compiled.kernel.cache_clear = lambda: None
import test_inputs, test_native as tests, test_until_decision
tests.test_random_graphs()
test_inputs.test_random_graphs()
test_until_decision.test_random_graphs()
test_until_decision.test_random_pipelined_graphs()
test_until_decision.test_several_outputs_that_decide_together()
tests.test_random_pipelined_graphs()
tests.test_threads_do_not_change_a_bit()
tests.test_graded_values_of_each_width()
tests.test_no_input_no_samples_and_no_projections()
for level in tests.HERE:
    for n_out in (1, 33, 257, 545):
        for largest in (127, 32767):
            tests.test_sizes_around_the_vectors(level, n_out, largest)
    tests.test_wide_layers_of_every_kind(level, {{"decay_u": 900}})
    tests.test_wide_layers_of_every_kind(level, {{"max_spikes": 1}})
print("done")
"""


@pytest.mark.slow
@needs_gcc
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    run_sanitized(KERNEL, RUN, tmp_path)
