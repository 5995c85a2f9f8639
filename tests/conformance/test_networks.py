"""Trained networks of which nothing was recorded: every place computes what the reference computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conformance.fetch import lava_dl, sinabs
from conformance.places import places

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.chips import load_chip
from spikegraph.export.connectivity import Array
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import read
from spikegraph.export.graph import Graph
from spikegraph.export.quantize import quantize
from spikegraph.targets.places import reference
from spikegraph.targets.verify import verify

pytestmark = pytest.mark.conformance


def mnist() -> tuple[Graph, dict[str, Array]]:
    """784-512-512-10, the last layer without neurons; images made of noise, dim and bright, as its coding has them."""
    graph, _ = read(lava_dl("mnist.net"))
    assert isinstance(graph, Graph)
    assert graph.coding is not None
    images = np.random.default_rng(0).random((4, 784)) * np.array([[0.0], [0.2], [0.6], [1.0]])
    integers = np.rint(images * graph.coding.max_value).astype(np.int16)
    return graph, {"input": np.broadcast_to(integers, (graph.n_steps, *integers.shape))}


def nmnist() -> tuple[Graph, dict[str, Array]]:
    """Recordings of digits, 2x34x34, trained in Sinabs; on Loihi 2's integers, with events at random in their place."""
    floats, _ = read(sinabs("docs/tutorials/scnn_mnist.nir"), Assumptions(convention="sinabs", dt=0.001, n_steps=20))
    assert isinstance(floats, FloatGraph)
    graph, _ = quantize(floats, load_chip("loihi2"))
    events = np.random.default_rng(0).random((graph.n_steps, 2, 2, 34, 34)) < 0.15
    return graph, {"input": events.astype(np.int16)}


NETWORKS = {"mnist": mnist, "nmnist": nmnist}


@pytest.mark.parametrize("place", places())
@pytest.mark.parametrize("name", NETWORKS)
def test_as_in_the_reference(name: str, place: str, tell: Callable[[str], None]) -> None:
    graph, rasters = NETWORKS[name]()
    spikes = reference(graph, rasters)
    silent = [p for p, of in spikes.items() if not of["s"].any() and p != graph.outputs["out"].population]
    assert not silent, "a network that is silent shows little"
    verification = verify(graph, rasters, {place: places()[place]})
    tell(f"{name}: {verification}")
    assert verification.identical, str(verification)
