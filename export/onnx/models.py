"""A spike graph as two ONNX models: one step, and a whole run (docs/onnx.md)."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import onnx
from onnx import helper

from spikegraph import __version__
from spikegraph.export.check import require_legal
from spikegraph.export.errors import OptionError
from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.onnx.nodes import INT32, UINT8, Nodes
from spikegraph.export.onnx.ranges import Ranges, ranges
from spikegraph.export.onnx.step import STATES, State, Step, spike_type, states_of, zeros

OPSET, IR_VERSION = 18, 8  # of ONNX 1.13
T, B = "T", "B"  # steps, samples: free
_READ = {"s": "s", "v": "v_before_reset"}  # variable of an output → what a readout reads of it
_DOCS = STATES | {"s": "spikes, 0 or 1", "v_before_reset": "membrane potential that was compared with the threshold"}


def step_model(graph: Graph, record: Collection[str] = ()) -> onnx.ModelProto:
    """Return the model of one step: spikes of the inputs and state → spikes of the outputs and state.

    Parameters
    ----------
    graph : Graph
        Not pipelined.
    record : collection of str
        Populations whose s, u and v are among the results as well.

    Raises
    ------
    GraphError, OnnxRefusalError, OptionError
        The graph is not legal; ONNX cannot hold it; a population to be recorded does not exist.
    """
    chosen, exposed = _checked(graph, record)
    nodes, states = Nodes(), states_of(graph)
    Step(nodes, graph, chosen, states).run()
    inputs = [_input(graph, name, [B]) for name in graph.inputs]
    inputs += [_state(state, f"{state.name}/last", "before") for state in states]
    kept = {state.name for state in states}
    results = [_result(graph, name, [B]) for name in exposed if name not in kept]
    results += [_state(state, state.name, "after") for state in states]
    return _model(graph, "step", nodes, inputs, results, states)


def run_model(graph: Graph, record: Collection[str] = ()) -> onnx.ModelProto:
    """Return the model of a whole window: rasters of the inputs → what the outputs did in each step.

    State starts cleared. The steps are a `Scan`, whose body is the step.

    Parameters
    ----------
    graph : Graph
        Not pipelined.
    record : collection of str
        Populations whose s, u and v are among the results as well.

    Raises
    ------
    GraphError, OnnxRefusalError, OptionError
        The graph is not legal; ONNX cannot hold it; a population to be recorded does not exist.
    """
    chosen, exposed = _checked(graph, record)
    outer, body, states = Nodes(), Nodes("step:"), states_of(graph)  # no name of a graph has a colon
    step = Step(body, graph, chosen, states)
    values = step.run()
    inputs = [_state(state, step.last(state.name), "before") for state in states]
    inputs += [_input(graph, name, [B], body.prefix) for name in graph.inputs]
    results = [_state(state, values[state.name], "after") for state in states]
    for name in exposed:  # under a name of its own, because it may be a state as well
        results.append(_result(graph, name, [B]))
        results[-1].name = body.add("Identity", [values[name]], f"{name}/out")
    first = next(iter(graph.inputs))
    n_samples = outer.add("Shape", [first], f"{first}/samples", start=1, end=2)
    cleared = [zeros(outer, n_samples, state.shape, state.type, f"{state.name}/cleared") for state in states]
    scan = helper.make_node(
        "Scan",
        [*cleared, *graph.inputs],
        [f"{state.name}/final" for state in states] + exposed,
        name="window",
        doc_string="the steps, one after the other",
        body=helper.make_graph(body.nodes, "step", inputs, results, list(body.constants.values()), "one step"),
        num_scan_inputs=len(graph.inputs),
    )
    outer.nodes.append(scan)
    rasters = [_input(graph, name, [T, B]) for name in graph.inputs]
    return _model(graph, "run", outer, rasters, [_result(graph, name, [T, B]) for name in exposed], states)


def _checked(graph: Graph, record: Collection[str]) -> tuple[Ranges, list[str]]:
    """Return the types of all numbers, and the names of what the model returns."""
    require_legal(graph)
    for name in record:
        if name not in graph.populations:
            remedy = f"choose among {', '.join(graph.populations)}"
            raise OptionError("record", f"there is no population {name!r}", remedy)
    tapped = {output.population for output in graph.outputs.values()}
    exposed = [
        f"{name}/{variable}" for name in graph.populations if name in tapped for variable in ("s", "v_before_reset")
    ]
    exposed += [f"{name}/{variable}" for name in graph.populations if name in record for variable in ("s", "u", "v")]
    return ranges(graph), list(dict.fromkeys(exposed))


def _value(name: str, of: int, shape: list[str | int], doc: str = "") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, of, shape, doc_string=doc)


def _input(graph: Graph, name: str, free: list[str], prefix: str = "") -> onnx.ValueInfoProto:
    node = graph.inputs[name]
    carries = f"{min(node.min_value, 0)}…{max(node.max_value, 0)}" if node.graded else "0 or 1"
    return _value(prefix + name, spike_type(graph, name), [*free, *node.shape], f"spikes of the input, {carries}")


def _result(graph: Graph, name: str, free: list[str]) -> onnx.ValueInfoProto:
    node, variable = name.rsplit("/", 1)
    of = UINT8 if variable == "s" else INT32
    return _value(name, of, [*free, *graph.shape_of(node)], _DOCS[variable])


def _state(state: State, name: str, when: str) -> onnx.ValueInfoProto:
    return _value(name, state.type, [B, *state.shape], f"{STATES[state.variable]}, {when} the step")


def _model(
    graph: Graph,
    kind: str,
    nodes: Nodes,
    inputs: list[onnx.ValueInfoProto],
    results: list[onnx.ValueInfoProto],
    states: list[State],
) -> onnx.ModelProto:
    """Put the parts together, with every shape inferred and checked."""
    says = "one step: spikes and state in, spikes and state out" if kind == "step" else "a window from cleared state"
    proto = helper.make_graph(nodes.nodes, kind, inputs, results, list(nodes.constants.values()))
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="spikegraph",
        producer_version=__version__,
        doc_string=f"Spiking network in integers, {says}. Graph {graph_checksum(graph)}.",
    )
    helper.set_model_props(model, {key: _as_text(value) for key, value in _properties(graph, kind, states).items()})
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def _properties(graph: Graph, kind: str, states: list[State]) -> dict[str, Any]:
    """Return what a reader of the model may want to know."""
    properties: dict[str, Any] = {
        "spikegraph": kind,
        "graph": graph_checksum(graph),
        "n_steps": graph.n_steps,
        "inputs": {name: [min(node.min_value, 0), max(node.max_value, 0)] for name, node in graph.inputs.items()},
        "states": [state.name for state in states],
        "outputs": {name: f"{output.population}/{_READ[output.variable]}" for name, output in graph.outputs.items()},
    }
    if graph.coding:
        properties["coding"] = vars(graph.coding)
    if graph.readout:
        properties["readout"] = vars(graph.readout)
    return properties


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
