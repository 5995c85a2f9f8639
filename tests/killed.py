"""Train a tiny recipe again and again, each time killed at a random moment, until it comes through all the same.

Run as a program of its own: it forks, which a process with threads must not, and torch is imported only once.

    python killed.py FOLDER SEED

prints how many runs were killed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
from tiny_images import tiny_images

from spikegraph.trainer.folder import train_recipe
from spikegraph.trainer.recipe import Recipe

KILLS = 3  # at least so many
RECIPE = Recipe.model_validate(
    {
        "name": "killed",
        "data": {"set": "tiny", "validation": 0.2},
        "coding": {"n_steps": 4},
        "network": {"layers": "4c3 do0.5 6", "batch_norm": True, "tau_mem": 5e-3, "v_threshold": 0.5},
        "training": {"epochs": 6, "batch_size": 16, "learning_rate": 1e-2, "keep": "best", "warmup_epochs": 2},
    }
)


def train(folder: Path) -> None:
    train_recipe(RECIPE, tiny_images(20), folder, resume=True, device="cpu", progress=lambda *_: None)


def main(folder: Path, seed: int) -> int:
    """Train whole into folder/first and folder/whole, and with kills into folder/killed; return the number of kills."""
    torch.set_num_threads(1)
    train(folder / "first")  # what torch does once only would count
    start = time.perf_counter()
    train(folder / "whole")
    longest = (time.perf_counter() - start) / 3  # a third of a run, which grows: however busy the machine, it ends
    moments, killed = random.Random(seed), 0  # noqa: S311
    while True:
        child = os.fork()
        if child == 0:
            train(folder / "killed")
            os._exit(0)
        time.sleep(moments.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed, longest = killed + 1, longest * 1.2
        elif os.WEXITSTATUS(status) or killed >= KILLS:
            return killed if os.WEXITSTATUS(status) == 0 else sys.exit("a run failed")
        else:  # it came through too soon
            shutil.rmtree(folder / "killed")
            killed, longest = 0, longest / 2


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), int(sys.argv[2])))  # noqa: T201
