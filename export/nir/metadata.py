"""What NIR has no words for, beside its nodes: the tree of the graph's own file, without the weights that nodes hold.

With it comes a checksum of the nodes and edges. Where they are not what they were, somebody has changed the network
since, and the metadata speak of another one: then the nodes count, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from spikegraph.export.container import Json, Wider, tree_checksum
from spikegraph.export.container.trust import DAMAGE
from spikegraph.export.errors import SpikegraphError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import graph_of_tree, tree_of_graph
from spikegraph.export.nir.laid import Laid
from spikegraph.export.nir.nodes import NirGraph, read_nodes

KEY = "spikegraph"
_VERSION = "1"


def metadata_of(graph: Graph | FloatGraph, laid: Laid, convention: str, dt: float) -> dict[str, Any]:
    """Return what stands beside the nodes, so that the graph is read back as it is.

    Parameters
    ----------
    graph : Graph or FloatGraph
    laid : Laid
        The nodes that were made of it.
    convention, dt
        What the nodes mean by their time constants.
    """
    kind, tree = tree_of_graph(graph)
    projections = {name: dict(record) for name, record in tree["projections"].items()}
    for name, node in laid.weights.items():
        projections[name]["weight"] = Json(value={"node": node})
    stored = _stored({**tree, "projections": projections})
    written = read_nodes({"node": _as_read(laid)}, "the graph")
    own = {"version": _VERSION, "kind": kind, "convention": convention, "dt": float(dt), "nodes": checksum(written)}
    return {KEY: {**own, "graph": stored}}


def steps_in(metadata: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return convention and dt that spikegraph wrote a file with, if it did."""
    own = metadata.get(KEY)
    if not isinstance(own, Mapping):
        return None
    convention, dt = own.get("convention"), own.get("dt")
    if not isinstance(convention, str) or not isinstance(dt, np.ndarray) or dt.shape != () or dt.dtype.kind != "f":
        return None
    return convention, float(dt)


def graph_in(nir: NirGraph, where: str) -> tuple[Graph | FloatGraph | None, str]:
    """Return the graph that the metadata of a file hold, and what to tell; None where the nodes alone count."""
    own = nir.metadata.get(KEY)
    if own is None:
        return None, ""
    if not isinstance(own, Mapping) or _text(own, "version") != _VERSION:
        return None, "its metadata are of another version of spikegraph: read without them"
    if _text(own, "nodes") != checksum(nir):
        return None, "its nodes were changed since spikegraph wrote it: they count, and its metadata do not"
    try:
        tree = _plain(own.get("graph"))
        for record in tree["projections"].values():
            if isinstance(record["weight"], dict):
                weight = nir.nodes[record["weight"]["node"]]["weight"]
                record["weight"] = np.ldexp(weight, -record["weight_exp"]) if "weight_exp" in record else weight
        return graph_of_tree(tree, _text(own, "kind"), where), "it is spikegraph's own: read from nodes and metadata"
    except (SpikegraphError, AttributeError, *DAMAGE) as error:
        return None, f"its metadata are damaged ({error}): read without them"


def _text(record: Mapping[str, Any], name: str) -> str:
    """Return a text, "" for whatever else stands in its place."""
    value = record.get(name)
    return value if isinstance(value, str) else ""


def checksum(nir: NirGraph) -> str:
    """Return a checksum of nodes and edges, in whatever order they stand; a v_reset of 0 may be there or not."""
    names = sorted(nir.nodes)
    nodes = {f"n{i}": {"type": nir.nodes[name].type, **_told(nir.nodes[name].fields)} for i, name in enumerate(names)}
    edges = sorted([source, target] for source, target in nir.edges)
    return tree_checksum("nir", {"names": names, "nodes": nodes, "edges": edges})


def _told(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "v_reset" or value.any()}


def _stored(value: Any) -> Any:
    """Return a tree as the nir package writes it: arrays, and the JSON of all else."""
    if isinstance(value, Mapping):
        return {name: _stored(one) for name, one in value.items()}
    if isinstance(value, Wider):
        return _stored(value.value)
    if isinstance(value, np.ndarray) and value.size:
        return np.array(value) if value.ndim else value[()]
    if isinstance(value, np.ndarray):
        return json.dumps({"empty": list(value.shape), "dtype": value.dtype.name})
    return json.dumps(value.value if isinstance(value, Json) else value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if not isinstance(value, str):
        return value
    plain = json.loads(value)
    if isinstance(plain, dict) and set(plain) == {"empty", "dtype"}:
        shape = tuple(plain["empty"])
        if 0 not in shape:
            raise ValueError(f"an empty array of the shape {shape}")
        return np.zeros(shape, plain["dtype"])
    return plain


def _as_read(laid: Laid) -> dict[str, Any]:
    """Return nodes and edges as the tree that a reader finds in the file."""
    nodes = {
        name: {key: value if isinstance(value, str) else np.asarray(value) for key, value in fields.items()}
        for name, fields in laid.nodes.items()
    }
    edges = np.array([[source, target] for source, target in laid.edges], object).reshape(-1, 2)
    return {"type": "NIRGraph", "nodes": nodes, "edges": edges}
