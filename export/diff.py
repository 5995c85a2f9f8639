"""What is different between two graphs: node by node, attribute by attribute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from typing import Any

import numpy as np
from scipy.sparse import coo_array

from spikegraph.export.connectivity import Array, Connectivity, Shape, per_neuron
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import AnyGraph
from spikegraph.export.graph import Graph, Population
from spikegraph.export.order import topological_order, zero_delay_loop

GROUPS = {"inputs": "input", "populations": "population", "projections": "projection", "outputs": "output"}
MOST_SYNAPSES = 1 << 26  # of two projections of different kinds that are compared synapse by synapse


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One attribute that differs.

    Parameters
    ----------
    node : str
        "population hidden", "graph": as the first graph calls it.
    attribute : str
        Empty: the node as a whole.
    what : str
        The two values, the first graph's first.
    same_meaning : bool
        Both say the same in other words: no spike depends on it.
    largest : float, optional
        Of arrays of numbers: the largest difference.
    """

    node: str
    attribute: str
    what: str
    same_meaning: bool = False
    largest: float | None = None

    def __str__(self) -> str:
        which = f"{self.attribute}: " if self.attribute else ""
        return f"{self.node}: {which}{self.what}{' (the same meaning)' if self.same_meaning else ''}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def differences(a: AnyGraph, b: AnyGraph) -> list[Difference]:
    """Compare two graphs; provenance is left out.

    Nodes are the same node if they have the same name. Populations without a namesake are paired in the order of
    computation, by shape and by what feeds them; projections by their ends.

    Parameters
    ----------
    a, b : Graph or FloatGraph

    Returns
    -------
    list of Difference
        Empty if and only if both have the same content (see `hdf5.graph_checksum`), but for an integer graph and a
        float graph, of which only that is said.
    """
    if type(a) is not type(b):
        said = {Graph: "an integer graph", FloatGraph: "a float graph"}
        return [Difference(node="graph", attribute="kind", what=f"{said[type(a)]}, {said[type(b)]}")]
    called = _called(a, b)
    found = list(_of_graph(a, b, called))
    for group, word in GROUPS.items():
        ours, theirs = getattr(a, group), getattr(b, group)
        for name, node in ours.items():
            where, other = f"{word} {name}", called[group].get(name)
            if other is None:
                found.append(Difference(node=where, attribute="", what="is in the first graph only"))
                continue
            if other != name:
                found.append(Difference(node=where, attribute="name", what=f"{name}, {other}", same_meaning=True))
            if isinstance(node, Connectivity):
                found += _of_projections(a, b, node, theirs[other], where, called)
            elif isinstance(node, Population):
                found += _of_populations(node, theirs[other], where, called)
            else:
                found += _of_fields(node, theirs[other], where, called)
        paired = set(called[group].values())
        found += [
            Difference(node=f"{word} {name}", attribute="", what="is in the second graph only")
            for name in theirs
            if name not in paired
        ]
        order = [called[group][name] for name in ours if name in called[group]]
        if order != [name for name in theirs if name in paired]:
            found.append(Difference(node="graph", attribute=f"order of {group}", what="differs", same_meaning=True))
    return found


def _called(a: AnyGraph, b: AnyGraph) -> dict[str, dict[str, str]]:
    """Return what the second graph calls each node of the first, by group."""
    called = {group: {name: name for name in getattr(a, group) if name in getattr(b, group)} for group in GROUPS}
    _pair(called["inputs"], a.inputs, b.inputs, lambda name, other: a.shape_of(name) == b.shape_of(other))
    nodes = {**called["inputs"], **called["populations"]}
    for name in a.populations if zero_delay_loop(a) else topological_order(a):
        fed = {nodes.get(p.source) for p in a.into(name).values() if p.source != name}
        if name not in nodes:
            free = [one for one in b.populations if one not in called["populations"].values()]
            for other in free:
                sources = {p.source for p in b.into(other).values() if p.source != other}
                if a.shape_of(name) == b.shape_of(other) and fed - {None} == sources & set(nodes.values()):
                    called["populations"][name] = nodes[name] = other
                    break

    def same_ends(name: str, other: str) -> bool:
        p, q = a.projections[name], b.projections[other]
        return (nodes.get(p.source), nodes.get(p.target), p.delay_steps) == (q.source, q.target, q.delay_steps)

    _pair(called["projections"], a.projections, b.projections, same_ends)
    _pair(
        called["outputs"],
        a.outputs,
        b.outputs,
        lambda name, other: nodes.get(a.outputs[name].population) == b.outputs[other].population,
    )
    return called


def _pair(called: dict[str, str], ours: Mapping[str, Any], theirs: Mapping[str, Any], alike: Any) -> None:
    for name in ours:
        if name not in called:
            free = (other for other in theirs if other not in called.values() and alike(name, other))
            other = next(free, None)
            if other is not None:
                called[name] = other


def _of_graph(a: AnyGraph, b: AnyGraph, called: dict[str, dict[str, str]]) -> Iterator[Difference]:
    for name in ("n_steps", "dt"):
        if getattr(a, name, None) != getattr(b, name, None):
            what = f"{getattr(a, name)}, {getattr(b, name)}"
            yield Difference(node="graph", attribute=name, what=what)
    for name in ("coding", "readout"):
        ours, theirs = getattr(a, name), getattr(b, name)
        if ours is None or theirs is None:
            if ours is not theirs:
                only = "second" if ours is None else "first"
                yield Difference(node="graph", attribute=name, what=f"is in the {only} graph only")
        else:
            yield from _of_fields(ours, theirs, name, called)


def _of_populations(
    p: Population, q: Population, where: str, called: dict[str, dict[str, str]]
) -> Iterator[Difference]:
    found = list(_of_fields(p, q, where, called))
    of_bias = [one.attribute for one in found if one.attribute in ("bias_mant", "bias_exp")]
    yield from (one for one in found if one.attribute not in of_bias)
    if of_bias and p.shape == q.shape:  # a mantissa means nothing without its exponent
        x, y = (
            per_neuron(one.bias_mant, one.shape).astype(np.int64) << per_neuron(one.bias_exp, one.shape)
            for one in (p, q)
        )
        attribute = ", ".join(of_bias)
        if np.array_equal(x, y):
            yield Difference(node=where, attribute=attribute, what="equal biases, held otherwise", same_meaning=True)
        for one in _of_arrays(x, y, where, attribute, None):
            yield replace(one, what=f"{one.what} (in units of v)")
    else:
        yield from (one for one in found if one.attribute in of_bias)


def _of_projections(
    a: AnyGraph, b: AnyGraph, p: Any, q: Any, where: str, called: dict[str, dict[str, str]]
) -> Iterator[Difference]:
    if p.kind == q.kind:
        shapes = (a.shape_of(p.target), b.shape_of(q.target)) if p.kind == "OneToOne" else None
        yield from _of_fields(p, q, where, called, shapes=shapes)
        return
    yield from _of_fields(p, q, where, called, only=("source", "target", "delay_steps", "weight_exp", "clip"))
    source, target = a.shape_of(p.source), a.shape_of(p.target)
    what = f"{p.kind}, {q.kind}"
    if (source, target) != (b.shape_of(q.source), b.shape_of(q.target)):
        yield Difference(node=where, attribute="kind", what=what)
        return
    if max(p.dense_macs(source, target), q.dense_macs(source, target)) > MOST_SYNAPSES:
        yield Difference(node=where, attribute="kind", what=f"{what}, too large to compare synapse by synapse")
        return
    apart = abs(_matrix(p, source, target) - _matrix(q, source, target))
    largest = float(apart.max()) if apart.nnz else 0.0
    if largest:
        n = int((apart.data != 0).sum())
        what += f", of different synapses: {n:,}, by up to {largest:.3g}"
    yield Difference(node=where, attribute="kind", what=what, same_meaning=not largest, largest=largest)


def _matrix(p: Any, source: Shape, target: Shape) -> Any:
    from_neuron, to_neuron, place = p.synapses(source, target)
    weight = p.weight.ravel()[place].astype(np.float64)
    return coo_array((weight, (to_neuron, from_neuron)), shape=(prod(target), prod(source))).tocsr()


def _of_fields(
    ours: Any,
    theirs: Any,
    where: str,
    called: dict[str, dict[str, str]],
    only: tuple[str, ...] = (),
    shapes: tuple[Shape, Shape] | None = None,
) -> Iterator[Difference]:
    """Compare two nodes; arrays of different shapes are spread over their neurons, where these have one shape."""
    if shapes is None and hasattr(ours, "shape"):
        shapes = ours.shape, theirs.shape
    spread = shapes[0] if shapes and shapes[0] == shapes[1] else None
    for one in fields(ours):
        name = one.name
        if only and name not in only:
            continue
        x, y = getattr(ours, name, None), getattr(theirs, name, None)
        if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
            yield from _of_arrays(np.asarray(x), np.asarray(y), where, name, spread)
        elif _renamed(name, x, called) != y:
            yield Difference(node=where, attribute=name, what=f"{_said(x)}, {_said(y)}")


def _renamed(attribute: str, value: Any, called: dict[str, dict[str, str]]) -> Any:
    """Return the name of a node as the second graph has it; any other value as it is."""
    if attribute in ("source", "target", "population"):
        return {**called["inputs"], **called["populations"]}.get(value, value)
    if attribute == "output":
        return called["outputs"].get(value, value)
    if attribute == "joined":
        return tuple(called["outputs"].get(one, one) for one in value)
    return value


def _of_arrays(x: Array, y: Array, where: str, name: str, shape: Shape | None) -> Iterator[Difference]:
    if x.shape == y.shape and x.dtype == y.dtype and np.array_equal(x, y):
        return
    alike = f"{_shape(x)} of {x.dtype}, {_shape(y)} of {y.dtype}"
    if x.shape != y.shape:
        if shape is None:  # nothing to spread them over
            yield Difference(node=where, attribute=name, what=alike)
            return
        x, y = per_neuron(x, shape), per_neuron(y, shape)
    if np.array_equal(x, y):
        yield Difference(node=where, attribute=name, what=f"equal numbers, held as {alike}", same_meaning=True)
        return
    with np.errstate(invalid="ignore"):  # inf - inf
        apart = np.where(x == y, 0, np.abs(x.astype(np.float64) - y.astype(np.float64)))
    if x.size == 1:
        yield Difference(node=where, attribute=name, what=f"{x.item()}, {y.item()}", largest=float(apart.max()))
        return
    n, largest = int(np.count_nonzero(apart)), float(apart.max())
    what = f"{n:,} of {x.size:,} numbers differ, by up to {largest:.6g}"
    yield Difference(node=where, attribute=name, what=what, largest=largest)


def _shape(array: Array) -> str:
    return "×".join(map(str, array.shape)) if array.ndim else "one number"


def _said(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)
