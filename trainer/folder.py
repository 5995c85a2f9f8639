"""The folder of a training run: begun with a recipe, gone on with, and loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spikegraph.export.errors import OptionError
from spikegraph.export.files import write_whole
from spikegraph.progress import Progress, silent
from spikegraph.trainer.checkpoint import load_checkpoint, read_progress
from spikegraph.trainer.data import DataSet
from spikegraph.trainer.device import checked_device
from spikegraph.trainer.loop import CHECKPOINT, TrainingRun
from spikegraph.trainer.method import Network, build_network
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.own import Maker
from spikegraph.trainer.processes import processes
from spikegraph.trainer.recipe import Recipe, differences, load_recipe

RECIPE = "recipe.toml"


def train_recipe(
    recipe: Recipe,
    data: DataSet,
    folder: Path,
    *,
    resume: bool,
    device: str,
    progress: Progress,
    test: bool = True,
    tensorboard: bool = False,
    module: Maker | None = None,
) -> dict[str, Any]:
    """Train a recipe into a folder and return the summary: see `TrainingRun` and its `train`.

    Raises
    ------
    OptionError
        The folder holds a run already and `resume` is not set, or holds a run of another recipe, or cannot be made;
        there is no such device.
    GraphError
        The chip cannot hold such a network.
    """
    trained = (folder / CHECKPOINT).exists()  # a recipe alone is a run that did not finish an epoch: start over
    if trained:
        if not resume:
            raise OptionError(str(folder), "holds a training run already", "add --resume, or choose another --out")
        held = load_recipe(folder / RECIPE)
        if held != recipe:
            what = f"holds a run with other settings ({differences(held, recipe)})"
            remedy = f"go on with `spikegraph train {folder / RECIPE} --out {folder} --resume`, or choose another --out"
            raise OptionError(str(folder), what, remedy)
    with processes(checked_device(device)) as workers:
        run = TrainingRun(recipe, data, workers, module)
        run.rehearse()
        if workers.is_first:
            _make_folder(folder, recipe)
        if trained:
            run.resume(folder / CHECKPOINT)
        splits = (np.ascontiguousarray(part) for split in (data.train, data.test) for part in split.content)
        workers.require_alike(f"{recipe.to_toml()} {run.history}".encode(), *splits)
        return run.train(folder, progress if workers.is_first else silent, test=test, tensorboard=tensorboard)


def _make_folder(folder: Path, recipe: Recipe) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / RECIPE, recipe.to_toml())
    except OSError as error:
        raise OptionError(str(folder), f"cannot be written ({error})", "choose another --out") from error


def load_run(folder: Path, module: Maker | None = None) -> tuple[Recipe, Network]:
    """Load the recipe and the trained network of a training run's folder: of the epoch that its recipe keeps.

    Where that epoch computed in floats, clips of weights of few bits are not trained yet: they are chosen for the
    weights as they are, as they would be when the integers began.
    """
    if not (folder / RECIPE).is_file():
        raise OptionError(
            str(folder), f"is no training run: it has no {RECIPE}", "name the --out of `spikegraph train`"
        )
    recipe = load_recipe(folder / RECIPE)
    progress = read_progress(folder / CHECKPOINT)
    network = build_network(recipe, tuple(progress["pixels"]), int(progress["n_classes"]), module)
    load_checkpoint(folder / CHECKPOINT, network, part="best" if recipe.training.keep == "best" else "network")
    if isinstance(network, SpikingNetwork) and len(progress["history"]) <= recipe.training.float_epochs:
        network.fit_clips()
    return recipe, network
