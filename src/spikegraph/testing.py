"""For tests of one's own: assert that two executions of a graph are the same, every spike and state.

from spikegraph.testing import assert_equivalent, random_inputs

def test_net():
assert_equivalent("net.h5", "native", random_inputs("net.h5", n_samples=20))
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.container import container_kind
from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.export.formats import load_integer
from spikegraph.export.graph import Graph
from spikegraph.targets.places import PLACES, Execution, Place, reference
from spikegraph.targets.recording import is_recording, read_recording, recorded
from spikegraph.targets.verify import verify


def assert_equivalent(
    a: Graph | str | Path,
    b: Graph | str | Path | Place | Execution,
    inputs: Mapping[str, Array] | Array | None = None,
) -> None:
    """Assert that `b` computes what the reference engine makes of the graph `a`: every spike and state at every step.

    Parameters
    ----------
    a : Graph or path of a graph file
    b : str, path, Graph, callable or mapping
        A place ("native", "lava", …), a function (graph, rasters) → execution, an execution itself (population →
        "s", "u", "v" → ndarray (T, N, *shape)), a file with one (see `spikegraph.targets.recording.read_recording`), or
        another graph or graph file, which is compared in the populations that both have.
    inputs : ndarray (T, N, *shape), or mapping of input name → ndarray
        Spikes of the graph's inputs, N samples of T steps; see `random_inputs`. Without them, those that the file `b`
        holds.

    Raises
    ------
    AssertionError
        With the first difference, what had reached that neuron, and the cause.
    SpikegraphError
        The graph is not legal, the place cannot run it, or the spikes do not fit it.
    """
    graph = a if isinstance(a, Graph) else load_integer(a)
    if inputs is None:
        if not isinstance(b, str | Path) or not is_recording(str(b)) or _is_graph(b):
            raise OptionError("inputs", "are missing", "give spikes, such as random_inputs(graph)")
        inputs = read_recording(b, graph).rasters(graph)
    if not isinstance(inputs, Mapping):
        if len(graph.inputs) != 1:
            raise OptionError("inputs", f"is one array, and the graph has {len(graph.inputs)} inputs", "give a mapping")
        inputs = {next(iter(graph.inputs)): np.asarray(inputs)}
    name, place = _place(graph, b, inputs)
    verification = verify(graph, inputs, {name: place})
    for refusal in verification.refusals.values():
        raise refusal
    if not verification.identical:
        raise AssertionError(str(verification))


def random_inputs(
    graph: Graph | str | Path, *, n_samples: int = 10, rate: float = 0.2, seed: int = 0
) -> dict[str, Array]:
    """Draw spikes for the inputs of a graph.

    Parameters
    ----------
    graph : Graph or path of a graph file
    n_samples : int
    rate : float, 0…1
        Share of the steps in which a line spikes.
    seed : int
        The same seed, the same spikes.

    Returns
    -------
    dict of input name → ndarray of int16 (T, N, *shape)
        1, or for graded inputs whole numbers of the input's range.
    """
    if n_samples < 1 or not 0 <= rate <= 1:
        what = f"n_samples = {n_samples}, rate = {rate}"
        raise OptionError("random_inputs", what, "draw at least 1 sample, at a rate of 0…1")
    graph, rng, spikes = graph if isinstance(graph, Graph) else load_integer(graph), np.random.default_rng(seed), {}
    for name, node in graph.inputs.items():
        shape = (graph.n_steps, n_samples, *node.shape)
        low, high = (node.min_value, node.max_value) if node.graded else (1, 1)
        values = rng.integers(low, high, shape, endpoint=True)
        spikes[name] = (values * (rng.random(shape) < rate)).astype(np.int16)
    return spikes


def _place(graph: Graph, b: Any, inputs: Mapping[str, Array]) -> tuple[str, Place]:
    if isinstance(b, str) and b in PLACES:
        return b, PLACES[b]
    if isinstance(b, str | Path):
        if not is_recording(str(b)):
            remedy = f"choose among {', '.join(PLACES)}, or name a graph file or a recorded run"
            raise OptionError(str(b), "is no place and no file", remedy)
        return Path(b).name, _of_graph(graph, load_integer(b), inputs) if _is_graph(b) else read_recording(b, graph)
    if isinstance(b, Graph):
        return "the other graph", _of_graph(graph, b, inputs)
    if isinstance(b, Mapping):
        return "the other execution", recorded(b)
    return getattr(b, "__name__", "the other"), b


def _is_graph(path: str | Path) -> bool:
    try:
        return container_kind(path) == "graph"
    except FileFormatError:
        return False


def _of_graph(graph: Graph, other: Graph, inputs: Mapping[str, Array]) -> Place:
    execution = reference(other, inputs)
    shared = {name: execution[name] for name in execution if name in graph.populations}
    if not shared:
        what = f"has {', '.join(other.populations)}, and the first {', '.join(graph.populations)}"
        raise OptionError("the other graph", what, "compare graphs with a population in common")
    return recorded(shared, name="the other graph")
