"""The same on an Arm Cortex-M3, which qemu emulates: every spike and state, and no more memory than was said."""

import cortex_m
import numpy as np
import pytest
from every_kind import everything, rasters_for
from graph_strategies import cases
from hypothesis import HealthCheck, given, settings

from spikegraph.targets.c.folder import write_files
from spikegraph.targets.c.layout import lay_out
from spikegraph.targets.c.run import events_text, read_trace
from spikegraph.targets.c.source import sources_of
from spikegraph.targets.verify import verify

pytestmark = pytest.mark.skipif(bool(cortex_m.MISSING), reason=f"needs {' and '.join(cortex_m.MISSING)}")
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}


def require_identical(graph, rasters, folder):
    def run(graph, rasters):
        layout = lay_out(graph)
        write_files(sources_of(graph, layout, "net"), folder)
        (folder / "events").write_text(events_text(graph, rasters))
        cortex_m.run(folder, "-Os", "-DSG_TRACE")
        return read_trace(graph, layout, folder / "trace", next(iter(rasters.values())).shape[1])

    verification = verify(graph, rasters, {"cortex-m": run})
    assert verification.identical, str(verification)


def test_everything_at_once(tmp_path):
    graph = everything()
    require_identical(graph, rasters_for(graph), tmp_path)


@settings(max_examples=2, **COMMON)
@given(case=cases())
def test_drawn_networks(tmp_path_factory, case):
    require_identical(case.graph, case.rasters, tmp_path_factory.mktemp("m3"))


@pytest.mark.slow
@settings(max_examples=100, **COMMON)
@given(case=cases())
def test_many_drawn_networks(tmp_path_factory, case):
    require_identical(case.graph, case.rasters, tmp_path_factory.mktemp("m3"))


def test_instructions_are_counted(tmp_path, make_graph, make_rasters):
    """Twice the samples take twice the instructions; a tick of the timer is 1.6 of them, in 6 and 12 steps each."""
    graph = make_graph()
    counted = []
    for n_samples in (1, 2):
        rasters = {name: np.repeat(a, n_samples, axis=1) for name, a in make_rasters(graph, n_samples=1).items()}
        write_files(sources_of(graph, lay_out(graph), "net"), tmp_path)
        (tmp_path / "events").write_text(events_text(graph, rasters))
        counted.append(cortex_m.instructions(cortex_m.run(tmp_path, "-Os")))
    assert counted[0] > 6 * 100
    assert abs(counted[1] - 2 * counted[0]) <= 12 * 2
