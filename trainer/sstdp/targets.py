"""Target times of the outputs, and the error of being off them (Liu et al., Front. Neurosci. 2021)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

TargetKind = Literal["paper", "code"]


def target_times(fired_at: Tensor, label: Tensor, *, kind: TargetKind, delta: float, n_steps: int) -> Tensor:
    """Return when each output should have fired.

    - `paper`: label min(t, T_mean - (n - 1) / n · delta), others max(t, T_mean + delta / n), where n is the number of
      outputs and T_mean the mean over those that fired. If none fired, T_mean is n_steps: the label is late, and the
      others are not.
    - `code`: label t_min, the first spike of all; others max(t, t_min + delta). If none fired, t_min is
      n_steps - delta, to the same effect.

    No target lies before the window, and none after n_steps, which stands for silence.

    Parameters
    ----------
    fired_at : Tensor of float (B, n_classes)
    label : Tensor of int (B,)
    delta : float, steps
        How far the label and the others should be apart.
    """
    fired = fired_at < n_steps
    is_label = functional.one_hot(label, fired_at.shape[1]).bool()
    if kind == "code":
        first = fired_at.min(dim=1, keepdim=True).values
        first = torch.where(first < n_steps, first, n_steps - delta)
        wanted = torch.where(is_label, first, torch.maximum(fired_at, first + delta))
    else:
        n, n_fired = fired_at.shape[1], fired.sum(dim=1, keepdim=True)
        mean = torch.where(fired, fired_at, 0).sum(dim=1, keepdim=True) / n_fired.clamp(min=1)
        mean = torch.where(n_fired > 0, mean, n_steps)
        early, late = mean - (n - 1) / n * delta, mean + delta / n
        wanted = torch.where(is_label, torch.minimum(fired_at, early), torch.maximum(fired_at, late))
    return wanted.clamp(0, n_steps)


def squared_error(fired_at: Tensor, target: Tensor) -> Tensor:
    """Return ½ Σ (t - T)² over the outputs, the mean over the samples."""
    return 0.5 * (fired_at - target).square().sum(dim=1).mean()
