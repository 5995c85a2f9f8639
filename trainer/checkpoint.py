"""Checkpoints without pickle: tensors of the network and its optimizer in safetensors, progress as its metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spikegraph.export.errors import FileFormatError


def save_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary name, then rename: at any moment the file is whole or absent.

    Parameters
    ----------
    progress : dict
        Plain JSON: finished epochs, history.
    """
    tensors = {f"network.{name}": tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value).cpu() for name, value in state.items()}
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata={"progress": json.dumps(progress)})
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)


def read_progress(path: Path) -> dict[str, Any]:
    """Read the progress that a checkpoint was saved with; raises `FileFormatError` as `load_checkpoint` does."""
    if not path.is_file():
        raise FileFormatError(str(path), "there is no checkpoint", "train first, or name the folder of a training run")
    try:
        with safe_open(path, framework="pt") as file:
            progress: dict[str, Any] = json.loads(file.metadata()["progress"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise FileFormatError(str(path), f"is no checkpoint ({message})", "train again") from error
    return progress


def load_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Load a checkpoint into a network (and its optimizer) and return its progress.

    Raises
    ------
    FileFormatError
        No checkpoint, a damaged one, or one of another network.
    """
    progress = read_progress(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        message = str(error).splitlines()[0]
        raise FileFormatError(str(path), f"is no checkpoint of this network ({message})", "train again") from error
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise FileFormatError(str(path), "holds NaN or infinity", "train again with a smaller learning rate")
    if optimizer is not None:
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, field = name.split(".")
                states.setdefault(int(index), {})[field] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return progress
