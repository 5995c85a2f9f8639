"""Sums of whole numbers that no order of summation rounds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_EXACT_FLOAT32 = 1 << 24


def exact_dtype(weight: Tensor, largest_input: int) -> torch.dtype:
    """Return the float type that holds every partial sum of rows of `weight` (out, …) times inputs exactly.

    float32 does while they stay below 2^24; beyond that, and where float32 products may be shortened (TF32, bfloat16),
    float64 does.
    """
    bound = weight.detach().abs().flatten(1).sum(dim=1).max() * largest_input
    return torch.float32 if bound < _EXACT_FLOAT32 and _whole_float32() else torch.float64


def exact_linear(s: Tensor, weight: Tensor, largest_input: int) -> Tensor:
    """Return s · weightᵀ of whole numbers without rounding, in `exact_dtype`."""
    dtype = exact_dtype(weight, largest_input)
    with torch.autocast(device_type=s.device.type, enabled=False):
        return functional.linear(s.to(dtype), weight.to(dtype))


def _whole_float32() -> bool:
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # torch does not say, once a back end's own `fp32_precision` was set
        return False
