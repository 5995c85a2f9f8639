"""A NIR file → a float graph, and what it lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.check import require_legal
from spikegraph.export.coding import Readout
from spikegraph.export.container import read_foreign
from spikegraph.export.demands import as_asked, refuse_input_range
from spikegraph.export.float_graph import FloatGraph, FloatProjection
from spikegraph.export.graph import Graph, Input, Output, free_name
from spikegraph.export.loss import Loss, LossReport
from spikegraph.export.nir.infer import Steps, steps_of
from spikegraph.export.nir.layers import graph_shape
from spikegraph.export.nir.metadata import graph_in, steps_in
from spikegraph.export.nir.neurons import FIRING, SILENT, Neurons, neurons_of
from spikegraph.export.nir.nodes import NirGraph, read_nodes
from spikegraph.export.nir.populations import Parts, add_population
from spikegraph.export.nir.wiring import Way, Wiring, shapes_of
from spikegraph.export.order import zero_delay_loop

N_STEPS = 100  # of a window, where nobody says
_READER = Neurons(stages=(), gain=np.ones(()), bias=np.zeros(()), v_threshold=None, v_reset=None)


def load_nir(path: Path, assumed: Assumptions) -> tuple[Graph | FloatGraph, LossReport]:
    """Read a NIR file.

    Parameters
    ----------
    path : Path
    assumed : Assumptions
        What the file leaves open: dt, convention, n_steps, max_value.

    Returns
    -------
    FloatGraph, LossReport

    Raises
    ------
    FileFormatError
        The file is damaged or no NIR, or holds what neurons and synapses here cannot do: the node, and why.
    GraphError
        The graph in it is not legal here.
    """
    refuse_input_range(assumed)
    tree = read_foreign(path, wrote="the nir package")
    return graph_of_tree(tree, path.name, assumed)


def graph_of_tree(tree: Mapping[str, Any], name: str, assumed: Assumptions) -> tuple[Graph | FloatGraph, LossReport]:
    """Return the graph that the tree of a NIR file holds, and what was lost; as `load_nir`."""
    nir = read_nodes(tree, name)
    with np.errstate(all="ignore"):  # of damaged metadata
        own, told = graph_in(nir, name)
    if own is not None:  # it says itself what other files leave open
        graph, losses = as_asked(own, replace(assumed, convention=None, dt=None))
        require_legal(graph)
        unused = [option for option in ("convention", "dt") if getattr(assumed, option) is not None]
        facts = (told, *(f"--{option} is not used: the file says it itself" for option in unused))
        return graph, LossReport(step=f"read {name}", facts=facts, losses=losses)
    nir.facts += [told] if told else []
    written = steps_in(nir.metadata)
    if written is not None:
        assumed = replace(
            assumed,
            convention=assumed.convention or written[0],
            dt=written[1] if assumed.dt is None else assumed.dt,
        )
    with np.errstate(all="ignore"):  # what overflows becomes infinite, and no array of a graph may be that
        steps = steps_of(nir, assumed)
        graph, parts = _float_graph(nir, steps, assumed)
    graph = _with_delayed_loops(graph, parts)
    require_legal(graph)
    facts = (*nir.facts, *steps.facts, *parts.facts)
    return graph, LossReport(step=f"read {name}", facts=facts, losses=(*nir.losses, *parts.losses))


def _float_graph(nir: NirGraph, steps: Steps, assumed: Assumptions) -> tuple[FloatGraph, Parts]:
    taken, shapes = shapes_of(nir)
    ours = {name: graph_shape(shape, nir.nodes[name].where) for name, shape in shapes.items()}
    neurons = {
        name: neurons_of(node, ours[name], steps.convention, steps.dt)
        for name, node in nir.nodes.items()
        if node.type in FIRING | SILENT
    }
    parts = Parts(named=nir.nodes)
    wiring = Wiring(graph=nir, taken=taken, shapes=shapes, silent=neurons, step=steps.unit, losses=parts.losses)
    rules = (steps.convention, steps.dt)
    in_order = {name: nir.nodes[name] for name in shapes}  # from the inputs on
    for name, node in in_order.items():
        if node.type in FIRING:
            driven = wiring.into(name, shapes[name])
            add_population(parts, name, node, ours[name], neurons[name], driven, *rules)
    outputs: dict[str, Output] = {}
    for name, node in in_order.items():
        if node.type == "Output":
            ways, constants = wiring.into(name, shapes[name])
            if not constants and len(ways) == 1 and _passes_on(ways[0], parts):
                outputs[name] = Output(population=ways[0].source)
            else:
                reader = parts.beside(f"{name}_v")
                add_population(parts, reader, node, ours[name], _READER, (ways, constants), *rules)
                outputs[name] = Output(population=reader, variable="v")
    return _named(nir, ours, parts, outputs, steps, assumed), parts


def _passes_on(way: Way, parts: Parts) -> bool:
    return way.source in parts.populations and way.map.is_identity and not way.delay_steps and not way.filters


def _named(
    nir: NirGraph,
    shapes: Mapping[str, tuple[int, ...]],
    parts: Parts,
    outputs: Mapping[str, Output],
    steps: Steps,
    assumed: Assumptions,
) -> FloatGraph:
    """Give every node a name that a graph can hold, and make the graph."""
    max_value = 1 if assumed.max_value is None else assumed.max_value
    n_steps = N_STEPS if assumed.n_steps is None else assumed.n_steps
    if assumed.max_value is None:
        parts.note("inputs carry 0 and 1: NIR does not say")
    if assumed.n_steps is None:
        parts.note(f"n_steps = {N_STEPS}: NIR does not say")
    ends = [name for name, node in nir.nodes.items() if node.type == "Input"]
    called = _legal_names([*ends, *parts.populations], parts)
    output_names = _legal_names(outputs, parts)
    projections: dict[str, FloatProjection] = {}
    taken: set[str] = set()
    for name, p in parts.projections:
        own = _free(_legal(name), taken)
        projections[own] = replace(p, source=called[p.source], target=called[p.target])
    made = {
        output_names[name]: Output(population=called[output.population], variable=output.variable)
        for name, output in outputs.items()
    }
    return FloatGraph(
        inputs={called[name]: Input(shape=shapes[name], max_value=max_value) for name in ends},
        populations={called[name]: population for name, population in parts.populations.items()},
        projections=projections,
        outputs=made,
        n_steps=n_steps,
        dt=steps.dt,
        readout=_readout(made, parts),
        provenance={"nir": {"convention": steps.convention.name, "dt": steps.dt}},
    )


def _readout(outputs: Mapping[str, Output], parts: Parts) -> Readout | None:
    """Return the readout that most networks have: NIR has none."""
    if len(outputs) != 1:
        return None
    name, output = next(iter(outputs.items()))
    parts.note(
        f"the class is read from {name}: " + ("its most spikes" if output.variable == "s" else "its highest potential")
    )
    return Readout(kind="count" if output.variable == "s" else "membrane", output=name)


def _legal(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)
    return plain if re.match(r"[A-Za-z0-9_]", plain) else f"_{plain}"


def _free(name: str, taken: set[str]) -> str:
    own = free_name(name, taken)
    taken.add(own)
    return own


def _legal_names(names: Any, parts: Parts) -> dict[str, str]:
    taken: set[str] = set()
    called = {name: _free(_legal(name), taken) for name in names}
    for name, own in called.items():
        if name != own:
            what = f"is called {own}: names are letters, digits, '_', '.' and '-'"
            parts.losses.append(Loss(node=name, attribute="name", effect="none", what=what))
    return called


def _with_delayed_loops(graph: FloatGraph, parts: Parts) -> FloatGraph:
    """Give loops without delay one step: on the projection that leads back toward the inputs.

    In continuous time nothing takes a step; in all these frameworks what leads back arrives one step later.
    """
    ahead: nx.DiGraph[str] = nx.DiGraph((p.source, p.target) for p in graph.projections.values())
    ahead.add_nodes_from([*graph.inputs, *graph.populations])
    depth: dict[str, int] = {}
    for source in graph.inputs:
        for name, n in nx.single_source_shortest_path_length(ahead, source).items():
            depth[name] = min(n, depth.get(name, n))
    place = {name: (depth.get(name, 0), i) for i, name in enumerate([*graph.inputs, *graph.populations])}
    projections = dict(graph.projections)
    while loop := zero_delay_loop(graph):
        pairs = list(pairwise(loop))
        source, target = max(pairs, key=lambda pair: (place[pair[0]][0] - place[pair[1]][0], place[pair[0]][1]))
        for name, p in projections.items():
            if (p.source, p.target) == (source, target) and p.delay_steps == 0:
                projections[name] = replace(p, delay_steps=1)
                parts.note(f"{name} leads back from {source} to {target}: its spikes arrive one step later")
        graph = replace(graph, projections=projections)
    return graph
