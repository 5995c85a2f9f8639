"""Three processes on this machine train one network: together as one alone does, up to the order of sums."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import in_three_processes
import numpy as np
import pytest
import torch
from in_three_processes import data, recipe
from safetensors.torch import load_file

from spikegraph.trainer.checkpoint import read_progress
from spikegraph.trainer.folder import RECIPE, train_recipe
from spikegraph.trainer.loop import CHECKPOINT, LOG, SUMMARY
from spikegraph.trainer.processes import Processes


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that three processes left; one was killed in the end, which torchrun says by its exit code."""
    folder = tmp_path_factory.mktemp("three")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"]
    command = [*torchrun, in_three_processes.__file__, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (folder / "lost 0.txt").exists(), done.stderr
    assert done.returncode == 1
    return folder


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def says(folder: Path, rank: int) -> dict[str, object]:
    return json.loads((folder / f"{rank}.json").read_text())


def test_all_end_with_the_same_network(three: Path) -> None:
    of_each = [load_file(three / f"{rank}.safetensors") for rank in range(3)]
    saved = load_file(three / "run" / CHECKPOINT)
    for other in of_each[1:]:
        assert same(of_each[0], other)
    assert all(torch.equal(tensor, saved[f"network.{name}"]) for name, tensor in of_each[0].items())
    assert says(three, 0)["summary"] == says(three, 1)["summary"] == says(three, 2)["summary"]


def test_together_they_train_as_one_does(three: Path, tmp_path: Path) -> None:
    """The same batches and spikes, a last batch of one sample too, and metrics over all samples."""
    alone = train_recipe(recipe(), data(), tmp_path, resume=False, device="cpu", progress=lambda *_: None)
    together = says(three, 0)["summary"]
    assert together == alone  # accuracies of 12 and of 21 samples
    tensors, of_three = load_file(tmp_path / CHECKPOINT), load_file(three / "run" / CHECKPOINT)
    for name, tensor in tensors.items():
        torch.testing.assert_close(of_three[name], tensor, rtol=1e-4, atol=1e-6)
    of_one, of_all = (read_progress(folder / CHECKPOINT)["history"] for folder in (tmp_path, three / "run"))
    for one, all_three in zip(of_one, of_all, strict=True):
        assert one == pytest.approx(all_three, rel=1e-5)  # loss, accuracies, additions


def test_processes_repeat_their_own_bits_stopped_or_not(three: Path) -> None:
    for whole, stopped in (("run", "stopped"), ("changing", "changing stopped")):
        for name in (CHECKPOINT, SUMMARY):
            assert (three / whole / name).read_bytes() == (three / stopped / name).read_bytes()


def test_only_the_first_writes_and_shows(three: Path) -> None:
    assert {path.name for path in (three / "run").iterdir()} == {CHECKPOINT, LOG, RECIPE, SUMMARY}
    assert (says(three, 0)["lines shown"], says(three, 1)["lines shown"]) == (6, 0)  # 3 epochs of 2 batches


def test_other_data_is_noticed_by_all(three: Path) -> None:
    for rank in range(3):
        assert "process 1 has another recipe, other data or another checkpoint" in str(says(three, rank)["other data"])
    assert not (three / "other" / CHECKPOINT).exists()


def test_a_lost_process_is_one_message(three: Path) -> None:
    message = (three / "lost 0.txt").read_text()
    assert message.startswith("process 0: lost another process (")
    assert message.endswith("); see what it said, then go on with --resume")


@pytest.mark.parametrize("n", [0, 1, 2, 5, 6])
def test_shares_are_a_partition(n: int) -> None:
    chosen = np.arange(n) * 10
    shares = [Processes(rank=rank, size=3, device=torch.device("cpu")).share(chosen) for rank in range(3)]
    assert np.concatenate(shares).tolist() == chosen.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
