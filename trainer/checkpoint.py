"""Checkpoints without pickle: tensors of a network and its optimizer in safetensors, progress as its metadata.

Tensors are called `network.…` (parameters and buffers as they are now), `best.…` (those of the best epoch, where that
is kept) and `optimizer.INDEX.FIELD`.
"""

from __future__ import annotations

import json
import math
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from spikegraph.export.errors import FileFormatError, SpikegraphError
from spikegraph.trainer.architecture import MOST_NEURONS
from spikegraph.trainer.data.split import MOST_CLASSES

_DIGEST = "sha256"  # of the tensors, beside the progress


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
    best: dict[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint to a temporary name, then rename: at any moment the file is whole or absent.

    Parameters
    ----------
    progress : dict
        Plain JSON: "history", a list with a dict for each finished epoch, the network's sizes: "pixels", a sample's
        shape, and "n_classes", and what else the loop goes on from.
    best : dict of Tensor, optional
        State of the network in its best epoch.

    Raises
    ------
    SpikegraphError
        The file cannot be written; an older one stays as it was.
    """
    tensors = {f"network.{name}": _at_rest(tensor) for name, tensor in network.state_dict().items()}
    tensors |= {f"best.{name}": _at_rest(tensor) for name, tensor in (best or {}).items()}
    for index, state in optimizer.state_dict()["state"].items():
        fields = {name: value for name, value in state.items() if value is not None}  # SGD without momentum has None
        tensors |= {f"optimizer.{index}.{name}": _at_rest(torch.as_tensor(value)) for name, value in fields.items()}
    temporary = path.with_suffix(".tmp")
    try:
        # safetensors' own `save_file` would leave a file of another name behind whenever a run is killed in it.
        # One entry: safetensors writes several in an order that differs from process to process.
        content = save(tensors, metadata={"progress": json.dumps({**progress, _DIGEST: _digest(tensors)})})
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except (SafetensorError, OSError) as error:
        what = f"cannot be written ({str(error).splitlines()[0]})"
        raise SpikegraphError(str(path), what, "make room, or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def _at_rest(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _digest(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of tensors and their names: safetensors has no checksum of its own."""
    digest = sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_progress(path: Path) -> dict[str, Any]:
    """Read the progress that a checkpoint was saved with; raises `FileFormatError` as `load_checkpoint` does."""
    progress = _read_metadata(path)
    progress.pop(_DIGEST, None)
    return progress


def _read_metadata(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileFormatError(str(path), "there is no checkpoint", "train first, or name the folder of a training run")
    try:
        with safe_open(path, framework="pt") as file:
            progress: dict[str, Any] = json.loads(file.metadata()["progress"])
        sound = _is_shape(progress["pixels"]) and _is_size(progress["n_classes"], MOST_CLASSES)
        if not (sound and _are_epochs(progress["history"]) and _is_scale(progress.get("scaler"))):
            raise ValueError("its progress is not a training run's")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        message = str(error).splitlines()[0]
        raise FileFormatError(str(path), f"is no checkpoint ({message})", "train again") from error
    return progress


def _are_epochs(history: object) -> bool:
    return isinstance(history, list) and all(
        isinstance(epoch, dict) and epoch.get("epoch") == number and _is_share(epoch.get("validation_accuracy"))
        for number, epoch in enumerate(history, start=1)
    )


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _is_scale(value: object) -> bool:
    """Tell whether it is the state of torch's GradScaler, or none."""
    fields = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}
    return value is None or (
        isinstance(value, dict)
        and value.keys() == fields
        and all(isinstance(number, int | float) for number in value.values())
    )


def _is_shape(value: object) -> bool:
    """Tell whether it is a sample's shape, (n,) or (c, h, w), of a size that can be built for."""
    if not isinstance(value, list) or len(value) not in (1, 3):
        return False
    return all(_is_size(size, MOST_NEURONS) for size in value) and math.prod(value) <= MOST_NEURONS


def _is_size(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _optimizer_states(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, field = name.split(".")
            states.setdefault(int(index), {})[field] = tensor
    return states


def _require_states_of(states: dict[int, dict[str, Tensor]], optimizer: torch.optim.Optimizer) -> None:
    """Raise `ValueError` unless each state has the fields of this kind of optimizer, in its parameter's shape."""
    trained = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))
    fields = {"momentum_buffer"} if isinstance(optimizer, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
    for index, state in states.items():
        shape = trained[index].shape if index in trained else None
        if state.keys() != fields or any(state[name].shape != shape for name in fields - {"step"}):
            raise ValueError("its optimizer trained other parameters")


def load_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer | None = None, *, part: str = "network"
) -> dict[str, Any]:
    """Load a checkpoint into a network (and its optimizer) and return its progress.

    Parameters
    ----------
    part : "network" or "best"
        The state of the last epoch, or that of the best.

    Raises
    ------
    FileFormatError
        No checkpoint, a damaged one, one of another network, or one that holds NaN or infinity.
    """
    progress = _read_metadata(path)
    expected = progress.pop(_DIGEST, None)  # older checkpoints have none
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if expected not in (None, _digest(tensors)):
            raise FileFormatError(str(path), "is damaged: its tensors are not those that were written", "train again")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise FileFormatError(str(path), "holds NaN or infinity", "train again with a smaller learning rate")
        states = _optimizer_states(tensors)
        if optimizer is not None:
            _require_states_of(states, optimizer)
        network.load_state_dict({k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")})
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        message = str(error).splitlines()[0]
        raise FileFormatError(str(path), f"is no checkpoint of this network ({message})", "train again") from error
    if optimizer is not None:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return progress
