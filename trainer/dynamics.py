"""What a population of neurons is while it is trained, and a window of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from spikegraph.export.graph import Reset


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """The part of a neuron that is never trained.

    Parameters
    ----------
    reset : "zero", "subtract" or "none"
    refractory_steps, max_spikes : int
        As in `spikegraph.export.graph.Population`.
    surrogate : str
        A name of `spikegraph.trainer.surrogate.SURROGATES`.
    """

    reset: Reset = "zero"
    refractory_steps: int = 1
    max_spikes: int = 0
    surrogate: str = "arctan"

    @property
    def pauses(self) -> bool:
        """Whether a neuron can be held: by a refractory period, or by a limit of its spikes."""
        return self.refractory_steps > 1 or self.max_spikes > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Decays:
    """What a step leaves of u and v.

    Parameters
    ----------
    kept_u, kept_v : Tensor of float, () or broadcastable to the neurons
        Shares that are left. The float window computes with them. Every backward pass does, and they get a gradient
        where they require one; so for an integer window they are 1 - decay/4096.
    decay_u, decay_v : int, or Tensor of int64 broadcastable to the neurons
        The same as the chip's integers, 1/4096 forgotten per step: what the integer window computes with.
    """

    kept_u: Tensor
    kept_v: Tensor
    decay_u: int | Tensor
    decay_v: int | Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A window of one population, tensors (T, B, *shape).

    Parameters
    ----------
    s, v_before_reset : Tensor of float
        Spikes, and the membrane potential that was compared with the threshold.
    u, v : Tensor
        Synaptic current, and membrane potential after reset; (0,) unless asked for.
    integrates : Tensor of bool
        False in refractory steps; () where there are none.
    """

    s: Tensor
    v_before_reset: Tensor
    u: Tensor
    v: Tensor
    integrates: Tensor


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The gradients that are asked for, beside that of x."""

    threshold: bool
    bias: bool
    kept_u: bool
    kept_v: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Gradients:
    """Of x (T, B, *shape), and of the parameters of each neuron in each sample (B, *shape), None if not wanted."""

    x: Tensor
    threshold: Tensor | None
    bias: Tensor | None
    kept_u: Tensor | None
    kept_v: Tensor | None
