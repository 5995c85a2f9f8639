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

from spikegraph.export.errors import FileFormatError, SpikegraphError


def save_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, progress: dict[str, Any]) -> None:
    """Write a checkpoint to a temporary name, then rename: at any moment the file is whole or absent.

    Parameters
    ----------
    progress : dict
        Plain JSON: "history", a list with a dict for each finished epoch, and the network's sizes "n_in", "n_classes".

    Raises
    ------
    SpikegraphError
        The file cannot be written; an older one stays as it was.
    """
    tensors = {f"network.{name}": tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value).cpu() for name, value in state.items()}
    temporary = path.with_suffix(".tmp")
    try:
        save_file(tensors, temporary, metadata={"progress": json.dumps(progress)})
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        what = f"cannot be written ({str(error).splitlines()[0]})"
        raise SpikegraphError(str(path), what, "make room, or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_progress(path: Path) -> dict[str, Any]:
    """Read the progress that a checkpoint was saved with; raises `FileFormatError` as `load_checkpoint` does."""
    if not path.is_file():
        raise FileFormatError(str(path), "there is no checkpoint", "train first, or name the folder of a training run")
    try:
        with safe_open(path, framework="pt") as file:
            progress: dict[str, Any] = json.loads(file.metadata()["progress"])
        if not (_are_epochs(progress["history"]) and all(_is_size(progress[name]) for name in ("n_in", "n_classes"))):
            raise ValueError("its progress is not a training run's")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise FileFormatError(str(path), f"is no checkpoint ({message})", "train again") from error
    return progress


def _are_epochs(history: object) -> bool:
    return isinstance(history, list) and all(isinstance(epoch, dict) for epoch in history)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _optimizer_states(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, field = name.split(".")
            states.setdefault(int(index), {})[field] = tensor
    return states


def load_checkpoint(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Load a checkpoint into a network (and its optimizer) and return its progress.

    Raises
    ------
    FileFormatError
        No checkpoint, a damaged one, one of another network, or one that holds NaN or infinity.
    """
    progress = read_progress(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        states = _optimizer_states(tensors)
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise FileFormatError(str(path), "holds NaN or infinity", "train again with a smaller learning rate")
        if optimizer is not None and states:
            trained = (parameter.shape for group in optimizer.param_groups for parameter in group["params"])
            if {index: state["exp_avg"].shape for index, state in states.items()} != dict(enumerate(trained)):
                raise ValueError("its optimizer trained other parameters")
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        message = str(error).splitlines()[0]
        raise FileFormatError(str(path), f"is no checkpoint of this network ({message})", "train again") from error
    if optimizer is not None:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return progress
