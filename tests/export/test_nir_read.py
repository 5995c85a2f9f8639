"""Reading NIR: each node, chains of them, and what the conventions make of neurons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import read
from spikegraph.export.loss import LossReport


def written(tmp_path: Path, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> Path:
    path = tmp_path / "net.nir"
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    return path


def chain(tmp_path: Path, *nodes: Any, shape: tuple[int, ...], **assumed: Any) -> tuple[FloatGraph, LossReport]:
    """Read a file of nodes one after the other, between an input of this shape and an output."""
    named = {"input": nir.Input(np.array(shape)), **{f"n{i}": node for i, node in enumerate(nodes)}}
    named["output"] = nir.Output(np.array([1]) if not nodes else np.atleast_1d(_shape(nodes[-1])))
    graph, report = read(
        written(tmp_path, named, list(zip(named, list(named)[1:], strict=False))), Assumptions(**assumed)
    )
    assert isinstance(graph, FloatGraph)
    return graph, report


def _shape(node: Any) -> Any:
    return np.array(node.v_threshold.shape)


def spiking(shape: tuple[int, ...]) -> nir.IF:
    return nir.IF(r=np.ones(shape, np.float32), v_threshold=np.ones(shape, np.float32))


def test_a_matrix_between_integrators_is_a_dense_projection(tmp_path: Path) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    graph, report = chain(tmp_path, nir.Linear(weight), spiking((2,)), shape=(3,))
    (projection,) = graph.projections.values()
    assert projection.kind == "Dense"
    np.testing.assert_array_equal(projection.weight, weight)
    assert projection.weight.dtype == np.float32
    assert any("sinabs" in fact for fact in report.facts)


@pytest.mark.parametrize("convention", ["snntorch", "lava", "exact"])
def test_a_convention_that_is_asked_for_is_taken_and_told(tmp_path: Path, convention: str) -> None:
    _, report = chain(tmp_path, nir.Linear(np.eye(2)), spiking((2,)), shape=(2,), convention=convention, dt=0.5)
    assert any(convention in fact and "asked for" in fact for fact in report.facts)
    assert any("dt = 0.5 s: as asked for" in fact for fact in report.facts)
