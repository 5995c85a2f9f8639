"""Rounding in which errors make up for each other: representable, better where it counts, plain without data."""

from __future__ import annotations

import numpy as np
import pytest

from spikegraph.export.chips import load_chip
from spikegraph.export.compensate import compensated, spread_of


def activity(seed: int, n: int, n_moments: int) -> np.ndarray:
    """Inputs of which many are active together."""
    rng = np.random.default_rng(seed)
    return (rng.random((n_moments, 4)) < 0.4).astype(float) @ rng.random((4, n)) + 0.1 * rng.random((n_moments, n))


@pytest.mark.parametrize("chip", ["loihi1", "loihi2", "generic 1", "generic 3"])
@pytest.mark.parametrize("seed", range(3))
def test_sums_err_less_than_with_the_nearest_weights(chip: str, seed: int) -> None:
    name, _, bits = chip.partition(" ")
    limit = load_chip(name, weight_bits=int(bits) if bits else None).weight.format
    rng, inputs = np.random.default_rng(seed), activity(seed, 30, 400)
    weight = rng.normal(0, limit.largest / 3, (20, 30))
    rounded = compensated(weight, spread_of(inputs.T @ inputs), limit)
    assert limit.holds_all(rounded.astype(int))
    assert np.array_equal(rounded, np.rint(rounded))
    error, of_nearest = (np.square(inputs @ (one - weight).T).sum() for one in (rounded, limit.round(weight)))
    assert error < 0.6 * of_nearest


def test_inputs_that_are_not_active_together_are_rounded_to_the_nearest() -> None:
    limit = load_chip("loihi2").weight.format
    weight = np.random.default_rng(0).normal(0, 40, (6, 9))
    for gram in (np.eye(9), np.diag(np.arange(9.0)), np.zeros((9, 9))):
        np.testing.assert_array_equal(compensated(weight, spread_of(gram), limit), limit.round(weight))


def test_two_inputs_that_always_come_together_make_up_for_each_other() -> None:
    """0.4 and 0.4 round to 0 and 0; their sum, 0.8, to 1."""
    limit = load_chip("loihi2").weight.format
    rounded = compensated(np.array([[0.4, 0.4]]), spread_of(np.full((2, 2), 100.0)), limit)
    assert rounded.sum() == 1
