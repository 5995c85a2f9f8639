"""A part of a data set: its first samples, and its batches."""

from __future__ import annotations

import numpy as np
import pytest

from spikegraph.export.errors import DataError, OptionError
from spikegraph.export.recordings import Recordings
from spikegraph.trainer.data import Split


@pytest.fixture
def ten():
    x = np.arange(10 * 6, dtype=np.float32).reshape(10, 1, 2, 3)
    return Split(name="ten:test", x=x, label=np.arange(10))


def test_first(ten):
    assert (len(ten.first(1)), len(ten.first(10)), ten.first(3).name) == (1, 10, "ten:test")
    assert ten.first(3).label.tolist() == [0, 1, 2]
    for n in (0, -1, 11):
        with pytest.raises(OptionError, match=f"--samples: {n} of ten:test, which has 10; choose 1…10"):
            ten.first(n)


def test_batches_cover_each_sample_once(ten):
    parts = list(ten.batches((6,), 4))
    assert [x.shape for x, _, _ in parts] == [(4, 6), (4, 6), (2, 6)]
    assert np.concatenate([index for _, _, index in parts]).tolist() == list(range(10))
    assert np.concatenate([label for _, label, _ in parts]).tolist() == list(range(10))
    assert np.array_equal(np.concatenate([x for x, _, _ in parts]).reshape(ten.x.shape), ten.x)
    assert next(ten.batches((1, 3, 2), 10))[0].shape == (10, 1, 3, 2)


def test_batches_that_do_not_fit(ten):
    with pytest.raises(DataError, match=r"samples have \(1, 2, 3\) = 6 values, the graph reads \(7,\)"):
        next(ten.batches((7,), 4))


def test_bytes_become_floats_when_they_are_used():
    stored = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    split = Split(name="bytes:test", x=stored, label=np.arange(4))
    x = split.samples(np.array([3, 0]))
    assert x.dtype == np.float32
    assert np.array_equal(x, stored[[3, 0]] / np.float32(255))
    assert np.array_equal(next(split.batches((64,), 2))[0], (stored / np.float32(255)).reshape(4, 64)[:2])


@pytest.fixture
def camera():
    """Six recordings of 40 events, 2 × 6 × 7 pixels."""
    rng = np.random.default_rng(0)
    made = [(np.sort(rng.integers(0, 1000, 40)), rng.integers(0, 84, 40)) for _ in range(6)]
    return Split(name="camera:test", x=Recordings.joined(made, (2, 6, 7)), label=np.arange(6))


def test_recordings_come_in_the_same_batches(camera):
    assert (len(camera), camera.sample_shape, len(camera.first(2))) == (6, (2, 6, 7), 2)
    parts = list(camera.batches((2, 6, 7), 4))
    assert [x.shape for x, _, _ in parts] == [(4, 2, 6, 7), (2, 2, 6, 7)]
    assert [index.tolist() for _, _, index in parts] == [[0, 1, 2, 3], [4, 5]]
    rasters = np.concatenate([x.raster(5) for x, _, _ in parts], axis=1)
    assert np.array_equal(rasters, camera.samples(np.arange(6)).raster(5))


@pytest.mark.parametrize(("shape", "factor"), [((84,), 1), ((2, 3, 4), 2), ((24,), 2), ((2, 2, 3), 3), ((2,), 7)])
def test_recordings_are_downscaled_to_what_the_graph_reads(camera, shape, factor):
    (x, _, _), small = next(camera.batches(shape, 6)), camera.downscaled(factor)
    assert x.shape == (6, *shape)
    assert np.array_equal(x.raster(3).ravel(), small.samples(np.arange(6)).raster(3).ravel())


def test_recordings_that_do_not_fit(camera, ten):
    with pytest.raises(DataError, match=r"samples have \(2, 6, 7\) = 84 values, the graph reads \(5,\)"):
        next(camera.batches((5,), 2))
    with pytest.raises(OptionError, match="downscale: 2, but ten:test has no recordings of an event camera"):
        ten.downscaled(2)
    assert ten.downscaled(1) is ten


def test_content_is_that_of_the_samples(camera, ten):
    for split in (camera, ten):
        same, other = split.first(len(split)), split.first(3)
        assert all(np.array_equal(a, b) for a, b in zip(split.content, same.content, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(split.content, other.content, strict=True))
