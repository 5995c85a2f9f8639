"""Event lists: the same spikes as a raster, checked once, where they are made."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikegraph.export.coding import CODINGS, InputCoding
from spikegraph.export.errors import DataError
from spikegraph.export.events import Events

rasters = st.tuples(st.integers(1, 5), st.integers(0, 3), st.sampled_from([(1,), (5,), (2, 3, 1)])).flatmap(
    lambda size: hnp.arrays(np.int16, (size[0], size[1], *size[2]), elements=st.integers(-2, 2), fill=st.just(0))
)


@given(raster=rasters)
def test_rasters_survive(raster: np.ndarray) -> None:
    events = Events.from_raster(raster)
    assert (events.n_steps, events.n_samples, events.shape) == (len(raster), raster.shape[1], raster.shape[2:])
    assert len(events.index) == np.count_nonzero(raster)
    assert np.array_equal(events.to_raster(), raster)
    assert events.to_raster().dtype == np.int32


@given(raster=rasters, seed=st.integers(0, 99))
def test_events_in_any_order_are_sorted(raster: np.ndarray, seed: int) -> None:
    flat = raster.reshape(*raster.shape[:2], int(np.prod(raster.shape[2:])))
    step, sample, index = np.nonzero(flat)
    value = flat[step, sample, index]
    order = np.random.default_rng(seed).permutation(len(step))
    got = Events.of(
        step=step[order],
        sample=sample[order],
        index=index[order],
        value=value[order],
        n_steps=len(raster),
        n_samples=raster.shape[1],
        shape=raster.shape[2:],
    )
    assert np.array_equal(got.to_raster(), raster)


def test_by_hand() -> None:
    raster = np.zeros((2, 2, 3), np.int8)
    raster[0, 0, [0, 2]] = 1
    raster[1, 1, 1] = 1
    events = Events.from_raster(raster)
    # sample 0: step 0 has neurons 0 and 2, step 1 none; sample 1: step 0 none, step 1 neuron 1
    assert events.offsets.tolist() == [0, 2, 2, 2, 3]
    assert events.index.tolist() == [0, 2, 1]
    assert events.value is None
    assert events.value_range == (1, 1)
    graded = Events.from_raster(raster * np.array([1, -3, 7], np.int8))
    assert graded.value is not None
    assert graded.value.tolist() == [1, 7, -3]
    assert graded.value_range == (-3, 7)


def test_it_is_its_own_and_does_not_change() -> None:
    index = np.array([0, 1], np.int32)
    events = Events(shape=(2,), n_steps=1, offsets=np.array([0, 2]), index=index)
    index[0] = 9
    assert events.index.tolist() == [0, 1]
    assert (events.offsets.dtype, events.index.dtype) == (np.int64, np.int32)
    with pytest.raises(ValueError, match="read-only"):
        events.index[0] = 9


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"index": [0, 3, 1]}, r"indices 0…3, expected 0…2"),
        ({"index": [-1, 2, 1]}, r"indices -1…2"),
        ({"index": [2, 0, 1]}, r"do not rise within a step \(event 1\)"),
        ({"index": [1, 1, 1]}, r"do not rise within a step"),
        ({"index": [0, 2**40, 1]}, "beyond int32"),
        ({"index": [0.0, 2.0, 1.0]}, "index of float64"),
        ({"index": [[0, 2, 1]]}, "in one row"),
        ({"offsets": [0, 2, 2, 2]}, "have 4 offsets"),
        ({"offsets": []}, "of float64|have 0 offsets"),
        ({"offsets": [1, 2, 2, 2, 3]}, "do not rise from 0 to their number, 3"),
        ({"offsets": [0, 2, 1, 2, 3]}, "do not rise"),
        ({"offsets": [0, 2, 2, 2, 4]}, "do not rise"),
        ({"n_steps": 0}, "have 5 offsets"),
        ({"n_steps": 3}, "have 5 offsets"),
        ({"value": [1, 0, 1]}, "a value that is 0"),
        ({"value": [1, 1]}, "not one value each"),
    ],
)
def test_what_is_refused(changes: dict, match: str) -> None:
    good = {"shape": (3,), "n_steps": 2, "offsets": [0, 2, 2, 2, 3], "index": [0, 2, 1]}
    assert Events(**{**good, "offsets": np.array(good["offsets"]), "index": np.array(good["index"])})
    with pytest.raises(DataError, match=match):
        Events(**{**good, **changes})


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"step": [0, 2]}, "have steps 0…2, expected 0…1"),
        ({"sample": [0, -1]}, "have samples -1…0, expected 0…2"),
        ({"step": [0]}, "1 steps and 2 indices"),
        ({"step": [0, 0], "sample": [0, 0], "index": [1, 1]}, "do not rise"),
    ],
)
def test_what_cannot_be_sorted_in(changes: dict, match: str) -> None:
    good = {"step": [0, 1], "sample": [0, 2], "index": [1, 1], "n_steps": 2, "n_samples": 3, "shape": (3,)}
    assert Events.of(**good).n_samples == 3
    with pytest.raises(DataError, match=match):
        Events.of(**{**good, **changes})


@given(
    x=hnp.arrays(np.float32, (3, 2, 2, 1), elements=st.floats(0, 1, width=32)),
    n_steps=st.sampled_from([1, 2, 7, 64, 70_000]),
    kind=st.sampled_from([kind for kind in CODINGS if kind != "events"]),  # of pixels
)
def test_a_code_makes_the_same_spikes_either_way(x: np.ndarray, n_steps: int, kind: str) -> None:
    coding, index = InputCoding(kind=kind, seed=5), np.arange(3)  # type: ignore[arg-type]
    raster, spikes = coding.encode(x, index, n_steps), coding.spikes(x, index, n_steps)
    assert isinstance(spikes, Events) == (kind == "first_spike")
    assert np.array_equal(spikes.to_raster() if isinstance(spikes, Events) else spikes, raster)
