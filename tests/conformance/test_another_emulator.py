"""The suite takes another emulator, and notices where it is wrong: on a network that needs no fetching."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from conformance.cases import Case
from conformance.places import EMULATOR, places
from conformance.test_recordings import compare
from five_neurons import network

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.targets.places import PLACES, Execution, reference


def case() -> Case:
    graph = network()
    rasters = {"in": np.random.default_rng(0).integers(0, 2, (graph.n_steps, 3, 2)).astype(np.int16)}
    return Case(graph=graph, rasters=rasters, recorded=reference(graph, rasters))


def off_by_one(graph: Graph, rasters: Mapping[str, Array]) -> Execution:
    execution = {name: {v: np.array(a) for v, a in of.items()} for name, of in reference(graph, rasters).items()}
    execution["second"]["u"][2, 1, 0] += 1
    return execution


def test_an_emulator_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EMULATOR, "conformance.example_emulator:run")
    said: list[str] = []
    ((name, run),) = places().items()
    compare(case(), run, name, said.append)
    # 5 neurons × 3 variables × 4 steps × 3 samples
    assert said[0].startswith("conformance.example_emulator:run: 0 of 180 recorded values differ")


def test_one_wrong_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EMULATOR, f"{__name__}:off_by_one")
    said: list[str] = []
    with pytest.raises(AssertionError):
        compare(case(), off_by_one, "wrong", said.append)
    assert said[0].startswith("wrong: 1 of 180 recorded values differ")


def test_without_one_all_places_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EMULATOR, raising=False)
    assert places() == PLACES
    monkeypatch.setenv(EMULATOR, "no_colon")
    with pytest.raises(ValueError, match="is not module:function"):
        places()
