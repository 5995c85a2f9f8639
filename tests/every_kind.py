"""One graph of every kind of node, for targets to show that each counts."""

import numpy as np

from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse, SumPool2d


def everything():
    """Every kind of projection, delays, a loop, a skip, all resets, pauses, limits, parameters of each granularity."""
    rng = np.random.default_rng(11)

    def weight(*shape, most=100):
        return rng.integers(-most, most + 1, shape)

    return Graph(
        inputs={"image": Input(shape=(2, 7, 8), min_value=-3, max_value=9), "lines": Input(shape=(70,))},
        populations={
            "conv": Population(
                shape=(4, 4, 3), decay_u=[900, 4096, 7, 30], decay_v=100, threshold_mant=[40, 30, 20, 50],
                reset="subtract",
            ),
            "pool": Population(
                shape=(4, 2, 2), threshold_mant=rng.integers(1, 9, (4, 2, 2)), bias_mant=[5, -3, 0, 1], bias_exp=2
            ),
            "wide": Population(
                shape=(70,), decay_v=rng.integers(0, 4097, 70), threshold_mant=90, refractory_steps=3, reset="none"
            ),
            "few": Population(shape=(5,), threshold_mant=60, bias_mant=300, bias_exp=[0, 1, 2, 3, 4], max_spikes=2),
        },
        projections={
            "a": Conv2d(
                source="image", target="conv", weight=weight(4, 1, 3, 2), stride=(2, 3), padding=(1, 1), groups=2,
                dilation=(1, 2),
            ),
            "b": SumPool2d(source="conv", target="pool", weight=300, kernel_size=(2, 2), stride=(2, 1)),
            "c": OneToOne(source="lines", target="wide", weight=weight(70, most=20000), weight_exp=-3, delay_steps=2),
            "d": Dense(source="pool", target="wide", weight=weight(70, 16)),
            "e": Sparse(
                source="wide", target="few", indptr=np.arange(71) * 2, indices=rng.integers(0, 5, 140),
                weight=weight(140), weight_exp=-1,
            ),
            "skip": Dense(source="image", target="few", weight=weight(5, 112, most=1000), weight_exp=-7),
            "back": Dense(source="few", target="conv", weight=weight(48, 5), weight_exp=1, delay_steps=3),
            "self": OneToOne(source="pool", target="pool", weight=[-4, 4, 0, 2], delay_steps=1),
        },
        outputs={"o": Output(population="few"), "v": Output(population="pool", variable="v")},
        n_steps=20,
    )  # fmt: skip


def rasters_for(graph, n_samples=3, rate=0.3, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {name: (graph.n_steps, n_samples, *node.shape) for name, node in graph.inputs.items()}
    return {
        name: rng.integers(node.min_value, node.max_value + 1, shapes[name]) * (rng.random(shapes[name]) < rate)
        for name, node in graph.inputs.items()
    }
