"""What the tests of targets share: small graphs, and whether lava-nc is there."""

import importlib.metadata

import numpy as np
import pytest

from spikegraph.export.graph import Dense, Graph, Input, Output, Population


@pytest.fixture
def lava_nc():
    try:
        importlib.metadata.version("lava-nc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("lava-nc is not installed")


@pytest.fixture
def make_graph():
    """Return a maker of x → a → b, 4-3-2 neurons; arguments replace fields of a, of its projection p, of the graph."""

    def make(population=None, projection=None, **graph):
        rng = np.random.default_rng(5)
        a = {"shape": (3,), "decay_u": 1000, "decay_v": 200, "threshold_mant": 300, "bias_mant": [5, -3, 60]}
        p = {"source": "x", "target": "a", "weight": rng.integers(-120, 120, (3, 4))}
        fields = {
            "inputs": {"x": Input(shape=(4,))},
            "populations": {
                "a": Population(**{**a, **(population or {})}),
                "b": Population(shape=(2,), decay_u=4096, threshold_mant=100, bias_mant=30, bias_exp=2),
            },
            "projections": {
                "p": (projection or {}).pop("kind", Dense)(**{**p, **(projection or {})}),
                "q": Dense(source="a", target="b", weight=rng.integers(-50, 127, (2, 3)), weight_exp=1),
            },
            "outputs": {"o": Output(population="b")},
            "n_steps": 6,
        }
        return Graph(**{**fields, **graph})

    return make


@pytest.fixture
def make_rasters():
    """Return a maker of random rasters for a graph."""

    def make(graph, n_samples=3, seed=0):
        rng = np.random.default_rng(seed)
        return {
            name: rng.integers(0, 2, (graph.n_steps, n_samples, *node.shape))
            if not node.graded
            else rng.integers(node.min_value, node.max_value + 1, (graph.n_steps, n_samples, *node.shape))
            for name, node in graph.inputs.items()
        }

    return make
