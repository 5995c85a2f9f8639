"""A `.net` file → an integer graph, layer by layer; what a file cannot say plainly is said in the loss report."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.check import require_legal
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.container.foreign import read_foreign
from spikegraph.export.demands import as_asked
from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Dense, Graph, Input, OneToOne, Output, Population, Projection
from spikegraph.export.loss import Loss, LossReport
from spikegraph.export.netx.delays import with_delays
from spikegraph.export.netx.input_range import spread, with_offset
from spikegraph.export.netx.members import Members
from spikegraph.export.netx.neurons import neurons_of
from spikegraph.export.netx.synapses import COMPLEX, convolution, fits, matrix, pool

MAX_BYTES = 2 << 30  # a network as large as all of a chip's synapses is far smaller
INPUT, OUTPUT = "input", "out"
INPUT_WEIGHT = 64  # lava-dl's own, where an input with neurons has none
REFUSED = {
    "convT": "transposed convolutions do not exist here",
    "unpool": "spikes that are spread over a window do not exist here",
    "concat": "branches do not exist in a file whose layers follow each other",
    "dense_comp": COMPLEX,
}
_OF_SYNAPSES = {"weight", "bias", "delay", "neuron"}
_KNOWN = {
    "input": {"weight", "bias", "neuron"},
    "dense": _OF_SYNAPSES | {"inFeatures", "outFeatures"},
    "dense_rec": _OF_SYNAPSES | {"inFeatures", "outFeatures", "weight_rec"},
    "conv": _OF_SYNAPSES | {"inChannels", "outChannels", "kernelSize", "stride", "padding", "dilation", "groups"},
    "pool": _OF_SYNAPSES | {"kernelSize", "stride", "padding", "dilation"},
    "flatten": set(),
    "average": set(),
}


def load_netx(path: Path, assumed: Assumptions) -> tuple[Graph | FloatGraph, LossReport]:
    """Read a `.net` file.

    Returns
    -------
    Graph
        Population of layer i: `layer<i>`. Layers pass spikes on within a step, as lava-dl trains them but for a delay
        of one step each; `passes.pipelined` makes it a chip's clock.
    LossReport

    Raises
    ------
    FileFormatError, GraphError
        The file is damaged, does not fit together, or holds what does not exist here.
    OptionError
        The file does not say how long a sample is, and nor does `assumed`.
    """
    tree = read_foreign(path, wrote="lava-dl", max_bytes=MAX_BYTES)
    file = Members(tree, f"{path}:")
    network = _Network(assumed)
    for i, layer in enumerate(_layers(file)):
        network.add(i, layer)
    rest = replace(assumed, max_value=None, input_range=None if network.has_input_neurons else assumed.input_range)
    graph, changed = as_asked(network.graph(path, _n_steps(file, path, assumed)), rest)
    require_legal(graph)
    losses = [*network.losses, *_unknown(file, "graph", {"layer", "simulation"}), *changed]
    return graph, LossReport(step=f"read {path.name}", facts=network.facts, losses=losses)


def _n_steps(file: Members, path: Path, assumed: Assumptions) -> int:
    simulation = file.group("simulation") if "simulation" in file else Members({}, path.name)
    if "tSample" not in simulation:
        if assumed.n_steps is not None:
            return assumed.n_steps
        raise OptionError(str(path), "does not say how many steps a sample lasts", "say it: --n-steps")
    length, step = simulation.integer("tSample"), simulation.integer("Ts", 1)
    if step < 1 or length % step:
        raise simulation.refusal("tSample", f"is {length}, no multiple of Ts = {step}")
    return length // step


def _layers(file: Members) -> list[Members]:
    layers = file.group("layer")
    n = len(layers.tree)
    if set(layers.tree) != {str(i) for i in range(n)}:
        named = ", ".join(sorted(layers.tree)[:8])
        raise FileFormatError(layers.where, f"holds {named}, expected layers 0 to {n - 1}", "export the network again")
    if not n:
        raise FileFormatError(layers.where, "is empty", "export the network again")
    return [layers.group(str(i)) for i in range(n)]


def _unknown(members: Members, node: str, known: set[str]) -> list[Loss]:
    what = "is not a member that lava-dl writes"
    return [Loss(node=node, attribute=name, effect="dropped", what=what) for name in members.others(known)]


@dataclass(frozen=True, kw_only=True)
class _Feed:
    """The synapses onto a layer, and how late the spikes of each source neuron, or onto each target neuron, are."""

    name: str
    projection: Projection
    source: Shape
    of_source: Array
    of_target: Array = field(default_factory=lambda: np.array(0))


@dataclass
class _Network:
    """The graph as far as it was read; `last` is where spikes come from, `delays` how late each of its lines is."""

    assumed: Assumptions
    inputs: dict[str, Input] = field(default_factory=dict)
    populations: dict[str, Population] = field(default_factory=dict)
    feeds: list[_Feed] = field(default_factory=list)
    loops: dict[str, Projection] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    last: str = ""
    delays: Array = field(default_factory=lambda: np.array(0))
    spikes: bool = True
    reads_v: bool = False
    coding: InputCoding | None = None
    has_input_neurons: bool = False
    classes: int = 0

    def add(self, i: int, layer: Members) -> None:
        """Add one layer."""
        kind = layer.text("type")
        if kind not in _KNOWN:
            what = REFUSED.get(kind, "a layer of a kind that is not known")
            raise layer.refusal("type", f"is {kind!r}: {what}", f"use layers of the kinds {', '.join(_KNOWN)}")
        if self.classes or not self.spikes:
            raise layer.refusal("type", f"is {kind!r}, but no spikes leave the layer before", "end the network there")
        node = f"population layer{i}"
        self.losses += _unknown(layer, node, _KNOWN[kind] | {"type", "shape"})
        if kind == "input":
            self._input(i, layer)
        elif kind in ("flatten", "average"):
            self._no_neurons(layer, kind)
        else:
            self._synapses(i, layer, kind)

    def graph(self, path: Path, n_steps: int) -> Graph:
        """Return the whole."""
        if self.last not in self.populations:
            raise FileFormatError(str(path), "has no layer of neurons", "export the network again")
        if self.delays.any():
            self._delay_the_last(path)
        output = Output(population=self.last, variable="v" if self.reads_v else "s")
        if self.reads_v:
            self.facts.append(f"population {self.last}: the threshold is as good as out of reach: its v is read")
        readout, n = None, self.populations[self.last].n
        if n > 1:
            n_each = n // self.classes if self.classes else 1
            readout = Readout(kind="membrane" if self.reads_v else "count", output=OUTPUT, neurons_per_class=n_each)
            said = "averages the spikes of" if self.classes else "does not say; assumed: the largest of"
            self.facts.append(f"decision: the file {said} {n} neurons, {n_each} for each class ({readout.kind})")
        return Graph(
            inputs=self.inputs,
            populations=self.populations,
            projections=self._projections(),
            outputs={OUTPUT: output},
            n_steps=n_steps,
            coding=self.coding,
            readout=readout,
            provenance={"format": "netx", "file": path.name},
        )

    @property
    def _shape(self) -> Shape:
        return (self.inputs if self.last in self.inputs else self.populations)[self.last].shape

    def _input(self, i: int, layer: Members) -> None:
        if self.last:
            raise layer.refusal("type", f"is 'input', but layer {i} is not the first", "export the network again")
        shape, largest = layer.shape(), self.assumed.max_value
        shape = (1, *shape) if len(shape) == 2 else shape
        self.last = INPUT
        if "neuron" not in layer:
            if "weight" in layer or "bias" in layer:
                raise layer.refusal("neuron", "is missing, beside a weight or bias", "export the network again")
            self.inputs[INPUT] = _input(shape, largest)
            return
        self.has_input_neurons = True
        weight = layer.integer("weight", INPUT_WEIGHT)
        steps, offset = spread(weight, self.assumed.input_range)
        one = max(abs(steps), 1)  # what stands for x = 1
        largest = one if largest is None else largest
        self.inputs[INPUT] = Input(shape=shape, min_value=-largest, max_value=largest)
        if one <= largest:
            self.coding = InputCoding(kind="direct", max_value=one)
            self.facts.append(f"layer 0: x becomes the integer round({one} · x), in every step: direct coding")
        else:
            what = f"{largest}, in place of {one}: a spike carries no more, and so the file's direct code is left out"
            self.losses.append(Loss(node=f"input {INPUT}", attribute="max_value", effect="approximated", what=what))
        self._neurons(i, layer, shape)
        if self.assumed.input_range is None:
            self.facts.append("layer 0: x is 0…1 as the data have it; if it was trained on others, say --input-range")
        elif offset:
            self.populations[f"layer{i}"] = with_offset(self.populations[f"layer{i}"], offset)
            self.facts.append(f"layer 0: {offset} · 64 in its bias is what 0 of the data was trained as")
        if (self.populations[f"layer{i}"].decay_u != 4096).any():
            said = "the input passes through u, as in training; a chip that is fed through its biases skips u"
            self.facts.append(f"layer 0: {said}")
        self._feed(i, OneToOne(source=INPUT, target=f"layer{i}", weight=np.sign(np.array(weight))), np.array(0))
        self.last = f"layer{i}"

    def _no_neurons(self, layer: Members, kind: str) -> None:
        n, found = prod(self._shape) if self.last else 0, prod(layer.shape())
        if kind == "flatten" and found != n:
            raise layer.refusal("shape", f"has {found} lines, the layer before has {n}", "export the network again")
        if kind == "average":
            if not n or n % found:
                raise layer.refusal("shape", f"has {found} classes, which {n} neurons do not share evenly")
            self.classes = found

    def _synapses(self, i: int, layer: Members, kind: str) -> None:
        target, shape = f"layer{i}", layer.shape()
        shape = (prod(shape),) if kind.startswith("dense") else shape
        if kind.startswith("dense") and not self.last:
            self.inputs[INPUT] = _input((matrix(layer, "weight", shape[0]).shape[1],), self.assumed.max_value)
            self.facts.append(f"the file has no input layer: {self.inputs[INPUT].n} lines, from the first weights")
            self.last = INPUT
        if not self.last:
            raise layer.refusal("type", f"is {kind!r}, but no layer says what shape its input has")
        source, delays = self.last, self.delays
        self._neurons(i, layer, shape)
        if kind == "conv":
            p: Projection = convolution(layer, source, target)
        elif kind == "pool":
            p = pool(layer, source, target, self._shape[0], flat=len(self._shape) == 1)
        else:
            p = Dense(source=source, target=target, weight=matrix(layer, "weight", shape[0]))
        fits(p, layer, self._shape, shape)
        self.delays = np.array(0)
        if "delay" in layer:
            delays = self._delay(layer, delays, shape)
        self._feed(i, p, delays)
        if kind == "dense_rec":
            weight = matrix(layer, "weight_rec", shape[0])
            if weight.shape[1] != shape[0]:
                raise layer.refusal("weight_rec", f"has shape {weight.shape}, expected ({shape[0]}, {shape[0]})")
            self.loops[f"rec_layer{i}"] = Dense(source=target, target=target, weight=weight, delay_steps=1)
        self.last = target

    def _neurons(self, i: int, layer: Members, shape: Shape) -> None:
        neurons = neurons_of(layer, shape, f"population layer{i}")
        self.populations[f"layer{i}"] = neurons.population
        self.spikes, self.reads_v = neurons.spikes, neurons.reads_v
        self.facts += neurons.facts
        self.losses += neurons.losses

    def _delay(self, layer: Members, incoming: Array, shape: Shape) -> Array:
        """Read a layer's delays: of its own spikes, or of those that arrive; return what delays those that arrive."""
        delay = layer.integers("delay").ravel()
        if (delay < 0).any() or (delay > 1 << 20).any():
            raise layer.refusal("delay", f"is {delay.min()}…{delay.max()} steps")
        n_source = prod(self._shape)
        if delay.size in (1, shape[0]):
            self.delays = delay[0].astype(np.int64) if delay.size == 1 else delay.astype(np.int64)
            return incoming
        if delay.size == n_source and len(shape) == 1:
            per_line = np.repeat(incoming, n_source // incoming.size) if incoming.ndim else incoming
            return np.asarray(per_line + delay)
        raise layer.refusal("delay", f"holds {delay.size} numbers, expected {shape[0]} or {n_source}")

    def _feed(self, i: int, p: Projection, of_source: Array) -> None:
        self.feeds.append(_Feed(name=f"into_layer{i}", projection=p, source=self._shape, of_source=of_source))

    def _projections(self) -> dict[str, Projection]:
        projections: dict[str, Projection] = {}
        for feed in self.feeds:
            parts = with_delays(feed.name, feed.projection, feed.source, feed.of_source, feed.of_target)
            projections.update(parts)
            if len(parts) > 1:
                what = f"{len(parts)} projections, one for each delay, because neurons differ in theirs"
                self.losses.append(Loss(node=f"projection {feed.name}", attribute="delay", effect="none", what=what))
        return {**projections, **self.loops}

    def _delay_the_last(self, path: Path) -> None:
        """Delay what arrives at the last layer in place of what leaves it: the same where nothing else drives it."""
        feed, population = self.feeds[-1], self.populations[self.last]
        if population.bias_mant.any() or f"rec_{self.last}" in self.loops:
            what = "the last layer delays its spikes, which begin before any arrive: it has a bias or feeds itself"
            raise FileFormatError(str(path), what, "leave out the delays of the last layer")
        self.feeds[-1] = replace(feed, of_target=self.delays)
        self.facts.append(f"{self.last}: its delays are those of its synapses, because an output has none")


def _input(shape: Shape, largest: int | None) -> Input:
    return Input(shape=shape) if largest is None else Input(shape=shape, max_value=largest)
