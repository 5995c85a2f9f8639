"""What a one-spike layer does in a window, computed where its tensors are."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """One layer, B samples; tensors (B, out, rows, columns), potentials in units of the weights.

    Parameters
    ----------
    fired_at : Tensor of int32
        Step of each neuron's spike; n_steps if it stays silent.
    peak : Tensor of float32
        The largest v before reset: of the step of the spike, or the largest that a silent neuron came to; 0 where
        nothing arrived.
    peak_at : Tensor of int32
        The step in which v first was so large; -1 where nothing arrived.
    last : Tensor of float32
        v before reset in the step of the spike, or at the end of the sample's window.
    """

    fired_at: Tensor
    peak: Tensor
    peak_at: Tensor
    last: Tensor
