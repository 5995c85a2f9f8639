"""Run a graph in ONNX Runtime, as the model that is exported for others to run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.export.onnx import run_model
from spikegraph.hwsim.rasters import checked_samples

_DTYPES = {"s": bool, "u": np.int32, "v": np.int32}


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
    session = open_session(run_model(graph, record=list(graph.populations)))
    n_samples = checked_samples(graph, rasters)
    names = [f"{name}/{variable}" for name in graph.populations for variable in _DTYPES]
    if n_samples == 0:  # no model says what Reshape makes of nothing
        shapes = [(graph.n_steps, 0, *p.shape) for p in graph.populations.values() for _ in _DTYPES]
        values = [np.zeros(shape) for shape in shapes]
    else:
        given = {i.name: rasters[i.name].astype(numpy_type(i)) for i in session.get_inputs()}
        values = session.run(names, given)
    by_name = dict(zip(names, values, strict=True))
    return {
        name: {variable: by_name[f"{name}/{variable}"].astype(dtype) for variable, dtype in _DTYPES.items()}
        for name in graph.populations
    }


def open_session(model: onnx.ModelProto, threads: int = 0) -> onnxruntime.InferenceSession:
    """Load a model for the CPU; `threads` 0 is as many as there are cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def numpy_type(value: onnxruntime.NodeArg) -> str:
    """Return the NumPy type of what goes in or comes out: of "tensor(uint8)" it is uint8."""
    return str(value.type).removeprefix("tensor(").removesuffix(")")
