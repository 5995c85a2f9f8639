"""Graphs in spikegraph files: a graph becomes a tree of its nodes' fields, and the container of container.py holds it.

The codec goes over the fields of the dataclasses, so a new field or a new kind of projection needs nothing here. What
is in a file is checked against the types of those fields, then against the law by check.py.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, get_args, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from spikegraph.export.check import problems, require_legal
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import Array, Connectivity
from spikegraph.export.container import Json, Wider, container_kind, read_container, tree_checksum, write_container
from spikegraph.export.errors import FileFormatError, GraphError, Problem, SpikegraphError
from spikegraph.export.float_graph import FLOAT_PROJECTIONS, FloatGraph, FloatPopulation
from spikegraph.export.graph import PROJECTIONS, Graph, Input, Output, Population

_NODES = ("inputs", "populations", "projections", "outputs")
_OPTIONAL: dict[str, type[Any]] = {"coding": InputCoding, "readout": Readout}
_NOT_FIELDS = {"order", "content"}


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """Which classes a kind of graph is made of; projections by their own `kind`."""

    graph: type[Graph] | type[FloatGraph]
    population: type[Any]
    projections: Mapping[str, type[Any]]


_KINDS = {
    "graph": _Kind(graph=Graph, population=Population, projections=PROJECTIONS),
    "float-graph": _Kind(graph=FloatGraph, population=FloatPopulation, projections=FLOAT_PROJECTIONS),
}


def save_graph(graph: Graph | FloatGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph to a spikegraph file; the same graph gives the same bytes.

    Parameters
    ----------
    graph : Graph or FloatGraph
    path : path
        Replaced in one step; a failure leaves what was there.

    Raises
    ------
    GraphError
        The graph is not legal, or a field is of a type that the file cannot hold.
    FileFormatError
        The file cannot be written, or the provenance is not plain JSON.
    """
    require_legal(graph)
    write_container(path, *tree_of_graph(graph))


def load_graph(path: str | os.PathLike[str]) -> Graph | FloatGraph:
    """Read a graph from a spikegraph file: exactly the one that was saved.

    Parameters
    ----------
    path : path

    Raises
    ------
    FileFormatError
        The file is damaged, not a graph, or a field is missing, unknown or of the wrong type.
    GraphError
        The graph in it is not legal.
    """
    kind = container_kind(path)
    if kind not in _KINDS:
        raise FileFormatError(str(path), f"is a {kind}, expected a {' or '.join(_KINDS)}", "give the file of a graph")
    return graph_of_tree(read_container(path, kind, narrow=True), kind, where=str(path))


def tree_of_graph(graph: Graph | FloatGraph) -> tuple[str, dict[str, Any]]:
    """Return the kind and the tree of a graph's file: what `write_container` takes."""
    kind, tree = _kind_of(graph), _tree(graph)
    return kind, tree | {"content": tree_checksum(kind, tree), "provenance": Json(value=dict(graph.provenance))}


def graph_of_tree(tree: Mapping[str, Any], kind: str, where: str) -> Graph | FloatGraph:
    """Return the graph that a tree holds; `where` is what messages call it.

    Raises
    ------
    FileFormatError
        There is no such kind; a field is missing, unknown or of the wrong type; the graph is not what `content` says.
    GraphError
        The graph is not legal.
    """
    if kind not in _KINDS:
        raise FileFormatError(where, f"is a {kind}, expected a {' or '.join(_KINDS)}", "give the file of a graph")
    graph = _graph(tree, kind, where)
    found = problems(graph)
    if found:
        raise GraphError([replace(problem, where=f"{where}: {problem.where}") for problem in found])
    if graph_checksum(graph) != tree["content"]:
        what = f"holds a graph of content {graph_checksum(graph)}, but says {tree['content']}"
        raise FileFormatError(where, what, "write each field in the type that docs/format.md gives")
    return graph


def graph_checksum(graph: Graph | FloatGraph) -> str:
    """Return the SHA-256 of all that a graph says, in hexadecimal: the `content` of its file.

    It leaves out the provenance, so that two runs that arrive at the same graph agree on it.
    """
    return tree_checksum(_kind_of(graph), _tree(graph))


def _kind_of(graph: Graph | FloatGraph) -> str:
    return next(name for name, kind in _KINDS.items() if isinstance(graph, kind.graph))


def _tree(graph: Graph | FloatGraph) -> dict[str, Any]:
    """Lay out everything but the provenance."""
    tree: dict[str, Any] = {"order": {group: list(getattr(graph, group)) for group in _NODES}}
    for group in _NODES:
        nodes = getattr(graph, group)
        tree[group] = {name: _record(node, where=f"{group}/{name}") for name, node in nodes.items()}
    for name in _OPTIONAL:
        if getattr(graph, name) is not None:
            tree[name] = _record(getattr(graph, name), where=name)
    return tree | {name: _checked(graph, name, where="graph") for name in _plain_fields(type(graph))}


def _plain_fields(graph: type[Graph] | type[FloatGraph]) -> list[str]:
    return [f.name for f in fields(graph) if f.name not in {*_NODES, *_OPTIONAL, "provenance"}]


def _record(node: Any, where: str) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": node.kind} if isinstance(node, Connectivity) else {}
    for f in fields(node):
        if "added" in f.metadata and getattr(node, f.name) == f.default:
            continue
        value = _checked(node, f.name, where)
        record[f.name] = Wider(value=value, dtype=f.metadata["stored"]) if "stored" in f.metadata else value
    return record


def _checked(node: Any, name: str, where: str) -> Any:
    value = getattr(node, name)
    try:
        return _typed(get_type_hints(type(node))[name], value.item() if isinstance(value, np.generic) else value)
    except ValueError as error:
        what = f"{name} = {reprlib.repr(value)} cannot be saved ({_reason(error)})"
        raise GraphError(
            [Problem(where=where, what=what, remedy="give it the type that its node documents")]
        ) from error


@cache
def _adapter(expected: Any) -> TypeAdapter[Any]:
    return TypeAdapter(expected)


def _typed(expected: Any, value: Any) -> Any:
    """Return the value if it has the type that a field declares (an int passes for a float), else raise ValueError."""
    if isinstance(value, np.ndarray) and (expected is Any or Array in (expected, *get_args(expected))):
        return value
    if expected in (Any, Array):
        raise ValueError("it should be an array")
    return _adapter(float if expected == float | Array else expected).validate_python(value, strict=True)


def _reason(error: ValueError) -> str:
    return str(error.errors()[0]["msg"]).lower() if isinstance(error, ValidationError) else str(error)


def _graph(tree: Mapping[str, Any], kind: str, where: str) -> Graph | FloatGraph:
    made_of = _KINDS[kind]
    _require_names(tree, {f.name for f in fields(made_of.graph)} - {*_OPTIONAL} | _NOT_FIELDS, {*_OPTIONAL}, where)
    parts: dict[str, Any] = {group: _nodes(tree, group, made_of, where) for group in _NODES}
    for name, node in _OPTIONAL.items():
        parts[name] = _node(node, tree[name], f"{where}: {name}") if name in tree else None
    plain = {name: tree[name] for name in [*_plain_fields(made_of.graph), "provenance"]}
    return made_of.graph(**parts, **_typed_record(made_of.graph, plain, where))


def _nodes(tree: Mapping[str, Any], group: str, made_of: _Kind, where: str) -> dict[str, Any]:
    records, orders = _group(tree, group, where), _group(tree, "order", where)
    _require_names(orders, {*_NODES}, set(), f"{where}: order")
    order = orders[group]
    if not isinstance(order, list) or sorted(order, key=str) != sorted(records):
        what = f"order/{group} is {reprlib.repr(order)}, but the {group} are {', '.join(records) or 'none'}"
        raise FileFormatError(where, what, "list each of them once")
    types: dict[str, type[Any]] = {"inputs": Input, "populations": made_of.population, "outputs": Output}
    nodes = {}
    for name in order:
        node, record = f"{where}: {group}/{name}", dict(_group(records, name, f"{where}: {group}"))
        if group == "projections":
            kind = record.pop("kind", None)
            if not isinstance(kind, str) or kind not in made_of.projections:
                remedy = f"use one of {', '.join(made_of.projections)}, or a newer spikegraph"
                raise FileFormatError(node, f"has the unknown kind {kind!r}", remedy)
            nodes[name] = _node(made_of.projections[kind], record, node)
        else:
            nodes[name] = _node(types[group], record, node)
    return nodes


def _group(tree: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    if not isinstance(tree[name], dict):
        raise FileFormatError(where, f"{name} is not a group", "write it as docs/format.md says")
    return dict(tree[name])


def _node(node: type[Any], record: Any, where: str) -> Any:
    if not isinstance(record, dict):
        raise FileFormatError(where, "is not a group", "write it as docs/format.md says")
    added = {f.name for f in fields(node) if "added" in f.metadata}
    _require_names(record, {f.name for f in fields(node)} - added, added, where)
    typed = _typed_record(node, record, where)
    try:
        return node(**typed)
    except SpikegraphError as error:
        what = f"{error.problem.where} {error.problem.what}"
        raise GraphError([Problem(where=where, what=what, remedy=error.problem.remedy)]) from error


def _require_names(record: Mapping[str, Any], needed: set[str], optional: set[str], where: str) -> None:
    missing, unknown = needed - record.keys(), record.keys() - needed - optional
    if missing or unknown:
        what = f"lacks {', '.join(sorted(missing))}" if missing else f"has the unknown {', '.join(sorted(unknown))}"
        raise FileFormatError(where, what, "write the fields that docs/format.md lists, or use a newer spikegraph")


def _typed_record(node: type[Any], record: Mapping[str, Any], where: str) -> dict[str, Any]:
    types, typed = get_type_hints(node), {}
    for name, value in record.items():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False  # nobody else has it, so the node need not copy it
        try:
            # JSON has no tuples, dataclasses no lists.
            typed[name] = _typed(types[name], tuple(value) if isinstance(value, list) else value)
        except ValueError as error:
            what = f"{name} = {reprlib.repr(value)} is not what it should be ({_reason(error)})"
            raise FileFormatError(where, what, "write the type that docs/format.md gives") from error
    return typed
