"""Training in several processes at once, as torchrun starts them: each computes its share of every batch.

    torchrun --nproc_per_node=2 -m spikegraph train RECIPE --out FOLDER

Nothing but tensors of gradients, sums and fingerprints passes between them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError, SpikegraphError


@dataclass(frozen=True, kw_only=True)
class Processes:
    """One of the processes that train together: the one that this code runs in.

    Parameters
    ----------
    rank : int
        0 … size - 1; the process of rank 0 writes the files.
    size : int
        1: there is no other.
    device : torch.device
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def wrap(self, module: nn.Module, *, some_idle: bool = False) -> nn.Module:
        """Return the module as it is to be called in training: its gradients become the mean over all processes.

        Wrap anew for every epoch: the order of sums follows from the batches since. `some_idle`: some of the parameters
        that are trained have no part in the loss.
        """
        if self.size == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=some_idle)

    def share(self, chosen: Array) -> Array:
        """Return this process's part of a batch: consecutive samples, the parts' sizes differing by one at most."""
        return chosen if self.size == 1 else np.array_split(chosen, self.size)[self.rank]

    def total(self, *values: float | Tensor) -> list[float]:
        """Return the sum of each value over all processes, in float64."""
        sums = torch.stack([torch.as_tensor(value, dtype=torch.float64, device=self.device) for value in values])
        if self.size > 1:
            distributed.all_reduce(sums)
        return [float(value) for value in sums]

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the buffers of the first: running statistics are of each one's own share of the data."""
        if self.size > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)

    def require_alike(self, *parts: Array | bytes) -> None:
        """Raise `OptionError`, in every process, unless all of them hold the same bytes."""
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)  # type: ignore[arg-type]
        mine = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).to(self.device)
        of_all = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(of_all, mine)
        others = [str(rank) for rank, each in enumerate(of_all) if not torch.equal(each, of_all[0])]
        if others:
            what = f"process {', '.join(others)} has another recipe, other data or another checkpoint than process 0"
            raise OptionError("torchrun", what, "give all of them the same files")


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, or be alone where it did not; a group that was joined before stays.

    Parameters
    ----------
    device : torch.device
        With "cuda", each process takes the GPU of its rank on its machine, and they speak through NCCL; else gloo.

    Raises
    ------
    OptionError
        There are more processes than GPUs.
    SpikegraphError
        Another process was lost.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if size == 1:
        yield Processes(rank=0, size=1, device=device)
        return
    if device.type == "cuda":
        local, n_devices = int(os.environ.get("LOCAL_RANK", rank)), torch.cuda.device_count()
        if local >= n_devices:
            what = f"process {local} of this machine has no GPU of its own: there are {n_devices}"
            raise OptionError("torchrun", what, f"use --nproc_per_node={n_devices}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    joined_before = distributed.is_initialized()
    if not joined_before:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank=rank, size=size, device=device)
    except RuntimeError as error:
        if not any(word in str(error) for word in ("gloo", "NCCL", "Connection", "process group")):
            raise
        message = re.sub(r"^\[\S*\] ", "", str(error).splitlines()[0]).partition(". ")[0]  # without its source line
        what = f"lost another process ({message})"
        raise SpikegraphError(f"process {rank}", what, "see what it said, then go on with --resume") from error
    finally:
        if not joined_before:
            distributed.destroy_process_group()
