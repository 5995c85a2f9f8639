"""A torch.nn.Module → the populations of a network and what feeds them, by symbolic tracing (torch.fx).

The module is run once on symbols in place of tensors. A symbol is either spikes on their way (`Spikes`: sources, with
the pooling, flattening and dropout they pass) or currents (`Currents`: spikes that have passed synapses). Neurons turn
currents into spikes again. What a graph cannot hold is refused, by the name of the module.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn

from spikegraph.export.connectivity import Shape
from spikegraph.export.errors import GraphError, Problem
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.traced import INPUT, Branch, Drop, Node, Norm, Route, Synapse, Traced

Passed = nn.Dropout | nn.Dropout2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.Flatten
_ADDITIONS = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True, kw_only=True)
class _Spikes:
    shape: Shape
    routes: tuple[Route, ...]


@dataclass(frozen=True, kw_only=True)
class _Currents:
    shape: Shape
    branches: tuple[Branch, ...]


_Symbol = _Spikes | _Currents


def _refusal(where: str, what: str, remedy: str) -> GraphError:
    return GraphError([Problem(where=where, what=what, remedy=remedy)])


class _LeavesNeurons(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LIF) or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module, input_shape: Shape) -> Traced:
    """Find the populations of a module.

    Parameters
    ----------
    module : nn.Module
        Its forward takes the spikes of one step and returns spikes of a population, or a tuple of such.
    input_shape : (n,) or (c, h, w)

    Raises
    ------
    GraphError
        The module does something that no spike graph can: the message names the module and the way out.
    """
    if len(input_shape) not in (1, 3):
        remedy = "give (n,), or (c, h, w) with c = 1 for images of one channel"
        raise _refusal("input", f"has the shape {input_shape}", remedy)
    try:
        graph = _LeavesNeurons().trace(module)
    except Exception as error:  # whatever the user's forward raises on symbols
        what = f"cannot be traced ({str(error).splitlines()[0]})"
        remedy = "let forward depend on no values: no `if` on tensors, no loop over steps"
        raise _refusal(type(module).__name__, what, remedy) from error
    return _Interpreter(module, input_shape).run(graph)


class _Interpreter:
    def __init__(self, module: nn.Module, input_shape: Shape) -> None:
        self.modules, self.input_shape = dict(module.named_modules()), input_shape
        self.nodes: list[Node] = []

    def run(self, graph: fx.Graph) -> Traced:
        symbols: dict[fx.Node, _Symbol] = {}
        outputs: tuple[str, ...] = ()
        for node in graph.nodes:
            named = [a for a in node.args if isinstance(a, fx.Node)]  # in x + x the same one twice
            arguments = [symbols[a] for a in named or node.all_input_nodes]
            if node.op == "placeholder":
                if symbols:
                    raise _refusal(node.name, "is a second input", "let forward take one argument, the spikes")
                symbols[node] = _Spikes(shape=self.input_shape, routes=(Route(source=INPUT),))
            elif node.op == "call_module":
                symbols[node] = self._module(str(node.target), arguments[0])
            elif node.op == "output":
                outputs = tuple(self._read(symbol) for symbol in arguments)
            else:
                symbols[node] = self._function(node, arguments)
        if not outputs:
            raise _refusal("output", "is nothing", "let forward return what an LIF returns, or a tuple of such")
        return Traced(nodes=tuple(self.nodes), outputs=outputs)

    def _read(self, symbol: _Symbol) -> str:
        names = {node.name for node in self.nodes}
        if isinstance(symbol, _Spikes) and len(symbol.routes) == 1:
            (route,) = symbol.routes
            if not route.path and route.source in names:
                return route.source
        raise _refusal("output", "is not the spikes of a population", "let forward return what an LIF returns")

    def _function(self, node: fx.Node, arguments: list[_Symbol]) -> _Symbol:
        if node.target in _ADDITIONS and len(arguments) == len(node.args) == 2 and not node.kwargs:
            return _sum(node.name, *arguments)
        if node.target in (torch.flatten, "flatten") and (node.args[1:] == (1,) or node.kwargs == {"start_dim": 1}):
            return _passed(node.name, nn.Flatten(), arguments[0])
        remedy = "use modules of torch.nn (Linear, Conv2d, BatchNorm, pooling, Flatten, Dropout), LIF and +"
        called = getattr(node.target, "__name__", node.target)
        raise _refusal(node.name, f"calls {called} in a way that no spike graph can hold", remedy)

    def _module(self, name: str, symbol: _Symbol) -> _Symbol:
        module = self.modules[name]
        if isinstance(module, nn.Identity):
            return symbol
        if isinstance(module, nn.Linear | nn.Conv2d):
            return _through_synapses(name, module, symbol)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            return _normalised(name, module, symbol)
        if isinstance(module, Passed):
            return _passed(name, module, symbol)
        if isinstance(module, nn.MaxPool2d):
            return self._relays(name, module, symbol)
        if isinstance(module, LIF):
            return self._neurons(name, module, symbol)
        what, remedy = f"is a {type(module).__name__}, which no spike graph can hold", "see docs/networks.md"
        raise _refusal(name, what, remedy)

    def _relays(self, name: str, pool: nn.MaxPool2d, symbol: _Symbol) -> _Spikes:
        if not isinstance(symbol, _Spikes):
            raise _refusal(name, "pools currents by their maximum", "put nn.MaxPool2d after the neurons")
        if len(symbol.routes) > 1 or _pools(symbol.routes[0]):
            raise _refusal(name, "pools more than single spikes", "put neurons (LIF) before nn.MaxPool2d")
        if pool.ceil_mode or pool.return_indices or pool.dilation not in (1, (1, 1)):
            raise _refusal(name, "uses ceil_mode, return_indices or dilation", "leave them at their defaults")
        pool = nn.MaxPool2d(_pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding))
        shape = _shape_after(name, pool, symbol.shape)
        relays = LIF(v_threshold=0.5, train_threshold=False)
        (route,) = symbol.routes
        kept = (*route.kept, *(part for part in route.path if isinstance(part, Drop)))
        return self._add(name, shape, relays, (Branch(routes=symbol.routes, synapse=pool),), kept)

    def _neurons(self, name: str, neurons: LIF, symbol: _Symbol) -> _Spikes:
        branches = _branches(name, symbol)
        if neurons.tau("syn") > 0 and any(branch.norm is not None for branch in branches):
            what = "has a synaptic current with a memory behind a batch norm, which then folds into no weights and bias"
            raise _refusal(name, what, "set tau_syn=0, or leave the batch norm out")
        if any(node.neurons is neurons for node in self.nodes):
            raise _refusal(name, "is used twice", "give each population an LIF of its own")
        if neurons.recurrent and len(symbol.shape) != 1:
            what = f"is recurrent and has shape {symbol.shape}"
            raise _refusal(name, what, "recurrent synapses join all neurons: use them after nn.Linear")
        neurons.bind(symbol.shape)
        return self._add(name, symbol.shape, neurons, branches)

    def _add(
        self, name: str, shape: Shape, neurons: LIF, branches: tuple[Branch, ...], kept: tuple[Drop, ...] = ()
    ) -> _Spikes:
        while name in {INPUT, *(node.name for node in self.nodes)}:  # a pool may well be used twice
            name += "_"
        self.nodes.append(Node(name=name, shape=shape, neurons=neurons, branches=branches))
        return _Spikes(shape=shape, routes=(Route(source=name, kept=kept),))


def _through_synapses(name: str, module: Synapse, symbol: _Symbol) -> _Currents:
    if not isinstance(symbol, _Spikes):
        raise _refusal(name, "follows other synapses without neurons between", "put an LIF between the two")
    if isinstance(module, nn.Conv2d) and (module.padding_mode != "zeros" or isinstance(module.padding, str)):
        what = f"pads with {module.padding!r} in mode {module.padding_mode!r}"
        raise _refusal(name, what, "pad with zeros, and give the padding as numbers")
    if isinstance(module, nn.Conv2d) and module.dilation != (1, 1) and any(_pools(route) for route in symbol.routes):
        raise _refusal(name, "is dilated behind an average pooling", "put neurons (LIF) behind the pooling")
    if isinstance(module, nn.Linear) and len(symbol.shape) != 1:
        raise _refusal(name, f"takes the shape {symbol.shape}", "put nn.Flatten() before it")
    branch = Branch(routes=symbol.routes, synapse=module)
    return _Currents(shape=_shape_after(name, module, symbol.shape), branches=(branch,))


def _normalised(name: str, module: Norm, symbol: _Symbol) -> _Currents:
    if not isinstance(symbol, _Currents) or len(symbol.branches) > 1:
        raise _refusal(name, "does not follow one nn.Linear or nn.Conv2d", "put the batch norm right behind one")
    if symbol.branches[0].norm is not None:
        raise _refusal(name, "follows a batch norm", "use one")
    if module.running_mean is None:
        raise _refusal(name, "keeps no running statistics", "leave track_running_stats at True")
    if len(symbol.shape) != (3 if isinstance(module, nn.BatchNorm2d) else 1):
        what = f"is a {type(module).__name__} for the shape {symbol.shape}"
        raise _refusal(name, what, "use nn.BatchNorm1d after nn.Linear, nn.BatchNorm2d after nn.Conv2d")
    if module.num_features != symbol.shape[0]:
        what = f"has {module.num_features} features for {symbol.shape[0]} channels"
        raise _refusal(name, what, "give it as many features as there are channels")
    return replace(symbol, branches=(replace(symbol.branches[0], norm=module),))


def _passed(name: str, module: Passed, symbol: _Symbol) -> _Spikes:
    if not isinstance(symbol, _Spikes):
        raise _refusal(name, "stands between synapses and neurons", "put it after the neurons (LIF)")
    if isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        module = _plain_pool(name, module, symbol)
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        raise _refusal(name, f"flattens from {module.start_dim} to {module.end_dim}", "leave nn.Flatten's defaults")
    if isinstance(module, nn.Flatten) and len(symbol.shape) == 1:
        return symbol  # flat already
    shape = _shape_after(name, module, symbol.shape)
    part = Drop(module=module) if isinstance(module, nn.Dropout | nn.Dropout2d) else module
    return _Spikes(shape=shape, routes=tuple(replace(r, path=(*r.path, part)) for r in symbol.routes))


def _plain_pool(name: str, pool: nn.AvgPool2d | nn.AdaptiveAvgPool2d, symbol: _Spikes) -> nn.AvgPool2d:
    """Average pooling whose windows lie side by side: what can be folded into the synapses behind it."""
    if len(symbol.shape) != 3:
        raise _refusal(name, f"pools the shape {symbol.shape}", "put it before nn.Flatten")
    height, width = symbol.shape[1:]
    if isinstance(pool, nn.AdaptiveAvgPool2d):
        if pool.output_size not in (1, (1, 1)):
            raise _refusal(name, f"pools to {pool.output_size}", "pool to 1, or use nn.AvgPool2d")
        pool = nn.AvgPool2d((height, width))
    kernel, stride = _pair(pool.kernel_size), _pair(pool.stride)
    if stride != kernel or _pair(pool.padding) != (0, 0) or pool.ceil_mode or pool.divisor_override:
        raise _refusal(name, "pools windows that overlap or are padded", "use nn.AvgPool2d(k) with its defaults")
    if any(_pools(route) for route in symbol.routes):
        raise _refusal(name, "follows another average pooling", "use one, with the product of their kernels")
    if height % kernel[0] or width % kernel[1]:
        raise _refusal(name, f"pools {height} x {width} by {kernel[0]} x {kernel[1]}", "choose a kernel that divides")
    return nn.AvgPool2d(kernel)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _pools(route: Route) -> tuple[Any, ...]:
    return tuple(module.kernel_size for module in route.path if isinstance(module, nn.AvgPool2d))


def _sum(name: str, a: _Symbol, b: _Symbol) -> _Symbol:
    if a.shape != b.shape:
        raise _refusal(name, f"adds shapes {a.shape} and {b.shape}", "bring both to one shape by a 1 x 1 convolution")
    if isinstance(a, _Spikes) and isinstance(b, _Spikes):
        if len({_pools(route) for route in (*a.routes, *b.routes)}) > 1:
            raise _refusal(name, "adds spikes that were pooled differently", "put neurons (LIF) behind the pooling")
        return _Spikes(shape=a.shape, routes=(*a.routes, *b.routes))
    return _Currents(shape=a.shape, branches=(*_branches(name, a), *_branches(name, b)))


def _branches(name: str, symbol: _Symbol) -> tuple[Branch, ...]:
    """Return what ends at neurons; spikes without synapses reach them one by one."""
    if isinstance(symbol, _Currents):
        return symbol.branches
    if any(isinstance(part, nn.Flatten) for route in symbol.routes for part in route.path):
        what = "takes flattened spikes neuron by neuron, which no spike graph can hold"
        raise _refusal(name, what, "put nn.Linear behind nn.Flatten, or leave nn.Flatten out")
    return (Branch(routes=symbol.routes),)


@torch.no_grad()
def _shape_after(name: str, module: nn.Module, shape: Shape) -> Shape:
    parameter = next(module.parameters(), None)
    zeros = torch.zeros(1, *shape, device=parameter.device if parameter is not None else None)
    try:
        return tuple(module(zeros).shape[1:])
    except (RuntimeError, ValueError, IndexError) as error:
        what = f"does not fit the shape {shape} ({str(error).splitlines()[0]})"
        raise _refusal(name, what, "mend the sizes of this module or of the one before") from error
