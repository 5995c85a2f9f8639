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
from spikegraph.export.onnx.step import STATES, State, Step, spike_type, states_of
from spikegraph.export.onnx.synapses import current

OPSET, IR_VERSION = 18, 8  # of ONNX 1.13, which ONNX Runtime reads since 1.14
T, B = "T", "B"  # steps, samples: free
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
    nodes, states = Nodes(), states_of(graph, with_inputs=True)
    Step(nodes, graph, chosen, states, batch_axis=0).run({name: name for name in graph.inputs}, {})
    inputs = [_input(graph, name, [B]) for name in graph.inputs]
    inputs += [_state(state, f"{state.name}/last", "before") for state in states]
    kept = {state.name for state in states}
    results = [_result(graph, name, [B]) for name in exposed if name not in kept]
    results += [_state(state, state.name, "after") for state in states]
    return _model(graph, "step", nodes, inputs, results, states)


def run_model(graph: Graph, record: Collection[str] = ()) -> onnx.ModelProto:
    """Return the model of a whole window: rasters of the inputs → what the outputs did in each step.

    State starts cleared. What the inputs add to u is computed for all steps at once; the rest is the body of a `Scan`.

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
    outer, states = Nodes(), states_of(graph, with_inputs=False)
    first = next(iter(graph.inputs))
    body = Nodes("step/", outer)
    given = _from_inputs(outer, graph, chosen)
    in_body = {name: f"{body.prefix}{value}" for name, value in given.items()}
    step = Step(body, graph, chosen, states, batch_axis=1)
    values = step.run({}, in_body)

    inputs = [_state(state, f"{body.prefix}{state.name}/last", "before") for state in states]
    for name, value in in_body.items():
        inputs.append(_value(value, chosen.neurons[name].current_type, [B, *graph.shape_of(name)]))
    if not given:  # something must say how many steps there are
        inputs.append(_value(f"{body.prefix}{first}", spike_type(graph, first), [B, *graph.shape_of(first)]))
    results = [_state(state, values[state.name], "after") for state in states]
    for name in exposed:  # under a name of its own, because it may be a state as well
        result = _result(graph, name, [B])
        result.name = body.add("Identity", [values[name]], f"{name}/out")
        results.append(result)
    scan = helper.make_node(
        "Scan",
        [step.zeros(s.shape, s.type, f"{s.name}/cleared") for s in states] + (list(given.values()) or [first]),
        [f"{state.name}/final" for state in states] + exposed,
        name="window",
        doc_string="the steps, one after the other",
        body=helper.make_graph(body.nodes, "step", inputs, results, doc_string="one step"),
        num_scan_inputs=max(len(given), 1),
    )
    outer.nodes.append(scan)
    rasters = [_input(graph, name, [T, B]) for name in graph.inputs]
    return _model(graph, "run", outer, rasters, [_result(graph, name, [T, B]) for name in exposed], [])


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


def _from_inputs(nodes: Nodes, graph: Graph, chosen: Ranges) -> dict[str, str]:
    """Compute what inputs add to u, for all steps at once: population → value (T, B, *shape)."""
    found = {}
    for name in graph.populations:
        from_inputs = {p_name: p for p_name, p in graph.into(name).items() if p.source in graph.inputs}
        if from_inputs:
            first, *others = (_all_steps(nodes, graph, p_name, chosen) for p_name in from_inputs)
            found[name] = nodes.chain(first, [nodes.then("Add", other) for other in others], f"{name}/from_inputs")
    return found


def _all_steps(nodes: Nodes, graph: Graph, name: str, chosen: Ranges) -> str:
    """Compute what a projection from an input adds to u, for all steps at once."""
    p = graph.projections[name]
    source, target = graph.shape_of(p.source), graph.shape_of(p.target)
    rows = nodes.add("Reshape", [p.source, nodes.numbers([-1, *source])], f"{name}/all_steps")
    added = current(nodes, rows, graph, name, chosen)
    samples = nodes.add("Shape", [p.source], f"{name}/steps_and_samples", start=0, end=2)
    shape = nodes.add("Concat", [samples, nodes.numbers(target)], f"{name}/step_by_step/shape", axis=0)
    by_step = nodes.add("Reshape", [added, shape], f"{name}/step_by_step")
    if not p.delay_steps:
        return by_step
    before = nodes.numbers([p.delay_steps, *(0 for _ in range(2 * len(target) + 3))])
    later = nodes.add("Pad", [by_step, before], f"{name}/late")
    n_steps = nodes.add("Shape", [p.source], f"{name}/steps", start=0, end=1)
    return nodes.add("Slice", [later, nodes.numbers([0]), n_steps, nodes.numbers([0])], f"{name}/arriving")


def _value(name: str, of: int, shape: list[str | int], doc: str = "") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, of, shape, doc_string=doc)


def _input(graph: Graph, name: str, free: list[str]) -> onnx.ValueInfoProto:
    node = graph.inputs[name]
    carries = f"{min(node.min_value, 0)}…{max(node.max_value, 0)}" if node.graded else "0 or 1"
    return _value(name, spike_type(graph, name), [*free, *node.shape], f"spikes of the input, {carries}")


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
        "outputs": {name: f"{output.population}/{output.variable}" for name, output in graph.outputs.items()},
    }
    if states:
        properties["states"] = [state.name for state in states]
    if graph.coding:
        properties["coding"] = vars(graph.coding)
    if graph.readout:
        properties["readout"] = vars(graph.readout)
    return properties


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
