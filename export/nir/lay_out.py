"""A float graph laid out as nodes and edges of NIR, and what NIR's nodes cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.errors import FileFormatError
from spikegraph.export.fixed import DECAY_ONE
from spikegraph.export.float_graph import (
    FloatConv2d,
    FloatDense,
    FloatGraph,
    FloatOneToOne,
    FloatPopulation,
    FloatProjection,
    FloatSparse,
    FloatSumPool2d,
)
from spikegraph.export.graph import Graph
from spikegraph.export.loss import Loss
from spikegraph.export.nir.constants import constants_of
from spikegraph.export.nir.conventions import Convention
from spikegraph.export.nir.laid import Laid
from spikegraph.export.nir.stages import Stages, bias_by_channel, leaks, stages_of
from spikegraph.export.nir.windows import in_type_of

_LARGEST = 1 << 27  # weights of one matrix


def lay_out(graph: FloatGraph, convention: Convention, dt: float, integer: Graph | None) -> Laid:
    """Return the nodes of NIR that mean, under a convention with steps of dt seconds, what a float graph does.

    `integer`: the graph that it stands for, where it does; its losses are then told of it.
    """
    return _Layout(graph, convention, dt, integer).laid


class _Layout:
    def __init__(self, graph: FloatGraph, convention: Convention, dt: float, integer: Graph | None) -> None:
        self.graph, self.convention, self.dt = graph, convention, dt
        self.laid = Laid()
        self.shapes = {name: _nir_shape(graph, name) for name in (*graph.inputs, *graph.populations)}
        self.leaves: dict[str, str] = {}  # what carries a node's spikes
        self.enters: dict[str, str] = {}  # what takes a population's input
        self.biased: dict[str, str] = {}  # what a bias is added to
        for name, node in graph.inputs.items():
            self.leaves[name] = self.laid.add(name, {"type": "Input", "shape": np.array(node.shape)})
            if node.graded:
                what = f"spikes of {node.min_value}…{node.max_value}: NIR does not say what an input carries"
                self.laid.lose(f"input {name}", "max_value", "dropped", what)
        constants, brought = constants_of(graph)
        self.brought = {name: np.array(value) for name, value in brought.items() if name not in constants}
        biases = {name: self._population(name) for name in graph.populations if name not in constants}
        for name, p in graph.projections.items():
            if p.source not in constants:
                self._projection(name, p, biases[p.target])
        for name, bias in biases.items():
            if bias is not None:
                self._constant(name, bias, self.biased[name])
        for name, value in self.brought.items():
            self._constant(name, value, self.enters[name])
        self._outputs()
        self._beside(integer)

    def _population(self, name: str) -> Array | None:
        """Add the nodes of a population; return the bias that is still to be brought in."""
        population, laid = self.graph.populations[name], self.laid
        taps: set[str] = {o.variable for o in self.graph.outputs.values() if o.population == name}
        drives = any(p.source == name for p in self.graph.projections.values())
        fires = drives or taps != {"v"} or population.reset != "none"
        into = self.graph.into(name).values()
        has_current = bool(np.any(np.asarray(population.tau_syn) > 0))
        holders = [p for p in into if not has_current and _holds_bias(p, population)]
        biased = bool(population.bias.any())
        in_leak = biased and not holders and leaks(population, self.graph.dt)
        stages = stages_of(
            population, self.shapes[name], self.convention, (self.graph.dt, self.dt), fires=fires, bias=in_leak
        )
        before = ""
        for suffix, fields in stages.nodes.items():
            own = laid.add(f"{name}{suffix}", dict(fields))
            if before:
                laid.edges[before, own] = None
            else:
                self.enters[name] = own
            if suffix == stages.biased:
                self.biased[name] = own
            before = own
        self.leaves[name] = before
        self._told(name, stages, fires=fires, taps=taps)
        return np.array(per_neuron(population.bias, population.shape)) if biased and not in_leak else None

    def _told(self, name: str, stages: Stages, *, fires: bool, taps: set[str]) -> None:
        population, laid, where = self.graph.populations[name], self.laid, f"population {name}"
        convention = self.convention
        does = convention.reset
        if fires and population.reset != "none" and (population.reset != does or convention.delayed_reset):
            late = ", one step late" if convention.delayed_reset else ""
            what = f"{population.reset}: NIR says v_reset only; for {convention.title} it is {does}{late}"
            laid.lose(where, "reset", "dropped", what)
        if population.refractory_steps > 1:
            laid.lose(where, "refractory_steps", "dropped", f"{population.refractory_steps}: NIR has no such period")
        if population.max_spikes:
            laid.lose(where, "max_spikes", "dropped", f"{population.max_spikes}: NIR has no such limit")
        if stages.almost:
            what = "neurons that keep all of a state are written with a time constant of 2^53 steps"
            laid.lose(where, "tau", "approximated", what)
        if fires and "v" in taps:
            laid.lose(where, "output variable", "dropped", "v: an edge of NIR leads spikes out of neurons that fire")
        if self.shapes[name] != population.shape:
            laid.lose(where, "shape", "none", f"{population.shape} is written as {self.shapes[name]}")

    def _projection(self, name: str, p: FloatProjection, bias: Array | None) -> None:
        laid, source, target = self.laid, self.shapes[p.source], self.shapes[p.target]
        chain: list[tuple[str, dict[str, Any]]] = []
        if p.delay_steps > (p.source == p.target):  # what leads back to itself comes one step later in any case
            unit = 1.0 if self.convention.in_steps else self.dt
            chain.append(("_delay", {"type": "Delay", "delay": np.full(source, p.delay_steps * unit)}))
        if (
            len(source) == 3
            and not isinstance(p, FloatConv2d | FloatSumPool2d)
            and (not isinstance(p, FloatOneToOne) or len(target) == 1)
        ):
            chain.append(("_flatten", _flatten(source)))
        holds = bias is not None and bias.any() and _holds_bias(p, self.graph.populations[p.target])
        holds = holds and self.enters[p.target] == self.biased[p.target]
        held = [bias] if holds and bias is not None else []
        brought = self.brought.get(p.target)
        if brought is not None and brought.any() and not p.delay_steps and _holds(p, brought):
            held.append(brought)
        chain += self._weighted(name, p, in_type_of(p.weight, sum(held[1:], held[0])) if held else None)
        for value in held:
            value[...] = 0
        before = self.leaves[p.source]
        for suffix, fields in chain:
            own = laid.add(f"{name}{suffix}", fields)
            if suffix == "" and isinstance(p, FloatDense | FloatConv2d):
                laid.weights[name] = own
            laid.edges[before, own] = None
            before = own
        laid.edges[before, self.enters[p.target]] = None
        folds = isinstance(p, FloatDense | FloatSparse) or (isinstance(p, FloatOneToOne) and len(source) == 1)
        if len(target) == 3 and folds:
            what = f"({prod(target)},) meets {target}: NIR folds nothing, and readers that check types refuse the file"
            laid.lose(f"projection {name}", "shape", "approximated", what)

    def _weighted(self, name: str, p: FloatProjection, bias: Array | None) -> list[tuple[str, dict[str, Any]]]:
        source, target = self.graph.shape_of(p.source), self.graph.shape_of(p.target)
        if isinstance(p, FloatConv2d):
            channels = np.zeros(len(p.weight), p.weight.dtype)
            if bias is not None:
                channels = np.array(bias[:, 0, 0])
            if len(set(p.weight.shape[2:])) > 1 or p.groups > 1:
                what = (
                    "nir 1.0.8 computes wrong shapes for kernels that are not square, and for groups: type_check=False"
                )
                self.laid.losses.append(Loss(node=f"projection {name}", attribute="types", effect="none", what=what))
            return [("", _conv(p, source, channels))]
        if isinstance(p, FloatSumPool2d):
            pool = {"kernel_size": p.kernel_size, "stride": p.stride, "padding": p.padding}
            fields: dict[str, Any] = {"type": "SumPool2d", **{key: np.array(value) for key, value in pool.items()}}
            by_weight = {"type": "Scale", "scale": np.full(target, p.weight)}
            return [("", fields)] + ([("_scale", by_weight)] if p.weight != 1 else [])
        if isinstance(p, FloatOneToOne):
            direct = (p.weight == 1).all() and not p.delay_steps and self.shapes[p.source] == self.shapes[p.target]
            if direct and (self.leaves[p.source], self.enters[p.target]) not in self.laid.edges:
                return []
            scale = np.array(per_neuron(p.weight, target)).reshape(self.shapes[p.target])
            return [("", {"type": "Scale", "scale": scale})]
        weight = p.weight if isinstance(p, FloatDense) else self._matrix(name, p, prod(source), prod(target))
        if bias is None and self.convention.takes_linear:
            return [("", {"type": "Linear", "weight": np.array(weight)})]
        bias = np.zeros(len(weight), weight.dtype) if bias is None else bias
        return [("", {"type": "Affine", "weight": np.array(weight), "bias": bias.ravel().copy()})]

    def _matrix(self, name: str, p: FloatSparse, n_source: int, n_target: int) -> Array:
        if n_source * n_target > _LARGEST:
            n = n_source * n_target
            what = f"is a list of {len(p.weight)} synapses; NIR knows matrices, and this one would have {n} weights"
            raise FileFormatError(f"projection {name}", what, "write the graph as .h5")
        listed = csr_array((p.weight.astype(np.float64), p.indices, p.indptr), shape=(n_source, n_target))
        what = f"{len(p.weight)} synapses are written as a matrix of {n_source * n_target}"
        self.laid.lose(f"projection {name}", "kind", "none", what)
        return np.ascontiguousarray(listed.toarray().T)  # synapses between the same two neurons add up

    def _constant(self, name: str, bias: Array, target: str) -> None:
        """Bring a bias in by a node of its own: weights of 0 from an input, and the bias."""
        if not bias.any():
            return
        source = min(self.graph.inputs, key=lambda one: self.graph.inputs[one].n)
        n_source = self.graph.inputs[source].n
        if bias.size * n_source > _LARGEST:
            what = f"has a bias that NIR holds as a matrix of 0 from {source} only, of {bias.size * n_source} weights"
            raise FileFormatError(f"population {name}", what, "write the graph as .h5")
        weight = np.zeros((bias.size, n_source), np.float32)
        before = self.leaves[source]
        if len(self.shapes[source]) == 3:
            flatten = self.laid.add(f"{name}_bias_flatten", _flatten(self.shapes[source]))
            self.laid.edges[before, flatten] = None
            before = flatten
        own = self.laid.add(f"{name}_bias", {"type": "Affine", "weight": weight, "bias": bias.ravel()})
        self.laid.edges[before, own] = None
        self.laid.edges[own, target] = None
        what = f"written as a node of its own, with weights of 0 from {source}"
        self.laid.lose(f"population {name}", "bias", "none", what)

    def _outputs(self) -> None:
        for name, output in self.graph.outputs.items():
            shape = np.array(self.shapes[output.population])
            own = self.laid.add(name, {"type": "Output", "shape": shape})
            self.laid.edges[self.leaves[output.population], own] = None

    def _beside(self, integer: Graph | None) -> None:
        """Tell what stands in the metadata alone."""
        laid, graph = self.laid, integer or self.graph
        laid.lose("graph", "n_steps", "none", f"{graph.n_steps}: NIR has no window")
        if graph.coding is not None:
            laid.lose(
                "graph", "coding", "dropped", f"{graph.coding.kind}: NIR does not say what makes the input spikes"
            )
        if graph.readout is not None:
            laid.lose("graph", "readout", "dropped", f"{graph.readout.kind}: NIR does not say how outputs decide")
        for name, p in self.graph.projections.items():
            if p.clip is not None:
                laid.lose(f"projection {name}", "clip", "none", f"{p.clip:g}: of use for quantization only")
        if integer is None:
            return
        decays = [decay for p in integer.populations.values() for decay in (p.decay_u, p.decay_v)]
        rounds = any(((decay != 0) & (decay != DECAY_ONE)).any() for decay in decays)
        what = "states of 24 bits, which may wrap or saturate: other readers compute in floating point"
        laid.lose("graph", "integers", "approximated", f"decays that round toward zero, and {what}" if rounds else what)
        for name, synapses in integer.projections.items():
            if synapses.weight_exp < 0:
                what = f"{synapses.weight_exp}: sums are not floored by other readers"
                laid.lose(f"projection {name}", "weight_exp", "approximated", what)
        for name, population in integer.populations.items():
            if population.start_step:
                what = f"{population.start_step}: NIR has no such step"
                laid.lose(f"population {name}", "start_step", "dropped", what)


def _nir_shape(graph: FloatGraph, name: str) -> Shape:
    """Return the shape in which a node is written: flat, where matrices lead to it and nothing asks for channels."""
    shape = graph.shape_of(name)
    touching = [p for p in graph.projections.values() if name in (p.source, p.target)]
    windows = any(isinstance(p, FloatConv2d | FloatSumPool2d) for p in touching)
    folded = any(isinstance(p, FloatDense | FloatSparse) and p.target == name for p in touching)
    return (prod(shape),) if folded and not windows and name in graph.populations else shape


def _holds_bias(p: FloatProjection, population: FloatPopulation) -> bool:
    """Tell whether a projection's node can bring in the bias of its target."""
    return not p.delay_steps and _holds(p, np.array(per_neuron(population.bias, population.shape)))


def _holds(p: FloatProjection, bias: Array) -> bool:
    return isinstance(p, FloatDense) or (isinstance(p, FloatConv2d) and bias_by_channel(bias, bias.shape) is not None)


def _flatten(shape: Shape) -> dict[str, Any]:
    return {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": np.array(shape)}


def _conv(p: FloatConv2d, source: Shape, bias: Array) -> dict[str, Any]:
    geometry: Mapping[str, Any] = {"stride": p.stride, "padding": p.padding, "dilation": p.dilation}
    return {
        "type": "Conv2d",
        "input_shape": np.array(source[1:]),
        "weight": np.array(p.weight),
        "groups": p.groups,
        "bias": bias,
        **{name: np.array(value) for name, value in geometry.items()},
    }
