"""Noise: as much as was asked for, the same for the same seed and sample, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest

from spikegraph.export.coding import InputCoding
from spikegraph.export.errors import DataError, OptionError
from spikegraph.export.recordings import Recordings
from spikegraph.trainer.data import Noise, parse_noise

X = np.random.default_rng(0).random((40, 1, 20, 20)).astype(np.float32) * 0.8 + 0.1
INDEX = np.arange(40) + 7
RASTER = (np.random.default_rng(1).random((6, 40, 400)) < 0.3).astype(np.uint8)


def apply(noise, x, index):
    return noise.on_raster(x, index) if noise.of_spikes else noise.on_samples(x, index)


CASES = [("salt", X, 0), ("gaussian", X, 0), ("delete", RASTER, 1), ("insert", RASTER, 1)]


@pytest.mark.parametrize(("kind", "x", "axis"), CASES)
def test_a_samples_noise_depends_on_nothing_else(kind, x, axis):
    noise = Noise(kind=kind, amount=0.3, seed=5)
    whole, before = apply(noise, x, INDEX), x.copy()
    some = np.array([30, 2, 11])
    assert np.array_equal(apply(noise, x.take(some, axis), INDEX[some]), whole.take(some, axis))
    assert np.array_equal(x, before)  # the input is left alone
    assert (whole.dtype, whole.shape) == (x.dtype, x.shape)
    assert not np.array_equal(apply(Noise(kind=kind, amount=0.3, seed=6), x, INDEX), whole)
    two = apply(noise, x.take([0, 0], axis), INDEX[:2])
    assert not np.array_equal(two.take(0, axis), two.take(1, axis))


@pytest.mark.parametrize(("kind", "x", "axis"), CASES)
def test_none_is_none_and_the_other_stage_is_left_alone(kind, x, axis):
    assert np.array_equal(apply(Noise(kind=kind, amount=0), x, INDEX), x)
    noise = Noise(kind=kind, amount=1)
    assert (noise.on_samples if noise.of_spikes else noise.on_raster)(x, INDEX) is x


def test_salt_and_pepper():
    noisy = Noise(kind="salt", amount=0.2).on_samples(X, INDEX)
    struck = noisy != X
    assert abs(struck.mean() - 0.2) < 0.01  # of 16,000 pixels: a standard deviation is 0.003
    assert set(np.unique(noisy[struck])) == {0, 1}
    assert abs(noisy[struck].mean() - 0.5) < 0.03
    assert set(np.unique(Noise(kind="salt", amount=1).on_samples(X, INDEX))) == {0, 1}


def test_gaussian():
    middle = np.full_like(X, 0.5)
    noisy = Noise(kind="gaussian", amount=0.1).on_samples(middle, INDEX)
    assert abs(noisy.mean() - 0.5) < 0.003
    assert abs(noisy.std() - 0.1) < 0.002
    strong = Noise(kind="gaussian", amount=1).on_samples(middle, INDEX)
    assert (strong.min(), strong.max()) == (0, 1)
    assert abs((strong == 0).mean() - 0.3085) < 0.02  # Φ(-0.5)


def test_delete_and_insert():
    deleted = Noise(kind="delete", amount=0.25).on_raster(RASTER, INDEX)
    assert (deleted <= RASTER).all()
    assert abs(deleted.sum() / RASTER.sum() - 0.75) < 0.01
    assert not Noise(kind="delete", amount=1).on_raster(RASTER, INDEX).any()
    graded = RASTER.astype(np.int16) * 7
    inserted = Noise(kind="insert", amount=0.25).on_raster(graded, INDEX)
    assert np.array_equal(inserted[graded > 0], graded[graded > 0])
    assert abs(inserted[graded == 0].mean() - 0.25) < 0.01
    assert Noise(kind="insert", amount=1).on_raster(RASTER, INDEX).all()


def test_noise_is_not_that_of_the_rate_code():
    """With the same seed and index, the places that noise strikes say nothing about where the code spikes."""
    x = np.full((1, 4000), 0.5, np.float32)
    spikes = InputCoding(kind="rate", seed=3).encode(x, np.array([9]), 1)
    left = Noise(kind="delete", amount=0.5, seed=3).on_raster(spikes, np.array([9]))
    assert abs(left.sum() / spikes.sum() - 0.5) < 0.05


def test_pixels_of_recordings():
    x = Recordings.joined([(np.array([1]), np.array([2]))], (1, 2, 2))
    with pytest.raises(DataError, match="salt is for pixels, not for recordings; use delete or insert"):
        Noise(kind="salt", amount=0.1).on_samples(x, np.arange(1))
    assert Noise(kind="insert", amount=0.1).on_samples(x, np.arange(1)) is x


def test_parse():
    assert parse_noise("salt:0.1", 4) == Noise(kind="salt", amount=0.1, seed=4)
    assert str(parse_noise("delete:0.25")) == "delete:0.25"
    for text, says in (
        ("salt", "'salt' is no KIND:AMOUNT; write it as salt:0.1"),
        ("salt:much", "is no KIND:AMOUNT"),
        ("sugar:0.1", "'sugar' is not known; choose one of salt, gaussian, delete, insert"),
        ("salt:1.5", "salt:1.5 is outside 0…1"),
        ("salt:nan", "salt:nan is outside 0…1"),
    ):
        with pytest.raises(OptionError, match=says):
            parse_noise(text)
