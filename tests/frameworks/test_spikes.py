"""Networks trained elsewhere: their spikes here, layer by layer and step by step. `make check-peers` runs this."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from frameworks.cases import CASES, REFUSED_BY_THEIR_EXPORTER
from frameworks.comparison import Comparison, Trained, compare
from frameworks.conftest import require

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import GraphError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import read

pytestmark = pytest.mark.peers

WHOLE = [case for case in CASES if case.dropped is None]
MOST_LOST = 0.02  # of accuracy, by quantization to 8 bits
ULPS = 16  # of the largest potential of a layer: frameworks add up in float32 in an order of their own


def rounding(potentials: Array) -> float:
    return ULPS * float(np.spacing(np.float32(abs(potentials).max())))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_there_is_something_to_compare(comparison: Comparison) -> None:
    """Else the tests below would show little."""
    assert comparison.trained.told["accuracy"] > 0.7
    for _, s, _ in comparison.spikes():
        assert 0.02 < (s > 0).mean() < 0.98


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_spikes_are_equal_or_first_differ_by_rounding_at_the_threshold(comparison: Comparison) -> None:
    """What differs later may follow from the first difference, and is not looked at."""
    for layer, theirs, ours in comparison.spikes():
        differ = theirs != ours
        v_theirs, v_ours = comparison.potentials(layer)
        first = int(differ.any(axis=tuple(range(1, differ.ndim))).argmax()) if differ.any() else len(differ)
        allowed = rounding(comparison.ours[comparison.population(layer)].v_before_reset)
        np.testing.assert_allclose(v_ours[:first], v_theirs[:first], rtol=0, atol=allowed)
        if differ.any():
            before = comparison.ours[comparison.population(layer)].v_before_reset[first]
            away = abs(before - comparison.threshold(layer))[differ[first]]
            assert away.max() <= allowed, f"{layer}, step {first}: {away.max()} from the threshold"
            return


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_report_says_what_the_file_leaves_open(comparison: Comparison) -> None:
    facts = " ".join(comparison.report.facts)
    assert f"convention {comparison.case.convention or comparison.case.framework}" in facts
    assert "as asked for" in facts
    assert "a spike" in facts


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_wrote_a_file_is_inferred_with_its_dt(comparison: Comparison) -> None:
    graph, report = read(comparison.trained.file)
    assert any(fact.startswith(f"convention {comparison.case.framework} ") for fact in report.facts)
    assert isinstance(graph, FloatGraph)
    assert graph.dt == comparison.graph.dt


@pytest.mark.parametrize("case", WHOLE, ids=str)
def test_float_accuracy_is_the_frameworks_own(comparison: Comparison) -> None:
    """Ties go by the potential here and to the lower class there, so that it may be another in a few samples."""
    ours = comparison.ours[comparison.population(list(comparison.trained.layers)[-1])].s
    assert comparison.trained.accuracy(ours) == pytest.approx(comparison.trained.told["accuracy"], abs=0.005)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_on_loihi_2_it_is_nearly_as_accurate(comparison: Comparison) -> None:
    accuracy = comparison.accuracy(comparison.graph)
    assert comparison.accuracy(comparison.quantized("loihi2")) > accuracy - MOST_LOST


@pytest.mark.parametrize("case", CASES, ids=str)
def test_on_loihi_1_it_is_nearly_as_accurate_with_its_one_reset(comparison: Comparison) -> None:
    """Networks of another reset are refused there; read with reset zero, they lose what that reset costs them."""
    resets = {population.reset for population in comparison.graph.populations.values()}
    if resets != {"zero"}:
        with pytest.raises(GraphError, match="only zero exists on Intel Loihi 1; train with that reset, convert with"):
            comparison.quantized("loihi1")
        comparison = compare(replace(comparison.case, reset="zero"), comparison.trained.file.parent)
    accuracy = comparison.accuracy(comparison.graph)
    assert comparison.accuracy(comparison.quantized("loihi1")) > accuracy - MOST_LOST


@pytest.mark.parametrize(("framework", "network"), REFUSED_BY_THEIR_EXPORTER)
def test_what_their_exporter_refuses(framework: str, network: str, trained_networks: Path) -> None:
    require(framework)
    told = Trained.load(trained_networks / framework, network).told
    assert REFUSED_BY_THEIR_EXPORTER[framework, network] in told["export_error"]
