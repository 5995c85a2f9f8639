"""What the frameworks' own importers make of files written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from frameworks.cases import CASES, Case
from frameworks.comparison import Comparison, run_side

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.connectivity import Array
from spikegraph.export.formats import save

pytestmark = pytest.mark.peers

# Norse's importer is no inverse of its exporter: it takes seconds, and its CubaLIF is plain Euler.
WRITTEN_FOR = {
    "snntorch": Assumptions(convention="snntorch", dt=1e-4),
    "spikingjelly": Assumptions(convention="spikingjelly", dt=1e-4),
    "norse": Assumptions(convention="lava", dt=1e-3),
    "sinabs": Assumptions(convention="sinabs", dt=1.0),
    "rockpool": Assumptions(convention="rockpool", dt=1e-3),
}
ARRIVES = {
    "snntorch": {"leaky_zero", "synaptic_zero_at_once"},
    "spikingjelly": {case.network for case in CASES if case.framework == "spikingjelly"},
    "norse": {"lif", "iaf"},
}
# Sinabs' importer adds what no file says: MultiSpike, and min_v_mem = -θ for IF.
AS_THEIR_OWN_FILE = {"sinabs": {"iaf", "iaf_reset_to_zero", "iaf_clipped", "convolutional"}}
REFUSED = {
    ("snntorch", "leaky_subtract"): "Unknown node type",  # a Threshold: late resets are nodes of their own
    ("snntorch", "leaky_per_neuron"): "v_threshold must be same for all neurons",
    ("snntorch", "recurrent_zero"): "'GraphModule' object has no attribute 'items'",
    ("snntorch", "convolutional"): "shapes cannot be multiplied",  # it flattens the batch too
}


def chosen(networks: dict[str, set[str]]) -> list[Case]:
    return [case for case in CASES if case.network in networks.get(case.framework, ())]


def imported(comparison: Comparison, graph: Path, out: Path) -> Array | str:
    """Return the output spikes of the framework's import of a file, or its error."""
    run_side(comparison.case.framework, "run_imported", graph, comparison.trained.file.with_suffix(".npz"), out)
    with np.load(out) as told:
        return str(told["error"]) if "error" in told else told["s"]


def written(comparison: Comparison, tmp_path: Path) -> Path:
    path = tmp_path / "ours.nir"
    save(comparison.graph, path, WRITTEN_FOR[comparison.case.framework])
    return path


@pytest.mark.parametrize("case", chosen(ARRIVES), ids=str)
def test_it_has_the_same_spikes(comparison: Comparison, tmp_path: Path) -> None:
    s = imported(comparison, written(comparison, tmp_path), tmp_path / "out.npz")
    assert not isinstance(s, str), s
    np.testing.assert_array_equal(s.reshape(comparison.trained.output.shape), comparison.trained.output)


@pytest.mark.parametrize("case", chosen(AS_THEIR_OWN_FILE), ids=str)
def test_it_has_the_spikes_of_their_own_file(comparison: Comparison, tmp_path: Path) -> None:
    s = imported(comparison, written(comparison, tmp_path), tmp_path / "out.npz")
    own = imported(comparison, comparison.trained.file, tmp_path / "own.npz")
    assert not isinstance(s, str), s
    np.testing.assert_array_equal(s, own)
    assert (own != comparison.trained.output).any(), "their importer is better than the page says"


@pytest.mark.parametrize("case", [case for case in CASES if (case.framework, case.network) in REFUSED], ids=str)
def test_it_is_refused(comparison: Comparison, tmp_path: Path) -> None:
    error = imported(comparison, written(comparison, tmp_path), tmp_path / "out.npz")
    assert isinstance(error, str)
    assert REFUSED[comparison.case.framework, comparison.case.network] in error
