"""Thresholds that differ, on a chip whose populations share one: folded into the weights, where that changes no spike.

As in rounding.py, NumPy arrays and torch tensors will do: quantization-aware training folds its parameters here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import per_neuron
from spikegraph.export.errors import ChipError
from spikegraph.export.float_graph import FloatPopulation, FloatProjection


def folds(kind: str, v_threshold: Any) -> bool:
    """Tell whether the synapses onto each neuron can be divided by its threshold: see `fold_threshold`."""
    own = kind in ("Dense", "Sparse", "OneToOne") or (kind == "Conv2d" and v_threshold.ndim == 1)
    return own or bool(v_threshold.min() == v_threshold.max())


def threshold_divisors(kinds: Sequence[str], v_threshold: Any, each: Any, chip: Chip) -> list[Any] | None:
    """Return the thresholds that the weights of each projection into a population are divided by.

    Parameters
    ----------
    kinds : sequence of str
        Of the projections.
    v_threshold : ndarray or Tensor
        One, one for each channel, or one for each neuron of the population.
    each : ndarray or Tensor
        The same, as it stands beside the population's neurons.
    chip : Chip

    Returns
    -------
    list, or None
        None if nothing is to be divided: one threshold serves all, the chip holds them all, or they cannot be folded.
    """
    divisors = [v_threshold if kind == "Conv2d" else each for kind in kinds]
    if chip.threshold_mant.shared and v_threshold.ndim and all(map(folds, kinds, divisors)):
        return divisors
    return None


def fold_threshold(kind: str, weight: Any, v_threshold: Any, indices: Any = None) -> Any:
    """Divide the synapses onto each neuron by its threshold, for chips whose populations share one threshold.

    Parameters
    ----------
    kind : str
        Kind of projection.
    weight : ndarray or Tensor
    v_threshold : ndarray or Tensor
        One for each neuron of the target, in its shape (n,) or (c, h, w); for "Conv2d" also one for each channel (c,).
    indices : ndarray, optional
        Target of each synapse, for "Sparse".

    Raises
    ------
    ChipError
        The projection shares weights between neurons whose thresholds differ.
    """
    if not folds(kind, v_threshold):
        what = "shares weights between neurons whose thresholds differ, and the chip shares thresholds"
        raise ChipError(
            kind, what, "train with one threshold per layer or channel, or choose a chip with one per neuron"
        )
    if kind == "Dense":
        return weight / v_threshold.reshape(-1, 1)
    if kind == "Conv2d" and v_threshold.ndim == 1:
        return weight / v_threshold.reshape(-1, 1, 1, 1)
    if kind == "Sparse":
        return weight / v_threshold.reshape(-1)[indices]
    if kind == "OneToOne":
        one_per_channel = weight.ndim == 1 and v_threshold.ndim == 3
        return (weight.reshape(-1, 1, 1) if one_per_channel else weight) / v_threshold
    return weight / v_threshold.reshape(-1)[0]


def fold(
    population: FloatPopulation, incoming: dict[str, FloatProjection], chip: Chip
) -> tuple[dict[str, FloatProjection], FloatPopulation]:
    """Return what reaches a population, and the population, with thresholds folded if the chip shares what differs."""
    v_threshold = population.v_threshold
    each, bias = per_neuron(v_threshold, population.shape), per_neuron(population.bias, population.shape)
    divisors = threshold_divisors([p.kind for p in incoming.values()], v_threshold, each, chip)
    if divisors is None:  # populations that the chip cannot hold are split later
        return incoming, population
    weights = {
        name: fold_threshold(p.kind, p.weight, divisor, getattr(p, "indices", None))
        for (name, p), divisor in zip(incoming.items(), divisors, strict=True)
    }
    folded = replace(population, v_threshold=np.ones((), v_threshold.dtype), bias=bias / each)
    return {name: replace(p, weight=weights[name]) for name, p in incoming.items()}, folded
