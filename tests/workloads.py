"""The networks that benchmarks run: workloads A, B and C, with random weights and input that give the rates named."""

from __future__ import annotations

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse


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


def workload_c(scale: float = 1.0, rate: float = 0.01, n_steps: int = 10) -> tuple[Graph, dict[str, Array]]:
    """1,000,000 neurons, 100,000,000 recurrent synapses, both times `scale`, of which `rate` fire in a step.

    Each input line drives one neuron far over its threshold, so that the neurons fire at the rate of the input. Their
    synapses, 50 to 150 each onto random targets and as often positive as negative, change v, but seldom who fires. Ten
    neurons that read a thousand of them are the output: what is tapped is traced.
    """
    random = np.random.default_rng(0)
    n = round(1_000_000 * scale) // 2 * 2
    fan_out = random.integers(50, 151, n // 2)
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([fan_out, 200 - fan_out]))])
    indices = random.integers(0, n, 100 * n, np.int32)
    weight = random.integers(-63, 64, 100 * n, np.int8)
    for array in (indptr, indices, weight):
        array.flags.writeable = False  # so the graph shares them
    graph = Graph(
        inputs={"input": Input(shape=(n,))},
        populations={
            "neurons": Population(shape=(n,), decay_v=1024, threshold_mant=4000),
            "output": Population(shape=(10,), threshold_mant=100),
        },
        projections={
            "drive": OneToOne(source="input", target="neurons", weight=8000),
            "recurrent": Sparse(
                source="neurons", target="neurons", delay_steps=1, indptr=indptr, indices=indices, weight=weight
            ),
            "watch": Sparse(
                source="neurons",
                target="output",
                indptr=np.minimum(np.arange(n + 1), 1000),
                indices=np.arange(1000) % 10,
                weight=np.full(1000, 64),
            ),
        },
        outputs={"output": Output(population="output")},
        n_steps=n_steps,
    )
    return graph, {"input": raster(n, rate, n_steps)}


def raster(n: int, rate: float, n_steps: int) -> Array:
    """Spikes of one sample on n lines, made step by step: the random numbers take four times the room of the raster."""
    random, spikes = np.random.default_rng(1), np.empty((n_steps, 1, n), np.uint8)
    for step in range(n_steps):
        spikes[step, 0] = random.random(n, np.float32) < rate
    return spikes
