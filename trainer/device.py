"""Where training runs: a device that is there, and how many threads are worth having."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spikegraph.export.errors import OptionError


@contextmanager
def threads(worth: bool) -> Iterator[None]:
    """Let torch use one thread for a while unless more are worth it, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if worth else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def checked_device(name: str) -> torch.device:
    """Return the device of this name, "cpu" or "cuda"; raises `OptionError` if it is not there."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise OptionError("--device", f"{name!r} is no device to train on", "use cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        what = f"{name!r}, but torch {torch.__version__} finds {torch.cuda.device_count()} CUDA devices here"
        raise OptionError("--device", what, "use cpu, or install a torch that fits the machine's GPU and driver")
    return device
