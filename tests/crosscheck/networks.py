"""The networks of the cross-check: random weights, several cores on several tiles, no bias."""

from __future__ import annotations

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, Output, Population


def dense() -> tuple[Graph, dict[str, Array]]:
    """784-512-10: the hidden layer fills four cores."""
    random = np.random.default_rng(0)
    neurons = {"decay_u": 4096, "decay_v": 742, "threshold_mant": 900}
    graph = Graph(
        inputs={"input": Input(shape=(784,))},
        populations={"hidden": Population(shape=(512,), **neurons), "output": Population(shape=(10,), **neurons)},
        projections={
            "in": Dense(source="input", target="hidden", weight=random.integers(-60, 64, (512, 784)) * 2),
            "out": Dense(source="hidden", target="output", weight=random.integers(-60, 64, (10, 512)) * 2),
        },
        outputs={"output": Output(population="output")},
        n_steps=16,
    )
    return graph, {"input": (random.random((16, 2, 784)) < 0.03).astype(np.uint8)}


def convolutional() -> tuple[Graph, dict[str, Array]]:
    """2×24×24 → conv 16c3p1 → conv 16c3p1, stride 2 → dense 10; a refractory period in the middle."""
    random = np.random.default_rng(1)
    graph = Graph(
        inputs={"input": Input(shape=(2, 24, 24))},
        populations={
            "first": Population(shape=(16, 24, 24), decay_u=4096, decay_v=256, threshold_mant=100),
            "second": Population(shape=(16, 12, 12), decay_u=4096, decay_v=100, threshold_mant=250, refractory_steps=2),
            "output": Population(shape=(10,), decay_u=4096, decay_v=0, threshold_mant=200),
        },
        projections={
            "a": Conv2d(source="input", target="first", weight=random.integers(-30, 32, (16, 2, 3, 3)) * 2, padding=1),
            "b": Conv2d(
                source="first",
                target="second",
                weight=random.integers(-30, 32, (16, 16, 3, 3)) * 2,
                padding=1,
                stride=2,
            ),
            "c": Dense(source="second", target="output", weight=random.integers(-30, 32, (10, 2304)) * 2),
        },
        outputs={"output": Output(population="output")},
        n_steps=20,
    )
    return graph, {"input": (random.random((20, 2, 2, 24, 24)) < 0.04).astype(np.uint8)}
