"""The compiled part of one-spike layers: tensors laid out for it, its work shared among threads."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spikegraph.export.fixed import ALIGN_BITS, STATE_MAX
from spikegraph.hwsim.kernel import structure
from spikegraph.trainer.extension import load
from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.window import Window

_NEVER = (1 << 31) - 2  # no v is larger; the kernel marks neurons that fired by one more

_Layer = structure(
    "_Layer",
    "n_samples n_steps channels height width rows columns outputs lanes kernel_height kernel_width stride padding",
)


@cache
def library() -> ctypes.CDLL | None:
    """Load the compiled part; None, with one warning, where there is none: the definition computes the same, slower."""
    return load(
        "spikegraph.trainer.sstdp._kernel",
        _Layer,
        "sg_layer_size",
        returns=("sg_forward_float", "sg_forward_whole", "sg_forward_aligned", "sg_pairs", "sg_back"),
        without="training is many times slower: the compiled part of one-spike layers",
    )


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="one-spike")


def _share(function: str, *arguments: Any) -> None:
    """Call a compiled function in every thread; the k-th of n takes every n-th piece of the work, from k on."""
    n, call = torch.get_num_threads(), getattr(library(), function)

    def run(k: int) -> int:
        return int(call(*arguments, ctypes.c_int64(k), ctypes.c_int64(n)))

    if any([run(0)] if n == 1 else list(_threads(n).map(run, range(n)))):
        raise MemoryError("one-spike layers")


def _layer(geometry: Geometry, n_samples: int, n_steps: int) -> ctypes.Structure:
    g = geometry
    sizes = (n_samples, n_steps, g.channels, g.height, g.width, g.rows, g.columns, g.outputs, g.lanes)
    return _Layer(*sizes, g.kernel_size, g.kernel_size, g.stride, g.padding)


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _in_rows(geometry: Geometry, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(out, in, kernel, kernel) → (in, kernel, kernel, lanes): what a spike adds lies in one piece."""
    rows = weight.detach().reshape(geometry.outputs, -1).to(dtype).t()
    return functional.pad(rows, (0, geometry.lanes - geometry.outputs)).contiguous()


def _by_site(geometry: Geometry, tensor: Tensor, dtype: torch.dtype, padding: int = 0) -> Tensor:
    """(B, out, rows, columns) → (B, sites, lanes)."""
    sites = tensor.detach().to(dtype).flatten(2).transpose(1, 2)
    return functional.pad(sites, (0, geometry.lanes - geometry.outputs), value=padding).contiguous()


def _by_channel(geometry: Geometry, tensor: Tensor) -> Tensor:
    """(B, sites, lanes) → (B, out, rows, columns)."""
    return tensor[..., : geometry.outputs].transpose(1, 2).reshape(len(tensor), *geometry.out_shape)


def run_window(
    geometry: Geometry,
    fired_at: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    threshold: float,
    n_steps: int,
    until: Tensor,
    *,
    integer: bool,
) -> Window:
    """Run a layer; parameters as in `spikegraph.trainer.sstdp.run.run_window`."""
    dtype = torch.int32 if integer else torch.float32
    rows = _in_rows(geometry, weight, dtype)
    times, until = (tensor.to(torch.int32).contiguous() for tensor in (fired_at, until))
    size = (len(times), geometry.rows * geometry.columns, geometry.lanes)
    fires_at, peak_at = torch.empty(size, dtype=torch.int32), torch.empty(size, dtype=torch.int32)
    peak, last = torch.empty(size, dtype=dtype), torch.empty(size, dtype=dtype)
    fits = integer and int(rows.to(torch.int64).abs().sum(dim=0).max()) << ALIGN_BITS <= STATE_MAX
    whole = fits and bias is None  # nothing can wrap or saturate
    unit = 1 << ALIGN_BITS if integer and not whole else 1
    limit = min(threshold * unit, _NEVER) if integer else threshold
    lanes = None if bias is None else functional.pad(bias.detach().to(dtype), (0, geometry.lanes - len(bias)))
    _share(
        f"sg_forward_{'whole' if whole else 'aligned' if integer else 'float'}",
        ctypes.byref(_layer(geometry, len(times), n_steps)),
        *(_pointer(tensor) for tensor in (times, rows, lanes)),
        ctypes.c_int32(int(limit)) if integer else ctypes.c_float(limit),
        *(_pointer(tensor) for tensor in (until, fires_at, peak, peak_at, last)),
    )
    return Window(
        fired_at=_by_channel(geometry, fires_at),
        peak=_by_channel(geometry, peak).float() / unit,
        peak_at=_by_channel(geometry, peak_at),
        last=_by_channel(geometry, last).float() / unit,
    )


def sum_pairs(
    geometry: Geometry, fired_at: Tensor, ends: Tensor, delta: Tensor, n_steps: int, table: Tensor | None
) -> Tensor:
    """Sum over pairs of spikes; parameters as in `spikegraph.trainer.sstdp.run.sum_pairs`."""
    times = fired_at.to(torch.int32).contiguous()
    # Padded channels end with the window: their delta is 0, and the table has an entry for them.
    sites = _by_site(geometry, ends, torch.int32), _by_site(geometry, delta, torch.float32)
    gradient = torch.zeros(geometry.channels * geometry.kernel_size**2, geometry.lanes)
    table = None if table is None else table.float().contiguous()
    layer = _layer(geometry, len(times), n_steps)
    _share("sg_pairs", ctypes.byref(layer), *(_pointer(tensor) for tensor in (times, *sites, table, gradient)))
    return gradient[:, : geometry.outputs].t().reshape(geometry.weight_shape)


def send_back(
    geometry: Geometry, fired_at: Tensor, ends: Tensor, delta: Tensor, weight: Tensor, n_steps: int
) -> Tensor:
    """Send errors back; parameters as in `spikegraph.trainer.sstdp.run.send_back`."""
    times = fired_at.to(torch.int32).contiguous()
    sites = _by_site(geometry, ends, torch.int32), _by_site(geometry, delta, torch.float32)
    rows, back = _in_rows(geometry, weight, torch.float32), torch.empty(len(times), geometry.n_in)
    layer = _layer(geometry, len(times), n_steps)
    _share("sg_back", ctypes.byref(layer), *(_pointer(tensor) for tensor in (times, *sites, rows, back)))
    return back
