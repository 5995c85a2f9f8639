"""Recordings: which step an event falls into, how many a spike stands for, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegraph.export.coding import InputCoding
from spikegraph.export.errors import DataError, OptionError
from spikegraph.export.recordings import Recordings

SHAPE = (2, 3, 4)


def recordings_of(*samples, shape=SHAPE):
    """Make recordings of lists of (t, index)."""
    return Recordings.joined(
        [(np.array([t for t, _ in events], int), np.array([i for _, i in events], int)) for events in samples], shape
    )


def naive_raster(samples, n_steps, step_us, max_value, size):
    raster = np.zeros((n_steps, len(samples), size), int)
    for b, events in enumerate(samples):
        times = [t for t, _ in events]
        for t, index in events:
            since, length = t - min(times), max(times) - min(times) + 1
            step = since // step_us if step_us else since * n_steps // length
            if step < n_steps:
                raster[step, b, index] = min(raster[step, b, index] + 1, max_value)
    return raster


def test_equal_steps_over_each_recording():
    """Times 10…29 are 20 µs, so 4 steps of 5 µs; the second recording, 0…3, has steps of 1 µs."""
    x = recordings_of([(10, 0), (14, 0), (15, 1), (29, 23)], [(0, 5), (3, 5), (3, 5)])
    raster = x.raster(4)
    assert (raster.shape, raster.dtype) == ((4, 2, 2, 3, 4), np.uint8)
    assert np.argwhere(raster.reshape(4, 2, 24)).tolist() == [[0, 0, 0], [0, 1, 5], [1, 0, 1], [3, 0, 23], [3, 1, 5]]
    counts = x.raster(4, max_value=9).reshape(4, 2, 24)
    assert counts.dtype == np.int16
    assert (counts[0, 0, 0], counts[3, 1, 5], counts.sum()) == (2, 2, 7)


def test_steps_of_a_fixed_length():
    """Steps of 8 µs from the first event, at 10: 17 is in step 0, 18 in step 1, 26 after the two steps."""
    x = recordings_of([(10, 0), (17, 1), (18, 2), (26, 3)])
    assert x.steps(2, 8).tolist() == [0, 0, 1, 2]
    assert np.argwhere(x.raster(2, 8).reshape(2, 24)).tolist() == [[0, 0], [0, 1], [1, 2]]


def test_no_events():
    empty = recordings_of([], [(5, 3)], [])
    assert (len(empty), empty.shape) == (3, (3, *SHAPE))
    assert empty.raster(4).sum() == 1
    assert empty.events(4).n_samples == 3
    assert recordings_of([], []).raster(2).sum() == 0
    assert recordings_of().shape == (0, *SHAPE)


samples = st.lists(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 23)), max_size=30), min_size=1, max_size=5)


@given(samples, st.integers(1, 12), st.sampled_from([0, 1, 17]), st.integers(1, 3))
def test_raster_and_events_against_a_plain_loop(samples, n_steps, step_us, max_value):
    x = recordings_of(*samples)
    expected = naive_raster(samples, n_steps, step_us, max_value, 24)
    for flat in (x.raster(n_steps, step_us, max_value), x.events(n_steps, step_us, max_value).to_raster()):
        assert np.array_equal(flat.reshape(expected.shape), expected)


@given(samples, st.data())
def test_chosen_samples(samples, data):
    chosen = data.draw(st.lists(st.integers(0, len(samples) - 1), max_size=6))
    x = recordings_of(*samples)
    picked = x[np.array(chosen, int)]
    expected = recordings_of(*[samples[k] for k in chosen])
    for name in ("offsets", "t", "index"):
        assert np.array_equal(getattr(picked, name), getattr(expected, name))
    assert np.array_equal(x[1:].raster(3), recordings_of(*samples[1:]).raster(3))


def test_reshape():
    x = recordings_of([(0, 23)], [(1, 2)])
    assert x.reshape(2, 24).shape == x.reshape(2, -1).shape == (2, 24)
    assert np.array_equal(x.reshape(2, 4, 3, 2).raster(2), x.raster(2).reshape(2, 2, 4, 3, 2))
    for shape in ((2, 25), (3, 24), (2, 5, -1)):
        with pytest.raises(DataError, match="is not the size"):
            x.reshape(*shape)


def test_downscaled():
    """Pixels (0, 0) and (1, 1) join; of 3 × 4 pixels 2 × 2 are left, the lower ones of half a square."""
    x = recordings_of([(0, 0), (0, 5), (0, 11), (0, 12 + 3)])
    small = x.downscaled(2)
    assert small.shape == (1, 2, 2, 2)
    assert small.raster(1, max_value=9)[0, 0].tolist() == [[[2, 0], [0, 1]], [[0, 1], [0, 0]]]
    assert x.downscaled(1) is x


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"t": np.array([3, 2, 9])}, r"have a time that falls \(event 1\)"),
        ({"t": np.array([-1, 2, 9])}, r"have t -1…9"),
        ({"t": np.array([0, 2, 1 << 31])}, r"have t 0…2147483648, expected 0…2147483647"),
        ({"index": np.array([0, 24, 1])}, r"have index 0…24, expected 0…23"),
        ({"offsets": np.array([0, 2])}, r"3 indices, 3 times and offsets 0…2"),
        ({"offsets": np.array([0, 3, 2, 3])}, r"3 indices"),
        ({"t": np.array([1, 2])}, r"3 indices, 2 times"),
    ],
)
def test_what_is_refused(change, says):
    fields = {"offsets": np.array([0, 3]), "t": np.array([1, 2, 9]), "index": np.array([0, 23, 1])} | change
    with pytest.raises(DataError, match=says):
        Recordings(sample_shape=SHAPE, **fields)


def test_time_may_fall_between_recordings():
    x = recordings_of([(7, 0), (8, 1)], [(0, 2)])
    assert x.t.tolist() == [7, 8, 0]


def test_the_coding_of_events():
    x = recordings_of([(0, 0), (1, 0), (9, 3)])
    coding = InputCoding(kind="events", max_value=2, step_us=5)
    assert np.array_equal(coding.encode(x, np.arange(1), 2), x.raster(2, 5, 2))
    assert np.array_equal(coding.spikes(x, np.arange(1), 2).to_raster(), x.raster(2, 5, 2))
    assert (coding.largest, InputCoding(kind="rate", max_value=5).largest) == (2, 1)
    with pytest.raises(OptionError, match="is of pixels, but the coding is events, of recordings"):
        coding.encode(np.zeros((1, *SHAPE), np.float32), np.arange(1), 2)
    for kind in ("rate", "direct", "first_spike"):
        for encode in (InputCoding(kind=kind).encode, InputCoding(kind=kind).spikes):
            with pytest.raises(OptionError, match=f"is of recordings, but the coding is {kind}, of pixels"):
                encode(x, np.arange(1), 2)
