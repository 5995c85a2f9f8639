"""The networks whose training is timed: the same layers, weights, spikes and labels for everyone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

KEPT = 15 / 16  # of v after a step; SpikingJelly's tau = 16
THRESHOLD = 1.0


@dataclass(frozen=True)
class Task:
    """Weighted layers and poolings in order; neurons follow each weighted layer."""

    layers: tuple
    shape: tuple
    n_steps: int
    batch_size: int

    def modules(self):
        """Return the layers as modules, with weights that a layer's spikes bring to their threshold now and then."""
        torch.manual_seed(0)
        made = []
        for kind, *sizes in self.layers:
            if kind == "pool":
                made.append(nn.MaxPool2d(2))
            elif kind == "flatten":
                made.append(nn.Flatten())
            else:
                made.append(nn.Linear(*sizes) if kind == "linear" else nn.Conv2d(*sizes[:3], padding=sizes[3]))
                with torch.no_grad():
                    made[-1].weight.mul_(2.0)
        return made

    def batch(self):
        """Return spikes (T, B, *shape), 13 in 100 as of an MNIST image in a rate code, and labels."""
        generator = torch.Generator().manual_seed(1)
        spikes = torch.rand(self.n_steps, self.batch_size, *self.shape, generator=generator) < 0.13
        return spikes.float(), torch.randint(10, (self.batch_size,), generator=generator)


TASKS = {
    "dense": Task((("linear", 784, 512), ("linear", 512, 10)), (784,), 16, 256),
    "conv": Task(
        (
            ("conv", 1, 32, 5, 2),
            ("pool",),
            ("conv", 32, 32, 3, 1),
            ("pool",),
            ("flatten",),
            ("linear", 32 * 7 * 7, 128),
            ("linear", 128, 10),
        ),
        (1, 28, 28),
        4,
        64,
    ),
}


class Stack(nn.Module):
    """The layers of a task, each over all steps at once; `neurons()` makes a module from sums to spikes (T, B, …)."""

    def __init__(self, task, neurons):
        super().__init__()
        self.layers, self.neurons = nn.ModuleList(task.modules()), nn.ModuleList()
        for layer in self.layers:
            self.neurons.append(neurons() if isinstance(layer, (nn.Linear, nn.Conv2d)) else nn.Identity())

    def forward(self, s):
        lead = s.shape[:2]
        for layer, neurons in zip(self.layers, self.neurons):
            s = neurons(layer(s.flatten(0, 1)).unflatten(0, lead))
        return s
