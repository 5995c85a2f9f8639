"""The kernel under the address and undefined-behaviour sanitizers, on the random graphs (slow: compiled by hand)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc on Linux")
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    library = tmp_path / "kernel.so"
    flags = ["-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    subprocess.run(
        ["gcc", *flags, "-DSPIKEGRAPH_PLAIN_LIBRARY", "-shared", "-fPIC", str(KERNEL), "-o", str(library)], check=True
    )
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
