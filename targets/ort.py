"""Run a graph in ONNX Runtime, as the model that is exported for others to run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.export.onnx import run_model
from spikegraph.hwsim.rasters import checked_samples


def run_ort(graph: Graph, rasters: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Run a batch in ONNX Runtime on the CPU.

    Parameters
    ----------
    graph : Graph
        Not pipelined.
    rasters : mapping of input name → ndarray of int (T, B, *shape)

    Returns
    -------
    dict of population → {"s": bool, "u": int32, "v": int32}
        Each (T, B, *shape); v after reset.

    Raises
    ------
    GraphError, OnnxRefusalError
        The graph is not legal, or ONNX cannot hold it.
    DataError
        The rasters are not what the graph's inputs are.
    """
    checked_samples(graph, rasters)
    session = open_session(run_model(graph, record=list(graph.populations)).SerializeToString())
    given = {i.name: np.asarray(rasters[i.name]).astype(i.type[7:-1]) for i in session.get_inputs()}
    names = [f"{name}/{variable}" for name in graph.populations for variable in "suv"]
    values = dict(zip(names, session.run(names, given), strict=True))
    return {
        name: {"s": values[f"{name}/s"].astype(bool), "u": values[f"{name}/u"], "v": values[f"{name}/v"]}
        for name in graph.populations
    }


def open_session(model: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """Load a model for the CPU; `threads` 0 is as many as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
