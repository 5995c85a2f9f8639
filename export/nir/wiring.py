"""From the neurons of one node back to all that drive them: each way one linear map, with its delay and its filters.

Between two nodes that spike may lie linear nodes, delays, and nodes that integrate without firing: filters, which
become a stage of the neurons that they drive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import networkx as nx
import numpy as np

from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.errors import FileFormatError
from spikegraph.export.loss import Loss
from spikegraph.export.nir.layers import LINEAR, Layer, graph_shape, layer_of, spread
from spikegraph.export.nir.maps import LinearMap, compose, identity, masked, reduced, scaled
from spikegraph.export.nir.neurons import FIRING, SILENT, Neurons
from spikegraph.export.nir.nodes import NirGraph, NirNode

_MOST_WAYS = 1024  # between one population and all that drive it
_MOST_WEIGHTS = 1 << 28  # that are multiplied along all ways of a file together
_WEIGHTED = ("Affine", "Linear", "Conv1d", "Conv2d")


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """One way from a source of spikes to a population.

    Parameters
    ----------
    source : str
        Node that spikes.
    map : LinearMap
    delay_steps : int
    filters : tuple of ndarray
        What each filter on the way keeps of its state in a step, the first one first.
    name : str
        The linear node with weights that lies nearest to the population; "" if there is none.
    """

    source: str
    map: LinearMap
    delay_steps: int = 0
    filters: tuple[Array, ...] = ()
    name: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """What is added in every step from `delay_steps` on, before it passes `filters`: float64, flattened."""

    value: Array
    delay_steps: int
    filters: tuple[Array, ...]


@dataclass(kw_only=True)
class Wiring:
    """All nodes with their shapes and dynamics, to be followed back.

    Parameters
    ----------
    graph : NirGraph
    taken, shapes : dict
        What each node takes and what it gives, as NIR counts dimensions.
    silent : mapping of node → Neurons
        Those that integrate and do not fire.
    step : float
        What a step is in the file's unit of time.
    """

    graph: NirGraph
    taken: Mapping[str, Shape]
    shapes: Mapping[str, Shape]
    silent: Mapping[str, Neurons]
    step: float
    losses: list[Loss] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._before = self.graph.predecessors()
        self._layers: dict[str, Layer] = {}
        self._delays: set[str] = set()
        self._n_weights = 0

    def into(self, sink: str, shape: Shape) -> tuple[list[Way], list[Constant]]:
        """Return all ways that end at a node's input, of this shape (as NIR counts dimensions), and the constants.

        Raises
        ------
        FileFormatError
            There are too many ways, or weights along them; a filter cannot be moved behind what follows it.
        """
        node = self.graph.nodes[sink]
        start = Way(source="", map=identity(graph_shape(shape, node.where), graph_shape(shape, node.where), node.where))
        todo = [(before, start) for before in reversed(self._before[sink])]
        ways: list[Way] = []
        constants: list[Constant] = []
        n_left_out = 0
        while todo:
            name, way = todo.pop()
            if len(todo) + len(ways) + n_left_out > _MOST_WAYS:
                what = f"is reached on more than {_MOST_WAYS} ways"
                raise FileFormatError(node.where, what, "write branches that meet again as one layer")
            if way.map.source != self._given(name):
                reshaped = identity(self._given(name), way.map.source, self.graph.nodes[name].where)
                way = replace(way, map=compose(way.map, reshaped))
            if self.graph.nodes[name].type in FIRING | {"Input"}:
                if way.map.op.weight.any():
                    ways.append(replace(way, source=name))
                else:
                    n_left_out += 1
                    what = f"all weights on a way from {name} are 0: it is left out"
                    self.losses.append(Loss(node=sink, attribute="weight", effect="none", what=what))
                continue
            for earlier, constant in self._through(name, way):
                if constant is not None and constant.value.any():
                    constants.append(constant)
                if earlier is not None:
                    self._count(earlier.map, way.map)
                    todo += [(before, earlier) for before in reversed(self._before[name])]
        return ways, constants

    def _count(self, made: LinearMap, of: LinearMap) -> None:
        """Refuse a file that multiplies its weights along so many ways that they do not fit into memory."""
        if made.op.weight is not of.op.weight:
            self._n_weights += made.op.weight.size
        if self._n_weights > _MOST_WEIGHTS:
            what = (
                f"is on so many ways that {self._n_weights} weights would be multiplied, the limit is {_MOST_WEIGHTS}"
            )
            raise FileFormatError(made.where, what, "put neurons between branches and what they lead to")

    def _given(self, name: str) -> Shape:
        return graph_shape(self.shapes[name], self.graph.nodes[name].where)

    def _through(self, name: str, way: Way) -> Iterator[tuple[Way | None, Constant | None]]:
        """Yield the way from the input of a node that does not spike, and what the node adds on it."""
        node = self.graph.nodes[name]
        if node.type == "Delay":
            for steps, part in self._delayed(name, node, way.map):
                yield replace(way, map=part, delay_steps=way.delay_steps + steps), None
        elif node.type in SILENT:
            yield from self._filtered(node, self.silent[name], way)
        else:
            layer = self._layer(name)
            constant = None
            if layer.bias is not None:
                value = way.map.apply(layer.bias)
                constant = Constant(value=value, delay_steps=way.delay_steps, filters=way.filters)
            called = way.name or (name if node.type in _WEIGHTED else "")
            yield replace(way, map=compose(way.map, layer.map), name=called), constant

    def _layer(self, name: str) -> Layer:
        if name not in self._layers:
            self._layers[name] = layer_of(self.graph.nodes[name], self.taken[name])
        return self._layers[name]

    def _filtered(self, node: NirNode, filter_: Neurons, way: Way) -> Iterator[tuple[Way | None, Constant | None]]:
        shape = way.map.source
        kept = tuple(_behind(stage, shape, way.map, node.where) for stage in filter_.stages)
        if filter_.bias.any():
            value = way.map.apply(np.array(per_neuron(filter_.bias, shape)))
            yield None, Constant(value=value, delay_steps=way.delay_steps, filters=kept[-1:] + way.filters)
        earlier = compose(way.map, scaled(shape, filter_.gain, node.where))
        yield replace(way, map=earlier, filters=kept + way.filters), None

    def _delayed(self, name: str, node: NirNode, behind: LinearMap) -> Iterator[tuple[int, LinearMap]]:
        shape = behind.source
        exact = spread(node["delay"], shape, f"{node.where}: delay").astype(np.float64) / self.step
        if not np.isfinite(exact).all():
            raise FileFormatError(f"{node.where}: delay", "is infinite", "give seconds")
        steps = np.rint(exact)
        error = float(abs(exact - steps).max())
        if error > 1e-3 and name not in self._delays:  # less is the rounding of float32
            what = f"rounded to whole steps of {self.step:g}, by at most {error:.3g} steps"
            self.losses.append(Loss(node=name, attribute="delay", effect="approximated", what=what, error=error))
        self._delays.add(name)
        distinct = np.unique(steps)
        if len(distinct) > _MOST_WAYS:
            what = f"holds {len(distinct)} different delays, the limit is {_MOST_WAYS}"
            raise FileFormatError(f"{node.where}: delay", what, "round them")
        for one in distinct:
            part = behind if len(distinct) == 1 else masked(behind, np.array(per_neuron(steps == one, shape)))
            yield int(min(one, 1 << 20)), part


def _behind(kept: Array, shape: Shape, way: LinearMap, where: str) -> Array:
    """Return what a filter keeps, once it stands behind the linear map that follows it."""
    if kept.ndim == 0:
        return kept
    if not way.keeps_neurons:
        what = (
            "has time constants that differ, and is followed by weights; analogue values do not travel along synapses"
        )
        raise FileFormatError(where, what, "give all its neurons the same time constant, or let it end at an output")
    return reduced(np.array(per_neuron(kept, shape)).reshape(way.target), way.target)


def shapes_of(graph: NirGraph) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """Return the shapes that each node takes and gives, as NIR counts dimensions, from the inputs on.

    Raises
    ------
    FileFormatError
        Two edges bring different numbers of neurons to one node; a loop has no neurons in it.
    """
    before = graph.predecessors()
    passive: nx.DiGraph[str] = nx.DiGraph(
        edge for edge in graph.edges if not {graph.nodes[end].type for end in edge} & (FIRING | {"Input"})
    )
    try:
        loop = [source for source, _ in nx.find_cycle(passive)]
    except nx.NetworkXNoCycle:
        loop = []
    if loop:
        what = f"has the loop {' → '.join([*loop[:8], loop[0]])}, in which nothing fires"
        raise FileFormatError(graph.nodes[loop[0]].where, what, "put neurons that fire into the loop")
    after: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in sorted(graph.edges):
        after[source].append(target)
    todo = [name for name, node in graph.nodes.items() if node.type == "Input"]
    shapes: dict[str, Shape] = {name: _without_batch(graph, name, after[name]) for name in todo}
    taken = dict(shapes)
    while todo:
        name = todo.pop(0)
        for target in after[name]:
            if target not in shapes:
                taken[target] = shapes[name]
                shapes[target] = _given(graph.nodes[target], shapes[name])
                todo.append(target)
    unreached = sorted(set(graph.nodes) - set(shapes))
    if unreached:
        what = "is not reached from any input"
        raise FileFormatError(graph.nodes[unreached[0]].where, what, "connect it, or take it out")
    for name, sources in before.items():
        sizes = {prod(shapes[source]) for source in sources}
        if len(sizes) > 1:
            found = ", ".join(f"{shapes[source]} of {source}" for source in sources[:4])
            raise FileFormatError(graph.nodes[name].where, f"gets shapes that do not add up: {found}", "make them meet")
        declared = graph.nodes[name].fields.get("shape", shapes[name])
        if prod(declared) != prod(shapes[name]):
            what = f"declares the shape {declared}, and gets {shapes[name]}"
            raise FileFormatError(graph.nodes[name].where, what, "make them meet")
    return taken, shapes


def _without_batch(graph: NirGraph, name: str, after: list[str]) -> Shape:
    """Return an input's shape without leading ones of batch and time, as Norse and Rockpool write them."""
    declared: Shape = graph.nodes[name]["shape"]
    shape = declared
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    matrices = [graph.nodes[target] for target in after if graph.nodes[target].type in ("Affine", "Linear")]
    if shape == declared or len(matrices) != len(after) or not matrices:
        return declared
    if any(node["weight"].shape[1] != prod(shape) for node in matrices):
        return declared
    graph.facts.append(f"{name} declares the shape {declared}: the 1 in front is the batch's")
    return shape


def _given(node: NirNode, shape: Shape) -> Shape:
    """Return the shape that a node gives when it gets this one."""
    if node.type in LINEAR:
        return layer_of(node, shape).shape
    own = [value.shape for value in node.fields.values() if value.ndim and value.size == prod(shape)]
    longest = max(own, key=len, default=())
    return longest if own and (prod(shape) > 1 or len(longest) > len(shape)) else shape
