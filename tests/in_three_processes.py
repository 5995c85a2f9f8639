"""What test_processes.py lets torchrun start: tiny recipes, trained by every process together.

Three, because the order of two summands does not matter.

    torchrun --nproc_per_node=3 in_three_processes.py FOLDER

Each process writes what it ended with to FOLDER/RANK.json and FOLDER/RANK.safetensors.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tiny_images import tiny_images
from torch import distributed

from spikegraph.export.errors import SpikegraphError
from spikegraph.trainer import loop
from spikegraph.trainer.data import DataSet
from spikegraph.trainer.folder import train_recipe
from spikegraph.trainer.recipe import Recipe

# 48 samples to train on, in batches of 47: the last has one sample, and two of the processes none.
RECIPE = {
    "name": "shared",
    "data": {"set": "tiny", "validation": 0.2, "shift": 1},
    "coding": {"n_steps": 4},
    "network": {"layers": "6", "tau_mem": 5e-3, "v_threshold": 0.5},
    "quantization": {"chip": "loihi1"},
    "training": {"epochs": 3, "batch_size": 47, "learning_rate": 1e-2, "gradient_clip": 0.5},
}
# What differs between processes, and from epoch to epoch: masks, running statistics, clips without a part in floats.
CHANGING = {
    "name": "changing",
    "data": {"set": "tiny", "validation": 0.2},
    "coding": {"n_steps": 4},
    "network": {"layers": "3c3 do0.2 mp2 16", "batch_norm": True, "tau_mem": 5e-3, "v_threshold": 0.5},
    "quantization": {"chip": "generic", "weight_bits": 2},
    "training": {"epochs": 4, "float_epochs": 2, "batch_size": 12, "learning_rate": 1e-2, "keep": "best"},
}


def recipe() -> Recipe:
    return Recipe.model_validate(RECIPE)


def data() -> DataSet:
    return tiny_images(21)


def train(
    folder: Path, dataset: DataSet, progress: loop.Progress = lambda *_: None, raw: dict[str, Any] = RECIPE
) -> object:
    recipe = Recipe.model_validate(raw)
    return train_recipe(recipe, dataset, folder, resume=True, device="cpu", progress=progress)


class Stopped(BaseException):
    """What stops all processes in the same moment."""


def stopped(folder: Path, raw: dict[str, Any], in_epoch: int) -> None:
    epoch_of = loop.TrainingRun._epoch

    def stop(run: loop.TrainingRun, epoch: int, progress: loop.Progress) -> dict[str, float]:
        if epoch == in_epoch:
            raise Stopped
        return epoch_of(run, epoch, progress)

    loop.TrainingRun._epoch = stop  # type: ignore[method-assign]
    with suppress(Stopped):
        train(folder, data(), raw=raw)
    distributed.barrier()  # the first may be writing its checkpoint yet
    loop.TrainingRun._epoch = epoch_of  # type: ignore[method-assign]


def main(folder: Path, rank: int) -> None:
    distributed.init_process_group("gloo")  # once: a group cannot be joined a second time
    epoch_of, finish, runs = loop.TrainingRun._epoch, loop.TrainingRun.train, []

    def noted(run: loop.TrainingRun, *arguments: object, **options: object) -> object:
        runs.append(run)
        return finish(run, *arguments, **options)  # type: ignore[arg-type]

    def die(run: loop.TrainingRun, epoch: int, progress: loop.Progress) -> dict[str, float]:
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return epoch_of(run, epoch, progress)

    shown: list[str] = []
    loop.TrainingRun.train = noted  # type: ignore[method-assign,assignment]
    summary = train(folder / "run", data(), lambda what, *_: shown.append(what))
    stopped(folder / "stopped", RECIPE, 1)
    train(folder / "stopped", data())
    train(folder / "changing", data(), raw=CHANGING)
    for epoch in (1, 3):  # in floats, and in integers
        stopped(folder / "changing stopped", CHANGING, epoch)
    train(folder / "changing stopped", data(), raw=CHANGING)
    says = {"summary": summary, "lines shown": len(shown)}

    other = data()
    if rank == 1:
        other = replace(other, test=replace(other.test, label=(other.test.label + 1) % 3))
    try:
        train(folder / "other", other)
    except SpikegraphError as error:
        says["other data"] = str(error)

    save_file(runs[0].network.state_dict(), folder / f"{rank}.safetensors")
    (folder / f"{rank}.json").write_text(json.dumps(says))

    loop.TrainingRun._epoch = die  # type: ignore[method-assign]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it to those that are left: let them speak first
    try:
        train(folder / "lost", data())
    except SpikegraphError as error:
        (folder / f"lost {rank}.txt").write_text(str(error))
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["RANK"]))
