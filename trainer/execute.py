"""Run a trained network's own forward pass where `verify` wants to compare it: every state of every layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from spikegraph.export.connectivity import Array
from spikegraph.trainer.network import SpikingNetwork


@torch.no_grad()
def execute(network: SpikingNetwork, rasters: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Run a window through the training forward pass.

    Parameters
    ----------
    network : SpikingNetwork
    rasters : mapping with the one input "input" → ndarray of int (T, B, n_in)

    Returns
    -------
    dict of population → dict of "s", "u", "v" → ndarray (T, B, n)
    """
    device = next(network.parameters()).device
    s = torch.from_numpy(rasters["input"]).to(device).float()
    states = {}
    for name, layer in network.named_layers().items():
        window = layer.window(s)
        s = window.s.float()
        states[name] = {key: np.asarray(getattr(window, key).cpu().numpy()) for key in ("s", "u", "v")}
    return states
