"""Two processes on this machine train one network: together as one alone does, up to the order of sums."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import in_two_processes
import numpy as np
import pytest
import torch
from in_two_processes import data, recipe
from safetensors.torch import load_file

from spikegraph.trainer.checkpoint import read_progress
from spikegraph.trainer.loop import CHECKPOINT, LOG, RECIPE, SUMMARY, train_recipe
from spikegraph.trainer.processes import Processes


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that two processes left; the second one was killed in the end, which torchrun says by its exit code."""
    folder = tmp_path_factory.mktemp("two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, in_two_processes.__file__, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (folder / "lost.txt").exists(), done.stderr
    assert done.returncode == 1
    return folder


def says(folder: Path, rank: int) -> dict[str, object]:
    return json.loads((folder / f"{rank}.json").read_text())


def test_both_end_with_the_same_network(two: Path) -> None:
    first, second = (load_file(two / f"{rank}.safetensors") for rank in (0, 1))
    saved = load_file(two / "run" / CHECKPOINT)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name])
        assert torch.equal(first[name], saved[f"network.{name}"])
    assert says(two, 0)["summary"] == says(two, 1)["summary"]


def test_together_they_train_as_one_does(two: Path, tmp_path: Path) -> None:
    """The same batches and spikes, a last batch of one sample too, and metrics over all samples."""
    alone = train_recipe(recipe(), data(), tmp_path, resume=False, device="cpu", progress=lambda *_: None)
    together = says(two, 0)["summary"]
    assert together == alone  # accuracies of 12 and of 21 samples
    tensors, of_two = load_file(tmp_path / CHECKPOINT), load_file(two / "run" / CHECKPOINT)
    for name, tensor in tensors.items():
        torch.testing.assert_close(of_two[name], tensor, rtol=1e-4, atol=1e-6)
    of_one, of_both = (read_progress(folder / CHECKPOINT)["history"] for folder in (tmp_path, two / "run"))
    for one, both in zip(of_one, of_both, strict=True):
        assert one == pytest.approx(both, rel=1e-5)  # loss, accuracies, additions


def test_two_processes_repeat_their_own_bits_stopped_or_not(two: Path) -> None:
    for name in (CHECKPOINT, SUMMARY):
        assert (two / "run" / name).read_bytes() == (two / "stopped" / name).read_bytes()


def test_only_the_first_writes_and_shows(two: Path) -> None:
    assert {path.name for path in (two / "run").iterdir()} == {CHECKPOINT, LOG, RECIPE, SUMMARY}
    assert (says(two, 0)["lines shown"], says(two, 1)["lines shown"]) == (6, 0)  # 3 epochs of 2 batches


def test_other_data_is_noticed_by_both(two: Path) -> None:
    for rank in (0, 1):
        assert "process 1 has another recipe, other data or another checkpoint" in str(says(two, rank)["other data"])
    assert not (two / "other" / CHECKPOINT).exists()


def test_a_lost_process_is_one_message(two: Path) -> None:
    message = (two / "lost.txt").read_text()
    assert message.startswith("process 0: lost another process (")
    assert message.endswith("); see what it said, then go on with --resume")


@pytest.mark.parametrize("n", [0, 1, 2, 5, 6])
def test_shares_are_a_partition(n: int) -> None:
    chosen = np.arange(n) * 10
    shares = [Processes(rank=rank, size=3, device=torch.device("cpu")).share(chosen) for rank in range(3)]
    assert np.concatenate(shares).tolist() == chosen.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
