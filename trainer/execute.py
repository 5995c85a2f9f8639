"""Run a trained network's own forward pass where `verify` wants to compare it: every state of every population."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from spikegraph.export.connectivity import Array
from spikegraph.trainer.network import SpikingNetwork


@torch.no_grad()
def execute(network: SpikingNetwork, rasters: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Run a window through the training forward pass, as it is used after training.

    Parameters
    ----------
    network : SpikingNetwork
    rasters : mapping with the one input "input" → ndarray of int (T, B, *shape)

    Returns
    -------
    dict of population → dict of "s", "u", "v" → ndarray (T, B, *shape)
    """
    device = next(network.parameters()).device
    windows = network.eval().windows(torch.from_numpy(rasters["input"]).to(device).float())
    return {
        name: {key: np.asarray(getattr(window, key).cpu().numpy()) for key in ("s", "u", "v")}
        for name, window in windows.items()
    }
