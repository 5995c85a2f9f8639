"""The training loop: epochs over a training split, a checkpoint after each, the test split touched once at the end.

Everything random in epoch e follows from (seed, e) alone, so that a run that was stopped goes on to the same bits.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError, SpikegraphError
from spikegraph.export.files import write_whole
from spikegraph.export.quantize import quantize
from spikegraph.trainer.build import build_network
from spikegraph.trainer.checkpoint import load_checkpoint, read_progress, save_checkpoint
from spikegraph.trainer.data import DataSet, Split
from spikegraph.trainer.log import CsvLog
from spikegraph.trainer.losses import LOSSES
from spikegraph.trainer.lower import lower
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.objective import Objective
from spikegraph.trainer.optimisation import learning_rate, make_optimizer
from spikegraph.trainer.recipe import Recipe, load_recipe
from spikegraph.trainer.stopping import best_epoch, is_over, kept_epoch

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
        self.network = build_network(recipe, data.train.x.shape[1:], data.n_classes).to(self.device)
        loss = LOSSES[recipe.training.loss]
        self.objective = Objective(self.network, readout_of(recipe), recipe.coding.n_steps, loss=loss)
        order = np.random.default_rng([recipe.training.seed, 0]).permutation(len(data.train))
        n_validation = min(max(1, round(recipe.data.validation * len(order))), len(order) - 1)
        self.held_out, self.used = np.sort(order[:n_validation]), np.sort(order[n_validation:])
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}  # the network's state in its best epoch, where that is to be kept
        self.trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = make_optimizer(recipe.training, self.trained)
        if recipe.chip is not None:  # what the chip cannot hold is refused now, not after training
            graph = lower(self.network, n_steps=recipe.coding.n_steps, coding=self.coding, readout=readout_of(recipe))
            quantize(graph, recipe.chip)

    @property
    def coding(self) -> InputCoding:
        """How the network's data become spikes when it is used (training draws afresh in every epoch)."""
        return input_coding(self.recipe)

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint; raises `FileFormatError` as `load_checkpoint` does."""
        if self.recipe.training.keep == "best":
            load_checkpoint(checkpoint, self.network, part="best")
            self.best = self._state()
        self.history = load_checkpoint(checkpoint, self.network, self.optimizer)["history"]

    def train(self, folder: Path, progress: Progress) -> dict[str, Any]:
        """Train to the end, with a checkpoint in `folder` after every epoch; return the summary.

        Raises
        ------
        SpikegraphError
            The loss or a parameter is no longer finite; the checkpoint of the epoch before stays.
        """
        widest = max(parameter.numel() for parameter in self.network.parameters())
        with _threads(self.recipe.training.batch_size * widest >= _WORTH_THREADS):
            return self._train(folder, progress)

    def _train(self, folder: Path, progress: Progress) -> dict[str, Any]:
        settings = self.recipe.training
        log = CsvLog(folder / LOG, resume=bool(self.history))
        while not is_over(settings, self.history):
            start = time.perf_counter()
            self.history.append(self._finished_epoch(len(self.history), progress))
            if settings.keep == "best" and best_epoch(self.history) == len(self.history) - 1:
                self.best = self._state()
            sizes = {"pixels": self.data.train.x.shape[1:], "n_classes": self.data.n_classes}
            progress_so_far = {"history": self.history, **sizes}
            save_checkpoint(folder / CHECKPOINT, self.network, self.optimizer, progress_so_far, self.best)
            log.seconds[len(self.history)] = f"{time.perf_counter() - start:.1f}"
            log.write(self.history)
        log.write(self.history)  # a run that was stopped right after its last checkpoint lacks a line
        if settings.keep == "best":
            self.network.load_state_dict(self.best)
        kept = self.history[kept_epoch(settings, self.history)]
        summary = {
            "recipe": self.recipe.to_toml(),
            "epochs": len(self.history),
            "kept_epoch": kept["epoch"],
            "validation_accuracy": kept["validation_accuracy"],
            "test_accuracy": self.accuracy(self.data.test, np.arange(len(self.data.test))),
            "n_test": len(self.data.test),
        }
        write_whole(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
        return summary

    def _state(self) -> dict[str, Tensor]:
        """Return a copy of the network's parameters and buffers."""
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def _finished_epoch(self, epoch: int, progress: Progress) -> dict[str, Any]:
        """Train for an epoch and return its line of the history."""
        loss = self._epoch(epoch, progress)
        # A NaN weight need not show in the loss: cast to the chip's integers it is a number again.
        lost = [name for name, value in self.network.named_parameters() if not value.isfinite().all()]
        if lost or not math.isfinite(loss):
            what = f"the loss is {loss}" + (f", and {', '.join(lost)} not finite" if lost else "")
            raise SpikegraphError(f"epoch {epoch + 1}", what, "train with a smaller learning rate")
        return {
            "epoch": epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "loss": loss,
            "validation_accuracy": self.accuracy(self.data.train, self.held_out),
        }

    def _epoch(self, epoch: int, progress: Progress) -> float:
        settings = self.recipe.training
        self.objective.train()
        random = np.random.default_rng([settings.seed, 1, epoch])
        coding = InputCoding(kind=self.coding.kind, seed=int(random.integers(1 << 63)), max_value=self.coding.max_value)
        order = random.permutation(self.used)
        starts = range(0, len(order), settings.batch_size)
        total = torch.zeros((), dtype=torch.float64, device=self.device)  # read once an epoch: a GPU need not wait
        with self._torch_seeded(epoch):
            for batch, start in enumerate(starts):
                chosen = order[start : start + settings.batch_size]
                x = _shifted(self.data.train.x[chosen], self.recipe.data.shift, random)
                label = torch.from_numpy(self.data.train.label[chosen]).to(self.device)
                loss = self.objective(self.objective.encode(x, chosen, coding), label)
                self._step(loss, learning_rate(settings, epoch, (batch + 1) / len(starts)))
                total += loss.detach().double() * len(chosen)
                progress(f"epoch {epoch + 1}/{settings.epochs}", batch + 1, len(starts))
        return float(total) / len(order)

    def _step(self, loss: Tensor, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.training.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.training.gradient_clip)
        self.optimizer.step()

    @contextmanager
    def _torch_seeded(self, epoch: int) -> Iterator[None]:
        """Let torch's own random numbers (dropout) follow from (seed, epoch), and leave its state as it was."""
        seed = np.random.default_rng([self.recipe.training.seed, 2, epoch]).integers(1 << 63)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            yield

    def accuracy(self, split: Split, chosen: Array) -> float:
        """Share of samples that the network's own forward pass decides rightly, by the strict readout."""
        self.objective.eval()
        n_correct = 0
        for start in range(0, len(chosen), 512):
            index = chosen[start : start + 512]
            decision = self.objective.decide(self.objective.encode(split.x[index], index, self.coding))
            n_correct += int(decision.correct(split.label[index]).sum())
        return n_correct / len(chosen)


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
        run.resume(folder / CHECKPOINT)
    return run.train(folder, progress)


def load_run(folder: Path) -> tuple[Recipe, SpikingNetwork]:
    """Load the recipe and the trained network of a training run's folder: of the epoch that its recipe keeps."""
    if not (folder / RECIPE).is_file():
        raise OptionError(
            str(folder), f"is no training run: it has no {RECIPE}", "name the --out of `spikegraph train`"
        )
    recipe = load_recipe(folder / RECIPE)
    sizes = read_progress(folder / CHECKPOINT)
    network = build_network(recipe, tuple(sizes["pixels"]), int(sizes["n_classes"]))
    load_checkpoint(folder / CHECKPOINT, network, part="best" if recipe.training.keep == "best" else "network")
    return recipe, network
