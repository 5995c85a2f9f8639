"""What every engine and target asks of the spikes that it is handed."""

from __future__ import annotations

from collections.abc import Mapping

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError
from spikegraph.export.graph import Graph


def checked_samples(graph: Graph, rasters: Mapping[str, Array]) -> int:
    """Return the number of samples, which may be 0, in the rasters of a graph's inputs.

    Parameters
    ----------
    graph : Graph
    rasters : mapping of input name → ndarray of int (T, B, *shape)

    Raises
    ------
    DataError
        An input is missing or unknown, or a raster has another shape, is not integer or leaves the input's range.
    """
    remedy = "give one integer array (n_steps, samples, *shape) for each input"
    if set(rasters) != set(graph.inputs):
        raise DataError("rasters", f"are named {sorted(rasters)}, expected {sorted(graph.inputs)}", remedy)
    n_samples = next(iter(rasters.values())).shape[1:2]
    for name, node in graph.inputs.items():
        raster, expected = rasters[name], (graph.n_steps, *n_samples, *node.shape)
        low, high = min(node.min_value, 0), max(node.max_value, 0)
        if raster.shape != expected:
            raise DataError(f"raster {name}", f"has shape {raster.shape}, expected {expected}", remedy)
        outside = raster.size > 0 and (raster.min() < low or raster.max() > high)
        if raster.dtype.kind not in "iub" or outside:
            held = f"{raster.min()}…{raster.max()}" if raster.size else "nothing"
            what = f"holds {held} ({raster.dtype}), expected integers {low}…{high}"
            raise DataError(f"raster {name}", what, remedy)
    return int(n_samples[0])
