"""Write a spike graph as two ONNX models, with what says how to run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from spikegraph.export.files import whole_folder
from spikegraph.export.graph import Graph
from spikegraph.export.onnx import run_model, step_model

README = """# A spiking network in ONNX

Spikes and state in integers; standard operators only, opset {opset}. `run.onnx` is a whole window from cleared state,
`step.onnx` one step. Made by `spikegraph`; `spikegraph encode` writes spikes of data.

{values}
To run them, with onnxruntime:

```python
{run}```

Step by step, with the state in the caller's hands:

```python
{step}```
"""
RUN = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("run.onnx")
n_steps = int(session.get_modelmeta().custom_metadata_map["n_steps"])
rasters, n_samples = {}, 4
for i in session.get_inputs():  # (steps, samples, ...): noise, in place of your spikes
    noise = np.random.default_rng(0).random((n_steps, n_samples, *i.shape[2:])) < 0.2
    rasters[i.name] = noise.astype(i.type[7:-1])  # "tensor(uint8)" → "uint8"
for result, values in zip(session.get_outputs(), session.run(None, rasters)):
    print(result.name, values.dtype, values.shape, values.sum())
"""
STEP = """import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("step.onnx")
results = [result.name for result in session.get_outputs()]
given = {i.name: np.zeros((4, *i.shape[1:]), i.type[7:-1]) for i in session.get_inputs()}  # state starts at 0
for t in range(int(session.get_modelmeta().custom_metadata_map["n_steps"])):
    for name in given:
        if not name.endswith("/last"):  # an input
            given[name][:] = np.random.default_rng(t).random(given[name].shape) < 0.2
    values = dict(zip(results, session.run(None, given)))
    given |= {f"{name}/last": values[name] for name in results if f"{name}/last" in given}
print({name: values[name].sum() for name in results})
"""


def build_onnx(graph: Graph, folder: str | Path) -> dict[str, Any]:
    """Write run.onnx, step.onnx and README.md into a new folder.

    Parameters
    ----------
    graph : Graph
        Not pipelined.
    folder : path
        Must not exist, or be empty. It appears complete or not at all.

    Returns
    -------
    dict
        Of each model its bytes, operators, and the types and shapes of what goes in and comes out.

    Raises
    ------
    GraphError, TargetError
        The graph is not legal, ONNX cannot hold it, or the folder is in use.
    """
    models = {"run.onnx": run_model(graph), "step.onnx": step_model(graph)}
    with whole_folder(Path(folder)) as part:
        for name, model in models.items():
            (part / name).write_bytes(model.SerializeToString())
        opset = models["run.onnx"].opset_import[0].version
        values = "".join(map(_values, models.items()))
        readme = README.format(opset=opset, values=values, run=RUN, step=STEP)
        (part / "README.md").write_text(readme, encoding="utf-8")
    return {name: _report(model) for name, model in models.items()}


def _values(named: tuple[str, onnx.ModelProto]) -> str:
    name, model = named
    sides = {"in": model.graph.input, "out": model.graph.output}
    return "".join(
        f"- {name}, {side}: {', '.join(f'`{v.name}` {_type(v)}' for v in of)}\n" for side, of in sides.items()
    )


def _report(model: onnx.ModelProto) -> dict[str, Any]:
    return {
        "bytes": model.ByteSize(),
        "operators": sorted(_operators(model.graph)),
        "inputs": {value.name: _type(value) for value in model.graph.input},
        "outputs": {value.name: _type(value) for value in model.graph.output},
    }


def _type(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    dims = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} ({dims})"


def _operators(graph: onnx.GraphProto) -> set[str]:
    inner = (a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)
    return {node.op_type for node in graph.node}.union(*(_operators(body) for body in inner))
