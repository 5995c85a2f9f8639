"""One step of a whole graph as ONNX nodes, and what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spikegraph.export import fixed
from spikegraph.export.connectivity import Shape
from spikegraph.export.graph import Graph
from spikegraph.export.onnx.neurons import NeuronStep, state_of
from spikegraph.export.onnx.nodes import INT16, INT32, INT64, UINT8, Nodes
from spikegraph.export.onnx.ranges import Ranges
from spikegraph.export.onnx.synapses import current
from spikegraph.export.order import topological_order

STATES = {
    "u": f"synaptic current, after it was wrapped into ±2^{fixed.STATE_BITS - 1}",
    "v": f"membrane potential after reset, ±(2^{fixed.STATE_BITS - 1} - 1)",
    "held": "steps for which v stays 0 yet",
    "n_spikes": "spikes so far",
    "past": "spikes of the last steps, the latest last",
}


@dataclass(frozen=True, kw_only=True)
class State:
    """Something that is remembered from step to step.

    Parameters
    ----------
    node, variable : str
        Which input or population, and one of `STATES`.
    type : int
        ONNX type.
    shape : tuple of int
        Without the batch, which comes first.
    """

    node: str
    variable: str
    type: int
    shape: Shape

    @property
    def name(self) -> str:
        """Name of its value after the step; before it, `/last` follows."""
        return f"{self.node}/{self.variable}"


def spike_type(graph: Graph, name: str) -> int:
    """ONNX type of the spikes of an input or population."""
    return INT16 if name in graph.inputs and graph.inputs[name].graded else UINT8


def states_of(graph: Graph) -> list[State]:
    """List what a graph remembers."""
    states = [
        State(node=name, variable=variable, type=INT32, shape=p.shape)
        for name, p in graph.populations.items()
        for variable in state_of(p)
    ]
    for name in [*graph.inputs, *graph.populations]:
        longest = max((p.delay_steps for p in graph.projections.values() if p.source == name), default=0)
        if longest:
            shape = (longest, *graph.shape_of(name))
            states.append(State(node=name, variable="past", type=spike_type(graph, name), shape=shape))
    return states


class Step:
    """The nodes of one step.

    Parameters
    ----------
    nodes : Nodes
    graph : Graph
        Legal.
    chosen : Ranges
    states : sequence of State
    """

    def __init__(self, nodes: Nodes, graph: Graph, chosen: Ranges, states: Sequence[State]) -> None:
        self.nodes, self.graph, self.chosen = nodes, graph, chosen
        self.states = {state.name: state for state in states}

    def last(self, state: str) -> str:
        """Value of a state before the step."""
        return f"{self.nodes.prefix}{state}/last"

    def run(self) -> dict[str, str]:
        """Add the nodes; return the value of each variable and state by its name, such as "hidden/v"."""
        spikes, values = {name: f"{self.nodes.prefix}{name}" for name in self.graph.inputs}, dict[str, str]()
        for name in topological_order(self.graph):
            currents = []
            for p_name, p in self.graph.into(name).items():
                arriving = self._past(p.source, p.delay_steps, p_name) if p.delay_steps else spikes[p.source]
                currents.append(current(self.nodes, arriving, self.graph, p_name, self.chosen))
            values |= {f"{name}/{variable}": value for variable, value in self._neurons(name, currents).items()}
            spikes[name] = values[f"{name}/s"]
        past = [state for state in self.states.values() if state.variable == "past"]
        return values | {state.name: self._remembered(state, spikes[state.node]) for state in past}

    def _neurons(self, name: str, currents: list[str]) -> dict[str, str]:
        population, neuron = self.graph.populations[name], self.chosen.neurons[name]
        last = {variable: self.last(f"{name}/{variable}") for variable in state_of(population)}
        if not currents and "u" not in last:
            first = f"{self.nodes.prefix}{next(iter(self.graph.inputs))}"
            n_samples = self.nodes.add("Shape", [first], f"{name}/samples", start=0, end=1)
            currents = [zeros(self.nodes, n_samples, population.shape, neuron.current_type, f"{name}/no_current")]
        return NeuronStep(self.nodes, name, population, neuron, last).run(currents)

    def _past(self, source: str, delay_steps: int, name: str) -> str:
        """Take the spikes of `delay_steps` ago."""
        state = self.states[f"{source}/past"]
        at = self.nodes.number(state.shape[0] - delay_steps, INT64)
        return self.nodes.add("Gather", [self.last(state.name), at], f"{name}/arriving", axis=1)

    def _remembered(self, state: State, spikes: str) -> str:
        """Put the spikes of this step behind those before, and drop the oldest."""
        first, end, axis = (self.nodes.numbers([n]) for n in (1, state.shape[0], 1))
        latest = self.nodes.add("Unsqueeze", [spikes, axis], f"{state.name}/latest")
        kept = self.nodes.add("Slice", [self.last(state.name), first, end, axis], f"{state.name}/kept")
        return self.nodes.add("Concat", [kept, latest], state.name, axis=1)


def zeros(nodes: Nodes, n_samples: str, shape: Shape, of: int, name: str) -> str:
    """Make zeros (B, *shape); `n_samples` is a value of int64 (1,)."""
    whole = nodes.add("Concat", [n_samples, nodes.numbers(shape)], f"{name}/shape", axis=0)
    return nodes.zeros(whole, of, name)
