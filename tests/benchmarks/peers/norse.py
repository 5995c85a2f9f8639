"""Norse: LIFBoxCell lifted over the steps (v > threshold). It divides its input by the time constant of 16 steps."""

from __future__ import annotations

import norse.torch
import torch
from peers.torch_layers import chain, counted, prepare

PACKAGES = ["norse", "torch"]


def neurons(threshold):
    parameters = norse.torch.LIFBoxParameters(tau_mem_inv=torch.tensor(62.5), v_th=torch.tensor(threshold))
    cell = norse.torch.Lift(norse.torch.LIFBoxCell(p=parameters, dt=0.001))
    return lambda x: cell(x)[0]


def build(network, variant, batch):
    return prepare, counted(chain(network, neurons, scale=16.0))
