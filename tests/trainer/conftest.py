"""What the tests of the trainer share: a data set of a few samples, and a recipe that trains on it in a blink."""

import copy

import numpy as np
import pytest

from spikegraph.trainer.data import DataSet, Split
from spikegraph.trainer.recipe import Recipe

RECIPE = {
    "name": "tiny",
    "data": {"set": "tiny", "validation": 0.2},
    "coding": {"kind": "rate", "n_steps": 5},
    "network": {"layers": "8", "tau_mem": 5e-3, "v_threshold": 0.5},
    "quantization": {"chip": "loihi1"},
    "training": {"epochs": 4, "batch_size": 16, "learning_rate": 1e-2, "seed": 3},
}


def tiny_split(name, n, seed, n_classes=3):
    """Images of 4 x 4 pixels with a bright row for each class."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_classes, n)
    x = rng.random((n, 1, 4, 4)) * 0.3
    x[np.arange(n), 0, label] += 0.6
    return Split(name=name, x=x.astype(np.float32), label=label)


@pytest.fixture
def tiny():
    return DataSet(name="tiny", n_classes=3, train=tiny_split("tiny:train", 60, 0), test=tiny_split("tiny:test", 30, 1))


@pytest.fixture
def make_recipe():
    """Return a maker of recipes; arguments such as training={"epochs": 1} replace values of a section."""

    def make(**sections):
        raw = copy.deepcopy(RECIPE)
        for section, values in sections.items():
            raw[section] |= values
        return Recipe.model_validate(raw)

    return make
