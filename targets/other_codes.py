"""Samples encoded as somebody else may have encoded them: hypotheses on a difference that begins at the input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spikegraph.export.coding import InputCoding
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.export.recordings import Recordings

_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "rounded down": np.floor,
    "rounded up": np.ceil,
    "rounded half up": lambda values: np.floor(values + 0.5),
}


def other_codes(graph: Graph, x: Array | Recordings, index: Array) -> dict[str, dict[str, Array]]:
    """Encode samples in other ways than the graph says.

    Parameters
    ----------
    graph : Graph
        With one input and a coding.
    x : ndarray of float32 (B, *input shape), 0…1; recordings have no other code here
    index : ndarray of int (B,)

    Returns
    -------
    dict of what → input name → ndarray of int (T, B, *shape)
    """
    if graph.coding is None or not isinstance(x, np.ndarray):
        return {}
    name, codes = next(iter(graph.inputs)), {}
    if graph.coding.kind == "rate":
        codes["samples are numbered from 0 in each batch"] = graph.coding.encode(x, np.arange(len(x)), graph.n_steps)
        codes["samples are numbered from 1"] = graph.coding.encode(x, index + 1, graph.n_steps)
    elif graph.coding.kind == "direct":
        for what, rounding in _ROUNDINGS.items():
            codes[f"values are {what}"] = _in_each_step(rounding(x * graph.coding.max_value), graph.n_steps)
        codes["values come in the first step only"] = _first_step_only(graph.coding, x, index, graph.n_steps)
    elif graph.coding.kind == "first_spike":
        last = graph.n_steps - 1
        for what, rounding in _ROUNDINGS.items():
            codes[f"times of spikes are {what}"] = _one_spike(rounding((1 - x) * last), x > 0, graph.n_steps)
        codes["zeros spike in the last step"] = _one_spike(np.rint((1 - x) * last), x >= 0, graph.n_steps)
    return {what: {name: raster} for what, raster in codes.items()}


def _in_each_step(values: Array, n_steps: int) -> Array:
    return np.broadcast_to(values.astype(np.int16), (n_steps, *values.shape)).copy()


def _first_step_only(coding: InputCoding, x: Array, index: Array, n_steps: int) -> Array:
    raster = coding.encode(x, index, n_steps)
    raster[1:] = 0
    return raster


def _one_spike(step: Array, spikes: Array, n_steps: int) -> Array:
    steps = np.arange(n_steps).reshape(-1, *[1] * step.ndim)
    return np.asarray((steps == step) & spikes, np.uint8)
