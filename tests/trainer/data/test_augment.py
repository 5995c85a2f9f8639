"""Augmentation: samples are moved, turned and covered; nothing else happens to them, and not twice the same."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from spikegraph.export.errors import DataError
from spikegraph.export.recordings import Recordings
from spikegraph.trainer.data import Augmentation, augmented


def change(x, seed=1, **how):
    return augmented(x, Augmentation(**how), np.random.default_rng(seed))


@pytest.fixture
def images():
    return np.random.default_rng(0).random((200, 2, 4, 5)).astype(np.float32) / 2 + 0.5


@pytest.fixture
def recordings():
    """40 recordings of 50 events, of 2 × 4 × 5 pixels."""
    rng = np.random.default_rng(0)
    made = [(np.sort(rng.integers(0, 1000, 50)), rng.integers(0, 40, 50)) for _ in range(40)]
    return Recordings.joined(made, (2, 4, 5))


def test_nothing_asked_for_draws_nothing(images, recordings):
    random = np.random.default_rng(0)
    for x in (images, recordings):
        assert augmented(x, Augmentation(), random) is x
    assert random.integers(1 << 60) == np.random.default_rng(0).integers(1 << 60)


@pytest.mark.parametrize("how", [{"shift": 1}, {"flip": True}, {"erase": 2}, {"rotate": 20}, {"scale": 0.2}])
def test_the_same_seed_the_same_bits(images, how):
    assert np.array_equal(change(images, **how), change(images, **how))
    assert not np.array_equal(change(images, **how), change(images, seed=2, **how))
    assert change(images, **how).dtype == np.float32


@pytest.mark.parametrize("most", [1, 2])
def test_shift(images, most):
    seen = set()
    for image, moved in zip(images, change(images, shift=most), strict=True):
        padded = np.pad(image, ((0, 0), (most, most), (most, most)))
        places = [
            (dy, dx)
            for dy in range(2 * most + 1)
            for dx in range(2 * most + 1)
            if np.array_equal(padded[:, dy : dy + 4, dx : dx + 5], moved)
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == (2 * most + 1) ** 2  # every shift there is


def test_flip(images):
    flipped = change(images, flip=True)
    mirrored = (flipped == images[..., ::-1]).all(axis=(1, 2, 3))
    assert (mirrored != (flipped == images).all(axis=(1, 2, 3))).all()
    assert 70 < mirrored.sum() < 130  # of 200


def test_erase(images):
    """A square of 2 × 2 with its middle anywhere inside: 4 pixels, or 2 or 1 at the edges above and left."""
    erased = change(images, erase=2)
    gone = erased == 0
    assert np.array_equal(erased[~gone], images[~gone])
    assert (gone[:, 0] == gone[:, 1]).all()
    n_gone = gone[:, 0].sum(axis=(1, 2))
    assert set(n_gone) == {1, 2, 4}
    rows, columns = gone[:, 0].any(axis=2).sum(axis=1), gone[:, 0].any(axis=1).sum(axis=1)
    assert (rows * columns == n_gone).all()  # a rectangle


def test_turn_and_scale_as_scipy_does():
    x = np.random.default_rng(0).random((20, 2, 9, 8)).astype(np.float32)
    random = np.random.default_rng(1)
    angles, sizes = np.deg2rad(random.uniform(-30, 30, 20)), random.uniform(0.8, 1.2, 20)
    for image, got, angle, size in zip(x, change(x, rotate=30, scale=0.2), angles, sizes, strict=True):
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / size
        middle = np.array([4, 3.5])
        offset = middle - matrix @ middle
        for channel in range(2):
            padded = ndimage.affine_transform(
                np.pad(image[channel], 4), matrix, offset + 4, (9, 8), order=1, mode="constant"
            )
            np.testing.assert_allclose(got[channel], padded, atol=1e-5)


def test_turned_pixels_stay_in_range():
    x = np.ones((50, 1, 28, 28), np.float32)
    turned = change(x, rotate=180, scale=0.5)
    assert (turned.min(), turned.max()) == (0, 1)


def test_recordings_are_shifted(recordings):
    shifted = change(recordings, shift=1)
    assert len(shifted) == 40
    for before, after in ((recordings[np.array([k])], shifted[np.array([k])]) for k in range(40)):
        raster, moved = before.raster(1, step_us=1000, max_value=99)[0, 0], after.raster(1, 1000, 99)[0, 0]
        padded = np.pad(raster, ((0, 0), (1, 1), (1, 1)))
        assert any(np.array_equal(padded[:, dy : dy + 4, dx : dx + 5], moved) for dy in range(3) for dx in range(3))


def test_recordings_are_mirrored(recordings):
    raster = recordings.raster(1, 1000, 99)[0]
    flipped = change(recordings, flip=True).raster(1, 1000, 99)[0]
    mirrored = (flipped == raster[..., ::-1]).all(axis=(1, 2, 3))
    assert (mirrored | (flipped == raster).all(axis=(1, 2, 3))).all()
    assert 8 < mirrored.sum() < 32  # of 40


def test_events_are_dropped(recordings):
    dropped = change(recordings, drop=0.5)
    left = np.diff(dropped.offsets)
    assert 0 < left.min() < left.max() <= 50
    assert 0.6 < left.sum() / 2000 < 0.9  # a quarter on average
    raster, before = dropped.raster(10, 100, 99), recordings.raster(10, 100, 99)
    assert (raster.sum(axis=(0, 2, 3, 4)) <= before.sum(axis=(0, 2, 3, 4))).all()


def test_what_does_not_fit(images, recordings):
    with pytest.raises(DataError, match=r"drop = 0\.2 is not for pixels; leave out drop"):
        change(images, drop=0.2)
    for name in ("rotate", "scale", "erase"):
        with pytest.raises(DataError, match=rf"{name} = \S+ is not for recordings"):
            change(recordings, **{name: 0.5 if name == "scale" else 1})
    with pytest.raises(DataError, match=r"samples of shape \(6,\) have no height and width"):
        change(np.zeros((3, 6), np.float32), shift=1)
    for name, size in (("shift", 6), ("erase", 64)):
        with pytest.raises(DataError, match=rf"{name} = {size} can leave nothing of pictures of 5 x 6"):
            change(np.zeros((2, 1, 5, 6), np.float32), **{name: size})
    with pytest.raises(DataError, match="have no height and width"):
        change(recordings.reshape(40, 40), flip=True)
