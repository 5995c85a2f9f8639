"""Products of activities, against the same along each neuron's own list of synapses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikegraph.export.connectivity import Array
from spikegraph.export.float_graph import FloatConv2d, FloatDense
from spikegraph.hwsim import gram as module
from spikegraph.hwsim.agreement import MEMORY
from spikegraph.hwsim.gram import gram


def expected(p: Any, s: Array, target: tuple[int, ...]) -> Array:
    """What each neuron reads of each place of its weight row, by its list of synapses."""
    source, n_rows = s.shape[2:], p.weight.shape[0]
    per_row = p.weight.size // n_rows
    sources, targets, places = p.synapses(source, target)
    per_group = np.prod(target) // p.groups if p.kind == "Conv2d" else np.prod(target)
    active, total = np.zeros(s.shape[1:]), np.zeros((int(np.prod(target) // per_group), per_row, per_row))
    for moment in s:
        active = active * np.exp(-1 / MEMORY) + moment
        for sample in active:
            reads = np.zeros((int(np.prod(target)), per_row))
            reads[targets, places % per_row] = sample.ravel()[sources]
            for i, row in enumerate(reads):
                total[i // per_group] += np.outer(row, row)
    # Neurons of a channel share a row of weights, and channels of a group read the same.
    return total / (n_rows / len(total))


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({}, (4, 4, 3)),
        ({"stride": 2, "padding": 1}, (4, 3, 3)),
        ({"stride": (1, 2), "padding": (2, 0), "dilation": (2, 1), "groups": 2}, (4, 6, 2)),
    ],
)
def test_of_convolutions(options: Any, target: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    s = (rng.random((5, 2, 2, 6, 5)) < 0.3).astype(np.int8)
    weight = rng.normal(size=(4, 2 // options.get("groups", 1), 3, 3))
    p = FloatConv2d(source="in", target="n", weight=weight, **options)
    np.testing.assert_allclose(gram(p, s), expected(p, s, target), rtol=1e-5)


def test_of_dense_layers() -> None:
    rng = np.random.default_rng(1)
    s = rng.integers(-3, 4, (5, 3, 2, 2, 2))
    p = FloatDense(source="in", target="n", weight=rng.normal(size=(3, 8)))
    (found,) = gram(p, s)
    np.testing.assert_allclose(found, expected(p, s, (3,))[0], rtol=1e-4, atol=1e-5)


def test_of_many_moments_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    s = (np.random.default_rng(2).random((64, 40, 6)) < 0.3).astype(np.int8)
    p = FloatDense(source="in", target="n", weight=np.ones((3, 6)))
    (whole,) = gram(p, s)
    monkeypatch.setattr(module, "_ROWS", 256)
    (part,) = gram(p, s)
    np.testing.assert_allclose(part * 10, whole, rtol=0.15)
