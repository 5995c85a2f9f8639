"""A run that is killed (SIGKILL) at random moments and goes on each time ends with the bits of one that ran through."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from spikegraph.trainer.folder import RECIPE
from spikegraph.trainer.log import CsvLog
from spikegraph.trainer.loop import CHECKPOINT, LOG, SUMMARY


def test_killed_at_random_moments(tmp_path: Path) -> None:
    command = [sys.executable, Path(__file__).parents[1] / "killed.py", tmp_path, "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
    for name in (CHECKPOINT, RECIPE, SUMMARY):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {CHECKPOINT, LOG, RECIPE, SUMMARY}
    logs = [CsvLog(tmp_path / run / LOG, resume=True) for run in ("killed", "whole")]
    assert set(logs[0].seconds) <= set(logs[1].seconds) == set(range(1, 7))
