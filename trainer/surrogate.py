"""Surrogate gradients: what stands in for the derivative of a spike.

Each function takes z = (v - threshold) / threshold and returns an even, positive number that is 1 or so at z = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor


def arctan(z: Tensor) -> Tensor:
    """Return the derivative of the arctangent with α = 2: 1 / (1 + (π z)²).

    Source: Fang et al., ICCV 2021; used by STL (Sun et al., IEEE TCDS 2023).
    """
    return 1 / (1 + (pi * z).square())


def fast_sigmoid(z: Tensor) -> Tensor:
    """Return the derivative of the fast sigmoid: 1 / (1 + |4 z|)².

    Source: Zenke and Ganguli, Neural Computation 30, 2018.
    """
    return 1 / (1 + (4 * z).abs()).square()


def triangle(z: Tensor) -> Tensor:
    """Return a triangle of half-width 1: max(0, 1 - |z|).

    Source: Bellec et al., NeurIPS 2018.
    """
    return torch.clamp(1 - z.abs(), min=0)


SURROGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "arctan": arctan,
    "fast_sigmoid": fast_sigmoid,
    "triangle": triangle,
}
