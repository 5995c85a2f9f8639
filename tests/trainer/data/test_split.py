"""A part of a data set: its first samples, and its batches."""

from __future__ import annotations

import numpy as np
import pytest

from spikegraph.export.errors import DataError, OptionError
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
