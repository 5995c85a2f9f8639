"""What a NIR file says, checked: nodes with arrays of the right sort, edges between nodes that exist, nothing nested.

Files are read as trees and not by the `nir` package, which opens whatever HDF5 it is given, checks with `assert`, and
computes some shapes wrongly. The names of types and fields are those of nir 1.0.8; files of 0.2.0 and 1.0.4 have been
read too.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Shape
from spikegraph.export.errors import FileFormatError
from spikegraph.export.loss import Loss
from spikegraph.export.nir.fields import FIELDS, WRITE_AGAIN

_DEEPEST = 32  # graphs within graphs


@dataclass(frozen=True, kw_only=True, eq=False)
class NirNode:
    """One node: its type and its fields, by the names that NIR gives them."""

    type: str
    where: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


@dataclass(kw_only=True)
class NirGraph:
    """All nodes of a file, and the edges between them; those of nested graphs are called "outer.inner"."""

    nodes: dict[str, NirNode] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def predecessors(self) -> dict[str, list[str]]:
        """Return for each node the nodes with an edge to it, in the order of their names."""
        before: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in sorted(self.edges):
            before[target].append(source)
        return before


_MAY_BE_ABSENT = {"input_shape", "input_type", "v_reset", "w_in"}
_NEURONS = ("I", "LI", "IF", "LIF", "CubaLI", "CubaLIF")
_KERNEL_DIMS = {"Conv1d": 3, "Conv2d": 4}


def read_nodes(tree: Mapping[str, Any], where: str) -> NirGraph:
    """Check the tree of a NIR file and lay its nested graphs flat.

    Parameters
    ----------
    tree : dict
        As `read_foreign` returns it.
    where : str
        Name of the file, for messages.

    Raises
    ------
    FileFormatError
        Something is missing, of the wrong sort or out of range; a type is unknown; an edge leads nowhere.
    """
    root = tree.get("node")
    if not isinstance(root, Mapping):
        raise FileFormatError(where, "has no group 'node'", "give a file that the nir package wrote")
    graph = NirGraph()
    if _type(root) == "NIRGraph":
        _add_graph(graph, root, where, "", 0)
        graph.metadata = _group(root.get("metadata", {}), f"{where}: metadata")
    else:
        graph.nodes["node"] = _node(root, f"{where}: node", graph.losses)
    _close(graph, where)
    return graph


def _group(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FileFormatError(where, "is not a group", WRITE_AGAIN)
    return value


def _type(record: Mapping[str, Any]) -> str:
    """Return the type of a node, "" if it has none that is a text."""
    kind = record.get("type")
    return kind if isinstance(kind, str) else ""


def _add_graph(graph: NirGraph, record: Mapping[str, Any], where: str, prefix: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise FileFormatError(where, f"nests graphs more than {_DEEPEST} deep", WRITE_AGAIN)
    inside: dict[str, dict[str, list[str]]] = {}  # nested graph → its inputs and outputs
    nodes = _group(record.get("nodes"), f"{where}: nodes")
    if not nodes:
        raise FileFormatError(where, "has no nodes", WRITE_AGAIN)
    for name, value in nodes.items():
        here, full = f"{where}: {name}", f"{prefix}{name}"
        value = _group(value, here)
        if _type(value) == "NIRGraph":
            _add_graph(graph, value, here, f"{full}.", depth + 1)
            within = _group(value["nodes"], here)
            inside[name] = {
                end: [f"{full}.{n}" for n, v in within.items() if _type(v) == end] for end in ("Input", "Output")
            }
            continue
        if full in graph.nodes:
            raise FileFormatError(here, f"there are two nodes of the name {full!r}", "rename one of them")
        node = _node(value, here, graph.losses)
        graph.nodes[full] = NirNode(type="Identity", where=here) if depth and node.type in _ENDS else node
    for source, target in _edges(record.get("edges"), f"{where}: edges"):
        edge = (
            _end(source, "Output", inside, nodes, prefix, where),
            _end(target, "Input", inside, nodes, prefix, where),
        )
        if edge in graph.edges:
            graph.facts.append(f"the edge {edge[0]} → {edge[1]} is written twice; it is read as one")
        graph.edges[edge] = None


_ENDS = ("Input", "Output")


def _end(
    name: str,
    sort: str,
    inside: Mapping[str, Mapping[str, list[str]]],
    nodes: Mapping[str, Any],
    prefix: str,
    where: str,
) -> str:
    """Return the full name of the node at which an edge ends: of a nested graph its one output, or input."""
    if name not in nodes:
        raise FileFormatError(where, f"has an edge with the node {name!r}, which does not exist", WRITE_AGAIN)
    if name not in inside:
        return f"{prefix}{name}"
    ends = inside[name][sort]
    if len(ends) != 1:
        what = f"has {len(ends)} nodes of type {sort}, and an edge does not say which it means"
        raise FileFormatError(f"{where}: {name}", what, "write it without a nested graph")
    return ends[0]


def _edges(value: Any, where: str) -> list[tuple[str, str]]:
    if isinstance(value, np.ndarray) and value.size == 0:
        return []
    if not isinstance(value, np.ndarray) or value.dtype != object or value.ndim != 2 or value.shape[1] != 2:
        shape = (
            f"of shape {value.shape}, dtype {value.dtype}" if isinstance(value, np.ndarray) else "missing, or a text"
        )
        raise FileFormatError(where, f"is {shape}, expected pairs of names", WRITE_AGAIN)
    return [(str(source), str(target)) for source, target in value]


def _node(record: Mapping[str, Any], where: str, losses: list[Loss]) -> NirNode:
    kind = _type(record)
    if kind not in FIELDS:
        what = f"has the unknown type {reprlib.repr(kind)}" if kind else "has no type"
        raise FileFormatError(where, what, f"use one of {', '.join(FIELDS)}")
    known = FIELDS[kind]
    missing = known.keys() - record.keys() - _MAY_BE_ABSENT
    if missing:
        raise FileFormatError(where, f"({kind}) lacks {', '.join(sorted(missing))}", WRITE_AGAIN)
    node = where.rpartition(": ")[2]
    extra = sorted(record.keys() - known.keys() - {"type", "metadata"}) if kind != "Identity" else []
    what = f"not a field of {kind} in nir 1.0.8"
    losses += [Loss(node=node, attribute=name, effect="dropped", what=what) for name in extra]
    if "metadata" in record:
        losses.append(
            Loss(node=node, attribute="metadata", effect="none", what="not read: they mean what their writer says")
        )
    values = {name: parse(record[name], f"{where}: {name}") for name, parse in known.items() if name in record}
    if "weight" in values and kind in _KERNEL_DIMS and values["weight"].ndim != _KERNEL_DIMS[kind]:
        what = f"has the shape {values['weight'].shape}, expected {_KERNEL_DIMS[kind]} dimensions"
        raise FileFormatError(f"{where}: weight", what, WRITE_AGAIN)
    if kind in ("Affine", "Linear") and values["weight"].ndim != 2:
        what = f"has the shape {values['weight'].shape}, expected (out, in)"
        raise FileFormatError(f"{where}: weight", what, "write one node for each matrix")
    parameters = [values[name].shape for name in known if name in values and kind in _NEURONS]
    try:
        np.broadcast_shapes(*parameters)
    except ValueError as error:
        found = ", ".join(str(shape) for shape in dict.fromkeys(parameters))
        raise FileFormatError(where, f"({kind}) has parameters of the shapes {found}", WRITE_AGAIN) from error
    return NirNode(type=kind, where=where, fields=values)


def _close(graph: NirGraph, where: str) -> None:
    """Put an input before each node that has nothing before it, and an output behind each that has nothing behind.

    As the nir package does; older files leave them out.
    """
    targets, sources = {target for _, target in graph.edges}, {source for source, _ in graph.edges}
    for source, target in graph.edges:
        if graph.nodes[target].type == "Input" or graph.nodes[source].type == "Output":
            raise FileFormatError(where, f"has the edge {source} → {target}", "edges lead from inputs to outputs")
    for name, node in list(graph.nodes.items()):
        if node.type != "Input" and name not in targets:
            shape = _input_shape(node)
            if shape is None:
                what = "has nothing before it, and does not say what shape it takes"
                raise FileFormatError(node.where, what, "add a node of type Input")
            _add_end(graph, "Input", f"input_{name}", shape, node.where)
            graph.edges[f"input_{name}", name] = None
        if node.type not in _ENDS and name not in sources:
            _add_end(graph, "Output", f"output_{name}", None, node.where)
            graph.edges[name, f"output_{name}"] = None


def _add_end(graph: NirGraph, kind: str, name: str, shape: Shape | None, where: str) -> None:
    if name in graph.nodes:
        raise FileFormatError(where, f"is not connected, and {name!r} is taken", f"add a node of type {kind}")
    graph.nodes[name] = NirNode(type=kind, where=where, fields={} if shape is None else {"shape": shape})
    graph.facts.append(f"{name}: added, for the file has no {kind} there")


def _input_shape(node: NirNode) -> Shape | None:
    if node.type in ("Affine", "Linear"):
        return (node["weight"].shape[1],)
    if node.type in ("Conv1d", "Conv2d"):
        channels = node["weight"].shape[1] * node["groups"]
        return (channels, *node["input_shape"]) if "input_shape" in node.fields else None
    if node.type == "Flatten":
        shape: Shape | None = node.fields.get("input_type")
        return shape
    own = [a.shape for a in node.fields.values() if isinstance(a, np.ndarray) and a.ndim]
    return max(own, key=prod) if own else None
