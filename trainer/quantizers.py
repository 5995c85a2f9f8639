"""Fake quantization that is bit-true: parameters as the integers that export writes, gradients passed straight through.

The rounding itself is spikegraph.export.quantize's; here it is only made differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Shape
from spikegraph.export.fixed import ALIGN_BITS
from spikegraph.export.rounding import (
    quantize_bias,
    quantize_threshold,
    quantize_weight,
    shared_scale,
    smallest_scale,
    weight_scale,
)
from spikegraph.export.thresholds import fold_threshold, threshold_divisors


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


_LEAST_SHARE = 1e-3  # of the largest weight: a clip stays above


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedPopulation:
    """A population and its synapses as whole numbers in float tensors.

    Attributes
    ----------
    weights : list of Tensor
        Shifted by their weight exponents already: what arrives is their plain sum.
    threshold_mant : Tensor
        () or, where the chip allows it, one per channel or neuron.
    bias : Tensor
        In units of v, mantissa times 2^exponent.
    """

    weights: list[Tensor]
    threshold_mant: Tensor
    bias: Tensor


def quantize_population(
    kinds: Sequence[str],
    weights: Sequence[Tensor],
    v_threshold: Tensor,
    bias: Tensor,
    shape: Shape,
    chip: Chip,
    clip_shares: Sequence[Tensor | None] | None = None,
) -> QuantizedPopulation:
    """Quantize a population and what ends at it as `spikegraph.export.quantize.quantize` will, differentiably.

    Parameters
    ----------
    kinds : sequence of str
        Kind of each projection: "Dense", "Conv2d", "SumPool2d" or "OneToOne".
    weights : sequence of Tensor of float32
        In the shapes that a graph has them in.
    v_threshold, bias : Tensor of float32, (), (c,) or the population's shape
    shape : (n,) or (c, h, w)
        Of the population.
    chip : Chip
    clip_shares : sequence of Tensor () or None, optional
        The share of the largest magnitude that becomes the chip's largest weight, where it is trained.
    """
    weights, are_folded = fold_shared_threshold(kinds, weights, v_threshold, shape, chip)
    if are_folded:
        bias = broadcastable(bias, shape) / broadcastable(v_threshold, shape)
        v_threshold = torch.ones((), dtype=bias.dtype, device=bias.device)
    shares = clip_shares or [None] * len(weights)
    # A GPU divides by a Python number as a product with its reciprocal, which may be a bit off; a CPU does divide.
    scales = [
        weight_scale(weight.detach().abs().max().cpu(), chip.weight.format, clip_of(weight, share).cpu())
        for weight, share in zip(weights, shares, strict=True)
    ]
    largest_threshold, largest_bias = (tensor.detach().abs().max().cpu() for tensor in (v_threshold, bias))
    smallest = smallest_scale(largest_threshold, largest_bias, chip)
    largest = v_threshold.detach().min().cpu() / chip.threshold_mant.minimum
    base, exponents = shared_scale(scales, chip.weight_exp.format, smallest, largest)
    scale = torch.as_tensor(base).to(bias.device)
    mant, exp = quantize_bias(bias.detach(), scale.detach(), chip.bias_mant.format, chip.bias_exp.format)
    return QuantizedPopulation(
        weights=[
            _quantized_weight(weight, scale * (1 << exponent), chip, clipped=share is not None) * (1 << exponent)
            for weight, exponent, share in zip(weights, exponents, shares, strict=True)
        ],
        threshold_mant=_straight_through(
            v_threshold / scale,
            quantize_threshold(v_threshold.detach(), scale.detach(), chip.threshold_mant.format),
        ),
        bias=_straight_through(bias / scale * (1 << ALIGN_BITS), mant * (1 << exp)),
    )


def fold_shared_threshold(
    kinds: Sequence[str], weights: Sequence[Tensor], v_threshold: Tensor, shape: Shape, chip: Chip
) -> tuple[list[Tensor], bool]:
    """Divide weights by the thresholds of their neurons, where these differ, the chip shares them and all can fold.

    Returns
    -------
    list of Tensor, bool
        The weights, and whether they were divided.
    """
    divisors = threshold_divisors(kinds, v_threshold, broadcastable(v_threshold, shape), chip)
    if divisors is None:
        return list(weights), False
    return list(map(fold_threshold, kinds, weights, divisors)), True


def clip_of(weight: Tensor, share: Tensor | None) -> Tensor:
    """Return the magnitude that becomes a chip's largest weight: a share of the largest, or all of it."""
    largest = weight.detach().abs().max()
    return largest if share is None else share.clamp(_LEAST_SHARE, 1) * largest


def _quantized_weight(weight: Tensor, scale: Tensor, chip: Chip, *, clipped: bool) -> Tensor:
    limit, exact = chip.weight.format, weight / scale
    if (
        clipped
    ):  # what is cut off does not move, and the clip learns from it (Esser et al., ICLR 2020: learned step size)
        exact = exact.clamp(limit.minimum, limit.maximum)
    return _straight_through(exact, quantize_weight(weight.detach(), scale.detach(), limit))


def broadcastable(parameter: Tensor, shape: Shape) -> Tensor:
    """Bring a parameter, one, one per channel or one per neuron, beside neurons of `shape`, (n,) or (c, h, w)."""
    return parameter.reshape(-1, 1, 1) if parameter.ndim == 1 and len(shape) == 3 else parameter
