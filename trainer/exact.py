"""Sums of whole numbers that no order of summation rounds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_EXACT_FLOAT32 = 1 << 24


def exact_dtype(weight: Tensor, largest_input: int) -> torch.dtype:
    """Return the float type that holds every partial sum of rows of `weight` (out, …) times inputs exactly."""
    return dtype_for(largest_sum(weight, largest_input))


def largest_sum(weight: Tensor, largest_input: int) -> float:
    """Return a bound on the sums of rows of `weight` (out, …) times inputs, whatever the inputs."""
    return float(weight.detach().abs().flatten(1).sum(dim=1).max()) * largest_input


def dtype_for(bound: float) -> torch.dtype:
    """Return the float type that holds whole numbers below `bound` exactly.

    float32 does below 2^24; beyond that, and where float32 products may be shortened (TF32, bfloat16), float64 does.
    """
    return torch.float32 if bound < _EXACT_FLOAT32 and _whole_float32() else torch.float64


def exact_linear(s: Tensor, weight: Tensor, largest_input: int) -> Tensor:
    """Return s · weightᵀ of whole numbers without rounding, in `exact_dtype`."""
    dtype = exact_dtype(weight, largest_input)
    with torch.autocast(device_type=s.device.type, enabled=False):
        return functional.linear(s.to(dtype), weight.to(dtype))


def exact_conv2d(s: Tensor, weight: Tensor, largest_input: int, **geometry: Any) -> Tensor:
    """Return the convolution of whole numbers without rounding, in `exact_dtype`.

    `geometry` is torch's stride, padding, dilation and groups. cuDNN is left out: it may choose an algorithm
    (Winograd, FFT) that rounds on the way.
    """
    dtype = exact_dtype(weight, largest_input)
    with torch.autocast(device_type=s.device.type, enabled=False), torch.backends.cudnn.flags(enabled=False):
        return functional.conv2d(s.to(dtype), weight.to(dtype), **geometry)


def _whole_float32() -> bool:
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # torch does not say, once a back end's own `fp32_precision` was set
        return False
