"""Fake quantization that is bit-true: parameters as the integers that export writes, gradients passed straight through.

The rounding itself is spikegraph.export.quantize's; here it is only made differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.export.chips import Chip
from spikegraph.export.fixed import ALIGN_BITS
from spikegraph.export.quantize import (
    fold_threshold,
    quantize_bias,
    quantize_threshold,
    quantize_weight,
    shared_scale,
    smallest_scale,
    weight_scale,
)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exact: Tensor, rounded: Tensor) -> Tensor:
        return rounded.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _straight_through(exact: Tensor, rounded: Tensor) -> Tensor:
    result: Tensor = _StraightThrough.apply(exact, rounded.detach())  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedDense:
    """Whole numbers in float tensors: weight (out, in), threshold mantissa () or (out,), bias (out,) in units of v."""

    weight: Tensor
    threshold_mant: Tensor
    bias: Tensor


def quantize_dense(weight: Tensor, v_threshold: Tensor, bias: Tensor, chip: Chip) -> QuantizedDense:
    """Quantize a dense layer as `spikegraph.export.quantize.quantize` will, differentiably.

    Parameters
    ----------
    weight : Tensor of float32 (out, in)
    v_threshold : Tensor of float32, () or (out,)
    bias : Tensor of float32 (out,)
    chip : Chip
    """
    if chip.threshold_mant.shared and v_threshold.ndim:
        weight, bias = fold_threshold("Dense", weight, v_threshold), bias / v_threshold
        v_threshold = torch.ones((), dtype=weight.dtype, device=weight.device)
    # A GPU divides by a Python number as a product with its reciprocal, which may be a bit off; a CPU does divide.
    largest = [tensor.detach().abs().max().cpu() for tensor in (weight, v_threshold, bias)]
    fitting = [weight_scale(largest[0], chip.weight.format)], smallest_scale(largest[1], largest[2], chip)
    scale = torch.as_tensor(shared_scale(fitting[0], chip.weight_exp.format, fitting[1])[0]).to(weight.device)
    mant, exp = quantize_bias(bias.detach(), scale, chip.bias_mant.format, chip.bias_exp.format)
    return QuantizedDense(
        weight=_straight_through(weight / scale, quantize_weight(weight.detach(), scale, chip.weight.format)),
        threshold_mant=_straight_through(
            v_threshold / scale, quantize_threshold(v_threshold.detach(), scale, chip.threshold_mant.format)
        ),
        bias=_straight_through(bias / scale * (1 << ALIGN_BITS), mant * (1 << exp)),
    )
