"""What a traced network is made of: populations, branches that end at them, and routes that spikes take there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from spikegraph.export.connectivity import Shape
from spikegraph.trainer.modules import LIF

INPUT = "input"
Synapse = nn.Linear | nn.Conv2d
Norm = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True, kw_only=True, eq=False)
class Drop:
    """One call of a dropout. In training it draws a mask for a window, and all that it feeds get that one."""

    module: nn.Dropout | nn.Dropout2d

    @property
    def scale(self) -> float:
        """What the spikes that it keeps are multiplied by; a dropout of 1 keeps none."""
        p = self.module.p
        return 1 / (1 - p) if self.module.training and p < 1 else 1.0


@dataclass(frozen=True, kw_only=True)
class Route:
    """The spikes of one source, and what they pass before they reach synapses.

    Attributes
    ----------
    source : str
        "input" or a population.
    path : tuple of Drop, nn.AvgPool2d and nn.Flatten, in order
    kept : tuple of Drop
        Where the source is a max pooling: the dropouts before it. Its relays fire 0 or 1 also in training; these
        dropouts' scale is for what comes behind them.
    """

    source: str
    path: tuple[Drop | nn.AvgPool2d | nn.Flatten, ...] = ()
    kept: tuple[Drop, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Branch:
    """Routes that add up and pass the same synapses.

    Attributes
    ----------
    synapse : nn.Linear, nn.Conv2d, nn.MaxPool2d or None
        None: neuron to neuron, with weight 1. nn.MaxPool2d: a window to its relay, with weight 1.
    norm : nn.BatchNorm1d, nn.BatchNorm2d or None
    """

    routes: tuple[Route, ...]
    synapse: Synapse | nn.MaxPool2d | None = None
    norm: Norm | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """A population and what ends at it. Max pooling of spikes is one of relays: a single spike makes them fire."""

    name: str
    shape: Shape
    neurons: LIF
    branches: tuple[Branch, ...]


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What a module is made of: populations in the order of computation, and those that are read."""

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
