"""The training loop: epochs over a training split, a checkpoint after each, the test split touched once at the end.

Everything random in epoch e follows from (seed, e) alone, so that a run that was stopped goes on to the same bits.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError, SpikegraphError
from spikegraph.export.files import write_whole
from spikegraph.export.quantize import quantize
from spikegraph.trainer.checkpoint import load_checkpoint, read_progress, save_checkpoint
from spikegraph.trainer.data import DataSet, Split
from spikegraph.trainer.lower import lower
from spikegraph.trainer.network import SpikingNetwork, build_network
from spikegraph.trainer.objective import Objective
from spikegraph.trainer.recipe import Recipe, load_recipe

CHECKPOINT, RECIPE, LOG, SUMMARY = "checkpoint.safetensors", "recipe.toml", "log.csv", "summary.json"
Progress = Callable[[str, int, int], None]
_WORTH_THREADS = 1 << 24  # multiplications in a layer; below, threads cost more than they bring


class TrainingRun:
    """A folder with a recipe, a checkpoint, a log and a summary.

    Parameters
    ----------
    recipe : Recipe
    data : DataSet
    device : str
        "cpu" or "cuda".

    Raises
    ------
    OptionError
        There is no such device.
    GraphError
        The chip cannot hold such a network.
    """

    def __init__(self, recipe: Recipe, data: DataSet, device: str = "cpu") -> None:
        self.recipe, self.data, self.device = recipe, data, _checked_device(device)
        n_in = math.prod(data.train.x.shape[1:])
        self.network = build_network(recipe, n_in, data.n_classes).to(self.device)
        self.objective = Objective(self.network, readout_of(recipe), recipe.coding.n_steps)
        self.n_in = n_in
        order = np.random.default_rng([recipe.training.seed, 0]).permutation(len(data.train))
        n_validation = min(max(1, round(recipe.data.validation * len(order))), len(order) - 1)
        self.held_out, self.used = np.sort(order[:n_validation]), np.sort(order[n_validation:])
        self.history: list[dict[str, float]] = []
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        settings = recipe.training
        self.optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        if recipe.chip is not None:  # what the chip cannot hold is refused now, not after training
            graph = lower(self.network, n_steps=recipe.coding.n_steps, coding=self.coding, readout=readout_of(recipe))
            quantize(graph, recipe.chip)

    @property
    def coding(self) -> InputCoding:
        """How the network's data become spikes when it is used (training draws afresh in every epoch)."""
        return input_coding(self.recipe)

    def train(self, folder: Path, progress: Progress) -> dict[str, Any]:
        """Train to the end, with a checkpoint in `folder` after every epoch; return the summary.

        Raises
        ------
        SpikegraphError
            The loss or a parameter is no longer finite; the checkpoint of the epoch before stays.
        """
        widest = max(layer.weight.numel() for layer in self.network.named_layers().values())
        with _threads(self.recipe.training.batch_size * widest >= _WORTH_THREADS):
            return self._train(folder, progress)

    def _train(self, folder: Path, progress: Progress) -> dict[str, Any]:
        settings = self.recipe.training
        for epoch in range(len(self.history), settings.epochs):
            self._set_learning_rate(epoch)
            loss = self._epoch(epoch, progress)
            # A NaN weight need not show in the loss: cast to the chip's integers it is a number again.
            lost = [name for name, value in self.network.named_parameters() if not value.isfinite().all()]
            if lost or not math.isfinite(loss):
                what = f"the loss is {loss}" + (f", and {', '.join(lost)} not finite" if lost else "")
                raise SpikegraphError(f"epoch {epoch + 1}", what, "train with a smaller learning rate")
            accuracy = self.accuracy(self.data.train, self.held_out)
            self.history.append({"epoch": epoch + 1, "loss": loss, "validation_accuracy": accuracy})
            progress_so_far = {"history": self.history, "n_in": self.n_in, "n_classes": self.data.n_classes}
            save_checkpoint(folder / CHECKPOINT, self.network, self.optimizer, progress_so_far)
            self._write_log(folder / LOG)
        self._write_log(folder / LOG)  # a run that was stopped right after its last checkpoint lacks a line
        summary = {
            "recipe": self.recipe.to_toml(),
            "epochs": settings.epochs,
            "validation_accuracy": self.history[-1]["validation_accuracy"],
            "test_accuracy": self.accuracy(self.data.test, np.arange(len(self.data.test))),
            "n_test": len(self.data.test),
        }
        write_whole(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
        return summary

    def _set_learning_rate(self, epoch: int) -> None:
        settings = self.recipe.training
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / settings.epochs))

    def _epoch(self, epoch: int, progress: Progress) -> float:
        settings = self.recipe.training
        self.objective.train()
        random = np.random.default_rng([settings.seed, 1, epoch])
        coding = InputCoding(kind=self.coding.kind, seed=int(random.integers(1 << 63)), max_value=self.coding.max_value)
        order = random.permutation(self.used)
        starts = range(0, len(order), settings.batch_size)
        total = 0.0
        for batch, start in enumerate(starts):
            chosen = order[start : start + settings.batch_size]
            x = _shifted(self.data.train.x[chosen], self.recipe.data.shift, random)
            label = torch.from_numpy(self.data.train.label[chosen]).to(self.device)
            loss = self.objective(self.objective.encode(x, chosen, coding), label)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(chosen)
            progress(f"epoch {epoch + 1}/{settings.epochs}", batch + 1, len(starts))
        return total / len(order)

    def accuracy(self, split: Split, chosen: Array) -> float:
        """Share of samples that the network's own forward pass decides rightly, by the strict readout."""
        self.objective.eval()
        n_correct = 0
        for start in range(0, len(chosen), 512):
            index = chosen[start : start + 512]
            decision = self.objective.decide(self.objective.encode(split.x[index], index, self.coding))
            n_correct += int(decision.correct(split.label[index]).sum())
        return n_correct / len(chosen)

    def _write_log(self, path: Path) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_whole(path, text.getvalue())


@contextmanager
def _threads(worth: bool) -> Iterator[None]:
    """Let torch use one thread for a while unless more are worth it, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if worth else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _checked_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise OptionError("--device", f"{name!r} is no device to train on", "use cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        what = f"{name!r}, but torch {torch.__version__} finds {torch.cuda.device_count()} CUDA devices here"
        raise OptionError("--device", what, "use cpu, or install a torch that fits the machine's GPU and driver")
    return device


def input_coding(recipe: Recipe) -> InputCoding:
    """Return the input coding of a recipe, as it is used after training."""
    coding = recipe.coding
    max_value = coding.max_value if coding.kind == "direct" else 1
    return InputCoding(kind=coding.kind, seed=recipe.training.seed, max_value=max_value)


def readout_of(recipe: Recipe) -> Readout:
    """Return the readout of a recipe."""
    return Readout(kind=recipe.network.readout, output="output")


def _shifted(x: Array, most: int, random: np.random.Generator) -> Array:
    """Shift each image (B, c, h, w) by up to `most` pixels in both directions, filling with 0."""
    if most == 0:
        return x
    offsets = random.integers(0, 2 * most + 1, (2, len(x)))
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (most, most), (most, most)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    return np.ascontiguousarray(windows[np.arange(len(x)), :, offsets[0], offsets[1]])


def train_recipe(
    recipe: Recipe, data: DataSet, folder: Path, *, resume: bool, device: str, progress: Progress
) -> dict[str, Any]:
    """Train a recipe into a folder and return the summary.

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
        if load_recipe(folder / RECIPE) != recipe:
            what = "holds a run with other settings"
            raise OptionError(str(folder), what, "resume with the settings of that run, or choose another --out")
    run = TrainingRun(recipe, data, device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / RECIPE, recipe.to_toml())
    except OSError as error:
        raise OptionError(str(folder), f"cannot be written ({error})", "choose another --out") from error
    if trained:
        run.history = load_checkpoint(folder / CHECKPOINT, run.network, run.optimizer)["history"]
    return run.train(folder, progress)


def load_run(folder: Path) -> tuple[Recipe, SpikingNetwork]:
    """Load the recipe and the trained network of a training run's folder."""
    if not (folder / RECIPE).is_file():
        raise OptionError(
            str(folder), f"is no training run: it has no {RECIPE}", "name the --out of `spikegraph train`"
        )
    recipe = load_recipe(folder / RECIPE)
    sizes = read_progress(folder / CHECKPOINT)
    network = build_network(recipe, int(sizes["n_in"]), int(sizes["n_classes"]))
    load_checkpoint(folder / CHECKPOINT, network)
    return recipe, network
