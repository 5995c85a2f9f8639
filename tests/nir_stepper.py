"""NIR stepped through node by node, with analogue values on every edge: what an import is held against.

Written from docs/nir.md, and not from the importer: one state per node, PyTorch's layers, float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx as nx
import nir
import numpy as np
import torch
from torch.nn import functional

Array = np.ndarray[Any, np.dtype[np.float64]]


class Stepper:
    """A NIR graph under plain Euler steps of dt seconds, v > v_threshold, v_reset at once (the convention "lava")."""

    def __init__(self, graph: nir.NIRGraph, dt: float) -> None:
        self.nodes, self.edges, self.dt = graph.nodes, graph.edges, dt
        self.state: dict[str, Any] = {}
        self.back = self._back_edges()
        ahead: nx.DiGraph[str] = nx.DiGraph([edge for edge in graph.edges if edge not in self.back])
        ahead.add_nodes_from(graph.nodes)
        self.order = list(nx.topological_sort(ahead))
        self.last: dict[str, Array] = {}

    def _back_edges(self) -> set[tuple[str, str]]:
        """Edges whose removal leaves no loop: those into a neuron from something that it drives."""
        back: set[tuple[str, str]] = set()
        while True:
            full: nx.DiGraph[str] = nx.DiGraph([edge for edge in self.edges if edge not in back])
            try:
                loop = nx.find_cycle(full, orientation=None)
            except nx.NetworkXNoCycle:
                return back
            starts = [edge for edge in loop if edge[1] in self.first_reached(loop)]
            back.add((starts[0][0], starts[0][1]))

    def first_reached(self, loop: list[tuple[str, str]]) -> set[str]:
        """Return the node of a loop that lies nearest to an input."""
        full: nx.DiGraph[str] = nx.DiGraph(self.edges)
        inputs = [name for name, node in self.nodes.items() if isinstance(node, nir.Input)]
        far = {name: n for one in inputs for name, n in nx.single_source_shortest_path_length(full, one).items()}
        return {min((edge[1] for edge in loop), key=lambda name: far[name])}

    def step(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Take one step; return what every node gives."""
        now: dict[str, Array] = {}
        for name in self.order:
            x: Any = None
            for source, target in self.edges:
                if target == name:
                    found = self.last.get(source) if (source, target) in self.back else now[source]
                    if found is not None:
                        x = found if x is None else x + found.reshape(x.shape)
            node = self.nodes[name]
            now[name] = given[name] if isinstance(node, nir.Input) else self.node(name, node, x)
        self.last = now
        return now

    def node(self, name: str, node: Any, x: Any) -> Any:
        """Return what a node gives for an input."""
        if isinstance(node, nir.Output):
            return x
        if isinstance(node, nir.Flatten):
            return torch.flatten(torch.tensor(x), node.start_dim, node.end_dim).numpy()
        if isinstance(node, nir.Affine | nir.Linear):
            y = functional.linear(torch.tensor(x), torch.tensor(node.weight))
            return y.numpy() + getattr(node, "bias", 0)
        if isinstance(node, nir.Scale):
            return x * node.scale
        if isinstance(node, nir.Conv1d | nir.Conv2d):
            conv = functional.conv1d if isinstance(node, nir.Conv1d) else functional.conv2d
            geometry = [_plain(v) for v in (node.stride, node.padding, node.dilation)]
            weight, bias = torch.tensor(node.weight), torch.tensor(node.bias)
            return conv(torch.tensor(x)[None], weight, bias, *geometry, node.groups)[0].numpy()
        if isinstance(node, nir.AvgPool2d | nir.SumPool2d):
            sizes = [_plain(v) for v in (node.kernel_size, node.stride, node.padding)]
            y = functional.avg_pool2d(torch.tensor(x)[None], *sizes)[0].numpy()
            return y * np.prod(node.kernel_size) if isinstance(node, nir.SumPool2d) else y
        if isinstance(node, nir.Delay):
            steps = np.rint(node.delay / self.dt).astype(int)
            past = self.state.setdefault(name, [])
            past.append(x)
            delayed = [past[-1 - k].ravel()[i] if k < len(past) else 0.0 for i, k in enumerate(steps.ravel())]
            return np.array(delayed).reshape(x.shape)
        return self.neurons(name, node, x)

    def neurons(self, name: str, node: Any, x: Any) -> Any:
        """Return the spikes or the potential of neurons."""
        if isinstance(node, nir.Threshold):
            return (x > node.threshold).astype(np.float64)
        u, v = self.state.get(name, (0.0, 0.0))
        if isinstance(node, nir.CubaLI | nir.CubaLIF):
            u = u - self.dt / node.tau_syn * u + self.dt / node.tau_syn * node.w_in * x
            v = v + self.dt / node.tau_mem * (node.v_leak - v + node.r * u)
        elif isinstance(node, nir.I | nir.IF):
            v = v + node.r * self.dt * x
        else:
            v = v + self.dt / node.tau * (node.v_leak - v + node.r * x)
        if not hasattr(node, "v_threshold"):
            self.state[name] = (u, v)
            return v
        s = v > node.v_threshold
        self.state[name] = (u, np.where(s, node.v_reset, v))
        return s.astype(np.float64)


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else tuple(int(n) for n in np.ravel(value)) if np.ndim(value) else int(value)
