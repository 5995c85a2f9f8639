"""Steps of an optimizer, and the learning rate: a function of the epoch, so that nothing of a schedule is stored."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spikegraph.trainer.sections import TrainingSection

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Stepper:
    """Takes a step down the gradient of a loss: precision, clipping and the optimizer of a recipe.

    Parameters
    ----------
    settings : TrainingSection
    parameters : iterable of Parameter
        Those that are trained.
    device : torch.device
    """

    def __init__(self, settings: TrainingSection, parameters: Iterable[nn.Parameter], device: torch.device) -> None:
        self.settings, self.parameters, self.device = settings, list(parameters), device
        self.optimizer = make_optimizer(settings, self.parameters)
        # Small gradients vanish in float16, so that the loss is scaled up, and the gradients down again.
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")

    def autocast(self, in_floats: bool) -> torch.autocast:
        """Return a context in which weighted sums of floats have the recipe's precision; whole numbers stay exact."""
        dtype = _PRECISIONS[self.settings.precision]
        return torch.autocast(self.device.type, dtype, enabled=in_floats and dtype != torch.float32)

    def step(self, loss: Tensor, rate: float) -> None:
        """Change the parameters by one step at this learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.settings.gradient_clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def make_optimizer(settings: TrainingSection, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe over `parameters`."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=settings.momentum)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=decay)


def learning_rate(settings: TrainingSection, epoch: int, done: float = 1.0) -> float:
    """Return the learning rate of a batch.

    During the warm-up it grows with each batch, in a straight line from 0 to the recipe's learning rate; after it, it
    changes from epoch to epoch, with e the epochs since the end of the warm-up and E those from there to the end:

        cosine       rate · (1 + cos(π · e / E)) / 2
        exponential  rate · decay^e
        step         rate · decay^⌊e / decay_every⌋
        constant     rate

    Parameters
    ----------
    settings : TrainingSection
    epoch : int
        From 0 on.
    done : float
        The share of the epoch's batches that are done with this one: 0 < done <= 1. It matters during the warm-up only.
    """
    rate, since = settings.learning_rate, epoch - settings.warmup_epochs
    if since < 0:
        return rate * (epoch + done) / settings.warmup_epochs
    match settings.schedule:
        case "cosine":
            return rate * 0.5 * (1 + math.cos(math.pi * since / (settings.epochs - settings.warmup_epochs)))
        case "exponential":
            return float(rate * (settings.decay or 1) ** since)
        case "step":
            return float(rate * (settings.decay or 1) ** (since // (settings.decay_every or 1)))
        case "constant":
            return rate
