"""What every engine and target asks of the spikes that it is handed: a raster or events for each input."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError
from spikegraph.export.events import Events
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph, Input

Spikes = Array | Events
_REMEDY = "give one integer array (n_steps, samples, *shape), or Events, for each input"


def checked_samples(graph: Graph | FloatGraph, inputs: Mapping[str, Spikes], seen_later: Collection[str] = ()) -> int:
    """Return the number of samples, which may be 0, in the spikes of a graph's inputs.

    Parameters
    ----------
    graph : Graph or FloatGraph
    inputs : mapping of input name → ndarray of int (T, B, *shape) or Events
    seen_later : collection of str
        Inputs whose range is not checked here: the caller does it as it reads them.

    Raises
    ------
    DataError
        An input is missing or unknown, or a raster has another shape, is not integer or leaves the input's range.
    """
    if set(inputs) != set(graph.inputs):
        raise DataError("rasters", f"are named {sorted(inputs)}, expected {sorted(graph.inputs)}", _REMEDY)
    n_samples = _shape(next(iter(inputs.values())))[1:2]
    for name, node in graph.inputs.items():
        spikes, expected = inputs[name], (graph.n_steps, *n_samples, *node.shape)
        if _shape(spikes) != expected:
            raise DataError(f"raster {name}", f"has shape {_shape(spikes)}, expected {expected}", _REMEDY)
        if name not in seen_later:
            _require_range(name, node, spikes)
    return int(n_samples[0])


def raster_of(spikes: Spikes) -> Array:
    """Return a raster (T, B, *shape), whichever of the two is given."""
    return spikes.to_raster() if isinstance(spikes, Events) else spikes


def _shape(spikes: Spikes) -> tuple[int, ...]:
    return (spikes.n_steps, spikes.n_samples, *spikes.shape) if isinstance(spikes, Events) else spikes.shape


def _require_range(name: str, node: Input, spikes: Spikes) -> None:
    low, high = min(node.min_value, 0), max(node.max_value, 0)
    if isinstance(spikes, Events):
        dtype, (least, most) = np.dtype(np.int32), spikes.value_range
    elif spikes.dtype.kind in "iub":
        dtype, (least, most) = spikes.dtype, _range(spikes)
    else:
        raise DataError(f"raster {name}", f"holds numbers of {spikes.dtype}, expected integers {low}…{high}", _REMEDY)
    if not low <= least <= most <= high:
        raise DataError(f"raster {name}", f"holds {least}…{most} ({dtype}), expected integers {low}…{high}", _REMEDY)


def _range(raster: Array) -> tuple[int, int]:
    """Return the least and largest entry, or 0; a large raster takes a while to read, so once is enough."""
    if raster.size == 0:
        return 0, 0
    return 0 if raster.dtype.kind in "ub" else int(raster.min()), int(raster.max())
