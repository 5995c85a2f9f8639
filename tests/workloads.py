"""The networks that benchmarks run: workloads A and B, with random weights and input that give the rates named."""

from __future__ import annotations

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, Output, Population


def workload_a(n_samples: int = 64, rate: float = 0.05, decay_u: int = 4096) -> tuple[Graph, dict[str, Array]]:
    """784-512-10, T = 32; at an input rate of 0.05 the hidden rate is about 0.08."""
    random = np.random.default_rng(0)
    weights = {"hidden": random.integers(-60, 64, (512, 784)) * 2, "output": random.integers(-60, 64, (10, 512)) * 2}
    neurons = {"decay_u": decay_u, "decay_v": 256, "threshold_mant": 1200 * 4096 // decay_u}
    graph = Graph(
        inputs={"input": Input(shape=(784,))},
        populations={
            "hidden": Population(shape=(512,), **neurons),
            "output": Population(shape=(10,), **neurons),
        },
        projections={
            "in": Dense(source="input", target="hidden", weight=weights["hidden"]),
            "out": Dense(source="hidden", target="output", weight=weights["output"]),
        },
        outputs={"output": Output(population="output")},
        n_steps=32,
    )
    return graph, {"input": (random.random((32, n_samples, 784)) < rate).astype(np.uint8)}


def workload_b(n_samples: int = 64, rate: float = 0.02, decay_u: int = 4096) -> tuple[Graph, dict[str, Array]]:
    """2×34×34 → conv 16c5p2 → sum pool 2 → conv 32c3p1 → sum pool 2 → dense 10, T = 30: rates 2 / 4 / 5.5 / 25 %.

    Pooling has no neurons of its own here, so it is folded into the weights behind it, exactly: a kernel of 3 behind a
    pool of 2 is a kernel of 6 with stride 2.
    """
    random = np.random.default_rng(0)

    def weights(*shape: int) -> Array:
        return random.integers(-60, 64, shape) * 2

    def neurons(shape: tuple[int, ...], threshold_mant: int) -> Population:
        return Population(shape=shape, decay_u=decay_u, decay_v=256, threshold_mant=threshold_mant * 4096 // decay_u)

    readout = np.zeros((10, 32, 17, 17), np.int64)
    readout[:, :, :16, :16] = weights(10, 32, 8, 8).repeat(2, axis=2).repeat(2, axis=3)
    second = weights(32, 16, 3, 3).repeat(2, axis=2).repeat(2, axis=3)
    graph = Graph(
        inputs={"input": Input(shape=(2, 34, 34))},
        populations={
            "first": neurons((16, 34, 34), 190),
            "second": neurons((32, 17, 17), 1250),
            "output": neurons((10,), 3000),
        },
        projections={
            "a": Conv2d(source="input", target="first", weight=weights(16, 2, 5, 5), padding=2),
            "b": Conv2d(source="first", target="second", weight=second, padding=2, stride=2),
            "c": Dense(source="second", target="output", weight=readout.reshape(10, -1)),
        },
        outputs={"output": Output(population="output")},
        n_steps=30,
    )
    return graph, {"input": (random.random((30, n_samples, 2, 34, 34)) < rate).astype(np.uint8)}
