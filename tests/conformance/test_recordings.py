"""Trained networks compute what was recorded of them elsewhere: every spike, u and v, in every place. 0 differences."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conformance.cases import CASES, Case
from conformance.places import places

from spikegraph.export.connectivity import Array
from spikegraph.targets.places import Place

pytestmark = pytest.mark.conformance
PLACES = places()
SLOW = {"lava": {"ntidigits": 300}}  # steps, where a place takes minutes for all of them


def cut(case: Case, n_steps: int) -> Case:
    rasters = {name: raster[:n_steps] for name, raster in case.rasters.items()}
    recorded = {p: {v: array[:n_steps] for v, array in of.items()} for p, of in case.recorded.items()}
    return Case(graph=replace(case.graph, n_steps=n_steps), rasters=rasters, recorded=recorded)


def differences(got: Array, recorded: Array) -> tuple[int, int]:
    """Values that differ, and those that were compared."""
    expected = np.ma.masked_array(recorded).reshape(got.shape)  # type: ignore[no-untyped-call]
    differs = np.ma.masked_array(got != expected.data, np.ma.getmaskarray(expected))  # type: ignore[no-untyped-call]
    return int(differs.sum()), int(differs.count())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CASES)
def test_as_recorded(name: str, place: str, tell: Callable[[str], None]) -> None:
    case, run = CASES[name](), PLACES[place]
    n_steps = SLOW.get(place, {}).get(name, case.graph.n_steps)
    cut_off = f", the first {n_steps} of {case.graph.n_steps} steps" * (n_steps < case.graph.n_steps)
    case = cut(case, n_steps)
    compare(case, run, f"{place}: {name}{cut_off}", tell)


def compare(case: Case, run: Place, said: str, tell: Callable[[str], None]) -> None:
    start = time.perf_counter()
    execution = run(case.graph, case.rasters)
    seconds = time.perf_counter() - start
    found = {
        f"{population}.{variable}": differences(np.asarray(execution[population][variable]), array)
        for population, of in case.recorded.items()
        for variable, array in of.items()
        if variable in execution[population]
    }
    assert {name.rpartition(".")[0] for name in found} == set(case.recorded)
    n_compared = sum(n for _, n in found.values())
    wrong = {name: n for name, (n, _) in found.items() if n}
    tell(f"{said}: {sum(wrong.values())} of {n_compared:,} recorded values differ ({seconds:.1f} s)")
    assert n_compared > 0
    assert not wrong
