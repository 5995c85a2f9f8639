"""What training can minimise: functions of the readout's scores, and the share of the synaptic additions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from spikegraph.trainer.traced import INPUT


def cross_entropy(score: Tensor, label: Tensor, n_steps: int) -> Tensor:
    """Return the cross-entropy of the softmax of the scores.

    Parameters
    ----------
    score : Tensor (B, n_classes)
        Spikes of each class in the window (the mean over its neurons), or a membrane over the largest threshold.
    label : Tensor of int64 (B,)
    n_steps : int
        Not needed here: the more steps, the surer a softmax of counts can be.
    """
    return functional.cross_entropy(score, label)


def mean_squared_error(score: Tensor, label: Tensor, n_steps: int) -> Tensor:
    """Return the mean squared error between firing rates and one-hot labels: the label's neurons always, others never.

    Parameters
    ----------
    score : Tensor (B, n_classes)
        Spikes of each class in the window (the mean over its neurons).
    label : Tensor of int64 (B,)
    n_steps : int
        Length of the window; a rate is the score over it.
    """
    one_hot = functional.one_hot(label, score.shape[1]).to(score.dtype)
    return functional.mse_loss(score / n_steps, one_hot)


Loss = Callable[[Tensor, Tensor, int], Tensor]
LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "mse": mean_squared_error}

FanOut = Mapping[str, float | Tensor]


def additions(spikes: Mapping[str, Tensor], fan_out: FanOut) -> Tensor:
    """Return the synaptic additions of a sample: spikes times synapses that each reaches, the mean over the batch.

    These are the `sops` of docs/semantics.md where every spike is delivered within the window. Gradients pass to the
    spikes of populations; a graded spike of an input is one spike, whatever it carries.

    Parameters
    ----------
    spikes : dict of Tensor (T, B, *shape) by name
        Of the input and of every population.
    fan_out : dict of float, or Tensor that broadcasts to shape, by name
        Synapses that leave a neuron, the mean over the population or one by one. A name that is missing has none.

    Returns
    -------
    Tensor of float64, ()
    """
    total = torch.zeros((), dtype=torch.float64)
    for name, synapses in fan_out.items():
        s = spikes[name]
        fired = (s.abs().clamp(max=1) if name == INPUT else s).sum(dim=(0, 1))  # whole numbers below 2^24: exact
        total = total.to(s.device) + (fired.double() * synapses).sum() / s.shape[1]
    return total


def share_of_additions(spikes: Mapping[str, Tensor], fan_out: FanOut) -> Tensor:
    """Return `additions` over what they were if every neuron fired in every step: 0…1, float64, ()."""
    most = 0.0
    for name, synapses in fan_out.items():
        n_steps, _, *shape = spikes[name].shape
        most += n_steps * float(torch.as_tensor(synapses).double().expand(shape).sum())
    return additions(spikes, fan_out) / max(most, 1.0)  # 0 / 1 where there is no synapse at all
