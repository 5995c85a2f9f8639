"""The training loop: epochs over a training split, a checkpoint after each, the test split touched once at the end.

Everything random in epoch e follows from (seed, e) alone, so that a run that was stopped goes on to the same bits.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikegraph.export.coding import InputCoding
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError, SpikegraphError
from spikegraph.export.files import write_whole
from spikegraph.export.quantize import quantize
from spikegraph.progress import Progress
from spikegraph.trainer.checkpoint import load_checkpoint, save_checkpoint
from spikegraph.trainer.data import DataSet, Split, augmented
from spikegraph.trainer.device import threads
from spikegraph.trainer.legal import require_statistics
from spikegraph.trainer.log import CsvLog
from spikegraph.trainer.method import build_network, build_objective, lower_network, readout_of
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.optimisation import Stepper, learning_rate
from spikegraph.trainer.own import Maker
from spikegraph.trainer.processes import Processes
from spikegraph.trainer.recipe import Recipe
from spikegraph.trainer.stopping import best_epoch, is_over, kept_epoch

CHECKPOINT, LOG, SUMMARY = "checkpoint.safetensors", "log.csv", "summary.json"
_ALONE = Processes(rank=0, size=1, device=torch.device("cpu"))
_WORTH_THREADS = 1 << 24  # multiplications in a layer; below, threads cost more than they bring


class TrainingRun:
    """A recipe on its data: what a run trains, and what it writes into its folder, a checkpoint, a log and a summary.

    Parameters
    ----------
    recipe : Recipe
    data : DataSet
    workers : Processes
        This process, its device, and those that train with it.
    module : callable, optional
        For method "module": makes the `torch.nn.Module`.

    Raises
    ------
    GraphError
        The chip cannot hold such a network.
    OptionError
        A batch norm would get a single value of each channel from the last batch.
    """

    def __init__(self, recipe: Recipe, data: DataSet, workers: Processes = _ALONE, module: Maker | None = None) -> None:
        self.recipe, self.data, self.workers, self.device = recipe, data, workers, workers.device
        self.network = build_network(recipe, data.train.sample_shape, data.n_classes, module).to(self.device)
        self.objective = build_objective(recipe, self.network)
        self.held_out = held_out(recipe, len(data.train))
        self.used = np.setdiff1d(np.arange(len(data.train)), self.held_out)
        if isinstance(self.network, SpikingNetwork) and (recipe.chip is None or recipe.training.float_epochs):
            last = len(self.used) % recipe.training.batch_size or recipe.training.batch_size
            require_statistics(self.network.nodes, max(1, last // workers.size))
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}  # the network's state in its best epoch, where that is to be kept
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.stepper = Stepper(recipe.training, trained, self.device)
        if recipe.chip is not None:  # what the chip cannot hold is refused now, not after training
            n_steps, readout = recipe.coding.n_steps, readout_of(recipe)
            graph = lower_network(self.network, n_steps=n_steps, coding=self.coding, readout=readout)
            quantize(graph, recipe.chip)

    @property
    def coding(self) -> InputCoding:
        """How the network's data become spikes when it is used (training draws afresh in every epoch)."""
        return self.recipe.input_coding

    def rehearse(self) -> None:
        """Change and encode a sample as training will: what does not go together is refused, and nothing written."""
        x = augmented(self.data.train.samples(self.used[:1]), self.recipe.data, np.random.default_rng(0))
        self.coding.encode(x, self.used[:1], self.recipe.coding.n_steps)

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint; raises `FileFormatError` as `load_checkpoint` does."""
        if self.recipe.training.keep == "best":
            load_checkpoint(checkpoint, self.network, part="best")
            self.best = self._state()
        progress = load_checkpoint(checkpoint, self.network, self.stepper.optimizer)
        self.history = progress["history"]
        self.stepper.scaler.load_state_dict(progress.get("scaler", {}))

    def train(
        self, folder: Path, progress: Progress, *, test: bool = True, tensorboard: bool = False
    ) -> dict[str, Any]:
        """Train to the end, with a checkpoint in `folder` after every epoch; return the summary.

        Without `test`, the test split is not read, and the summary has no accuracy on it. With `tensorboard`, there are
        curves for TensorBoard beside the log.

        Raises
        ------
        SpikegraphError
            The loss or a parameter is no longer finite; the checkpoint of the epoch before stays.
        """
        widest = max(parameter.numel() for parameter in self.network.parameters())
        with threads(self.recipe.training.batch_size * widest >= _WORTH_THREADS):
            return self._train(folder, progress, test, tensorboard)

    def _train(self, folder: Path, progress: Progress, test: bool, tensorboard: bool) -> dict[str, Any]:
        settings = self.recipe.training
        first = self.workers.is_first  # it alone writes
        with closing(CsvLog(folder / LOG, resume=bool(self.history), tensorboard=tensorboard and first)) as log:
            while not is_over(settings, self.history):
                start = time.perf_counter()
                self.history.append(self._finished_epoch(len(self.history), progress))
                if settings.keep == "best" and best_epoch(settings, self.history) == len(self.history) - 1:
                    self.best = self._state()
                log.seconds[len(self.history)] = f"{time.perf_counter() - start:.1f}"
                if first:
                    self._save(folder / CHECKPOINT)
                    log.write(self.history)
            if first:
                log.write(self.history)  # a run that was stopped right after its last checkpoint lacks a line
        if settings.keep == "best":
            self.network.load_state_dict(self.best)
        kept = self.history[kept_epoch(settings, self.history)]
        summary = {
            "recipe": self.recipe.to_toml(),
            "epochs": len(self.history),
            "kept_epoch": kept["epoch"],
            "validation_accuracy": kept["validation_accuracy"],
        }
        if test:
            n_test = len(self.data.test)
            summary |= {"test_accuracy": self.accuracy(self.data.test, np.arange(n_test)), "n_test": n_test}
        if first:
            write_whole(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
        return summary

    def _save(self, checkpoint: Path) -> None:
        sizes = {"pixels": self.data.train.sample_shape, "n_classes": self.data.n_classes}
        scaler = self.stepper.scaler.state_dict()
        progress = {"history": self.history, **sizes} | ({"scaler": scaler} if scaler else {})
        save_checkpoint(checkpoint, self.network, self.stepper.optimizer, progress, self.best)

    def _state(self) -> dict[str, Tensor]:
        """Return a copy of the network's parameters and buffers."""
        return {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def _finished_epoch(self, epoch: int, progress: Progress) -> dict[str, Any]:
        """Train for an epoch and return its line of the history."""
        means = self._epoch(epoch, progress)
        loss = means["loss"]
        # A NaN weight need not show in the loss: cast to the chip's integers it is a number again.
        lost = [name for name, value in self.network.named_parameters() if not value.isfinite().all()]
        if lost or not math.isfinite(loss):
            what = f"the loss is {loss}" + (f", and {', '.join(lost)} not finite" if lost else "")
            raise SpikegraphError(f"epoch {epoch + 1}", what, "train with a smaller learning rate")
        return {
            "epoch": epoch + 1,
            "learning_rate": self.stepper.optimizer.param_groups[0]["lr"],
            **means,
            "validation_accuracy": self.accuracy(self.data.train, self.held_out),
        }

    def _epoch(self, epoch: int, progress: Progress) -> dict[str, float]:
        """Train for an epoch and return the loss, and what else the objective tells: means over its samples."""
        settings = self.recipe.training
        in_floats = self.recipe.chip is None or epoch < settings.float_epochs
        if settings.float_epochs:
            self.network.compute_in(None if in_floats else self.recipe.chip)
            if epoch == settings.float_epochs and isinstance(self.network, SpikingNetwork):
                self.network.fit_clips()
        some_idle = isinstance(self.network, SpikingNetwork) and self.network.has_idle_clips
        in_training = self.workers.wrap(self.objective.train(), some_idle=some_idle)
        random = np.random.default_rng([settings.seed, 1, epoch])
        coding = replace(self.coding, seed=int(random.integers(1 << 63)))
        order = random.permutation(self.used)
        starts = range(0, len(order), settings.batch_size)
        sums: dict[str, Tensor] = {}  # read once an epoch, so that a GPU need not wait
        with self._torch_seeded(epoch):
            for batch, start in enumerate(starts):
                chosen = order[start : start + settings.batch_size]
                x = augmented(self.data.train.samples(chosen), self.recipe.data, random)
                mine = self.workers.share(np.arange(len(chosen)))
                # A process without a sample takes part with one that counts nothing.
                weight, mine = len(mine) * self.workers.size / len(chosen), mine if len(mine) else np.zeros(1, int)
                label = torch.from_numpy(self.data.train.label[chosen[mine]]).to(self.device)
                encoded = self.objective.encode(x[mine], chosen[mine], coding)
                with self.stepper.autocast(in_floats):
                    loss = in_training(encoded, label)
                self.stepper.step(loss * weight, learning_rate(settings, epoch, (batch + 1) / len(starts)))
                for name, mean in {"loss": loss.detach(), **self.objective.figures}.items():
                    sums[name] = sums.get(name, 0) + mean.double() * weight * len(chosen) / self.workers.size
                progress(f"epoch {epoch + 1}/{settings.epochs}", batch + 1, len(starts))
        self.workers.share_buffers(self.objective)
        return dict(zip(sums, (total / len(order) for total in self.workers.total(*sums.values())), strict=True))

    @contextmanager
    def _torch_seeded(self, epoch: int) -> Iterator[None]:
        """Let torch's own random numbers (dropout) follow from (seed, epoch, rank), and leave its state as it was."""
        seed = np.random.default_rng([self.recipe.training.seed, 2, epoch, self.workers.rank]).integers(1 << 63)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(seed))
            yield

    def accuracy(self, split: Split, chosen: Array) -> float:
        """Share of samples that the network's own forward pass decides rightly, by the strict readout."""
        self.objective.eval()
        n_correct, mine = 0, self.workers.share(chosen)
        for start in range(0, len(mine), 512):
            index = mine[start : start + 512]
            decision = self.objective.decide(self.objective.encode(split.samples(index), index, self.coding))
            n_correct += int(decision.correct(split.label[index]).sum())
        return self.workers.total(n_correct)[0] / len(chosen)


def held_out(recipe: Recipe, n_samples: int) -> Array:
    """Return the numbers of the training samples that are kept for validation, sorted.

    Raises
    ------
    DataError
        There is one sample alone, and none would be left to train on.
    """
    if n_samples < 2:
        what = f"has {n_samples} training sample, and at least 2 are needed: one to train on, one for validation"
        raise DataError(recipe.data.set, what, "give it more")
    order = np.random.default_rng([recipe.training.seed, 0]).permutation(n_samples)
    return np.sort(order[: min(max(1, round(recipe.data.validation * n_samples)), n_samples - 1)])
