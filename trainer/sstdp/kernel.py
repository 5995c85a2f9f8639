"""The compiled part of one-spike layers: tensors laid out for it, its work shared among threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module

import torch
from torch import Tensor
from torch.nn import functional

from spikegraph.export.errors import TargetError
from spikegraph.export.fixed import ALIGN_BITS, STATE_MAX
from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.window import Window

_NEVER = (1 << 31) - 2  # no v is larger; the kernel marks neurons that fired by one more
_FIELDS = "n_samples n_steps channels height width rows columns outputs lanes kernel_height kernel_width stride padding"


class _Layer(ctypes.Structure):
    """sg_layer of _kernel.c."""

    _fields_ = tuple((name, ctypes.c_int64) for name in _FIELDS.split())


@cache
def library() -> ctypes.CDLL:
    """Load the compiled part.

    Raises
    ------
    TargetError
        It was not built, or from another version of this package.
    """
    remedy = "build it: install a C compiler, then `pip install --force-reinstall --no-deps` this package again"
    try:
        path = import_module("spikegraph.trainer.sstdp._kernel").__file__
    except ImportError as error:
        raise TargetError("one-spike layers", f"their compiled part is missing ({error})", remedy) from error
    loaded = ctypes.CDLL(str(path))
    for name in ("sg_layer_size", "sg_forward_float", "sg_forward_whole", "sg_forward_aligned", "sg_pairs", "sg_back"):
        getattr(loaded, name).restype = ctypes.c_int64
    if loaded.sg_layer_size() != ctypes.sizeof(_Layer):
        raise TargetError("one-spike layers", f"their compiled part {path} is from another version", remedy)
    return loaded


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="one-spike")


def _share(call: Callable[[int, int], int]) -> None:
    """Call `call(k, n)` in n threads, k = 0 … n - 1; each takes every n-th piece of the work."""
    n = torch.get_num_threads()
    answers = [call(0, 1)] if n == 1 else list(_threads(n).map(lambda k: call(k, n), range(n)))
    if any(answers):
        raise MemoryError("one-spike layers")


def _layer(geometry: Geometry, n_samples: int, n_steps: int) -> _Layer:
    g = geometry
    sizes = (n_samples, n_steps, g.channels, g.height, g.width, g.rows, g.columns, g.outputs, g.lanes)
    return _Layer(*sizes, g.kernel_size, g.kernel_size, g.stride, g.padding)


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


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
    argument = ctypes.c_int32(int(limit)) if integer else ctypes.c_float(limit)
    forward = getattr(library(), f"sg_forward_{'whole' if whole else 'aligned' if integer else 'float'}")
    layer = _layer(geometry, len(times), n_steps)
    lanes = None if bias is None else functional.pad(bias.detach().to(dtype), (0, geometry.lanes - len(bias)))
    inputs = [_pointer(times), _pointer(rows), None if lanes is None else _pointer(lanes)]
    outputs = [_pointer(tensor) for tensor in (fires_at, peak, peak_at, last)]
    _share(
        lambda k, n: forward(
            ctypes.byref(layer), *inputs, argument, _pointer(until), ctypes.c_int64(k), ctypes.c_int64(n), *outputs
        )
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
    pointers = [_pointer(times), *(_pointer(tensor) for tensor in sites), None if table is None else _pointer(table)]
    _share(
        lambda k, n: library().sg_pairs(
            ctypes.byref(layer), *pointers, ctypes.c_int64(k), ctypes.c_int64(n), _pointer(gradient)
        )
    )
    return gradient[:, : geometry.outputs].t().reshape(geometry.weight_shape)


def send_back(
    geometry: Geometry, fired_at: Tensor, ends: Tensor, delta: Tensor, weight: Tensor, n_steps: int
) -> Tensor:
    """Send errors back; parameters as in `spikegraph.trainer.sstdp.run.send_back`."""
    times = fired_at.to(torch.int32).contiguous()
    sites = _by_site(geometry, ends, torch.int32), _by_site(geometry, delta, torch.float32)
    rows, back = _in_rows(geometry, weight, torch.float32), torch.empty(len(times), geometry.n_in)
    layer = _layer(geometry, len(times), n_steps)
    pointers = [_pointer(tensor) for tensor in (times, *sites, rows)]
    _share(
        lambda k, n: library().sg_back(
            ctypes.byref(layer), *pointers, ctypes.c_int64(k), ctypes.c_int64(n), _pointer(back)
        )
    )
    return back
