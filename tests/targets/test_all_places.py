"""The same drawn graphs in every place at once: what is not refused is the same, in every spike and state."""

import pytest
from graph_strategies import FEATURES, cases
from hypothesis import HealthCheck, given, settings

from spikegraph.targets.places import PLACES
from spikegraph.targets.verify import verify

slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
relaxed = settings(deadline=None, suppress_health_check=slow)


def assert_the_same_everywhere(case):
    verification = verify(case.graph, case.rasters, PLACES)
    assert all(comparison.identical for comparison in verification.comparisons), str(verification)
    assert {comparison.place for comparison in verification.comparisons} | set(verification.refusals) == set(PLACES)
    assert {"reference", "native", "c"}.isdisjoint(verification.refusals)


@given(cases(FEATURES))
@settings(relaxed, max_examples=4)
def test_drawn_graphs(lava_nc, case):
    assert_the_same_everywhere(case)


@pytest.mark.slow
@given(cases(FEATURES))
@settings(relaxed, max_examples=100)
def test_many_drawn_graphs(lava_nc, case):
    assert_the_same_everywhere(case)
