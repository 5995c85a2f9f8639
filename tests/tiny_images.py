"""A data set for scripts that train in processes of their own: 60 images of noise to train on."""

from __future__ import annotations

import numpy as np

from spikegraph.trainer.data import DataSet, Split


def tiny_images(n_test: int) -> DataSet:
    """Return images of 4 x 4 pixels in three classes, `n_test` of them for testing; the same ones every time."""
    rng = np.random.default_rng(0)
    splits = {
        part: Split(name=part, x=rng.random((n, 1, 4, 4), np.float32), label=rng.integers(0, 3, n))
        for part, n in (("train", 60), ("test", n_test))
    }
    return DataSet(name="tiny", n_classes=3, **splits)
