"""Where an exporter drops what matters, spikes differ, from a step that what was dropped explains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from frameworks.cases import CASES
from frameworks.comparison import Comparison

from spikegraph.export.connectivity import Array

pytestmark = pytest.mark.peers

Explains = Callable[[Comparison, Array, Array], Array]


def before(array: Array) -> Array:
    """Return each step's predecessor."""
    return np.concatenate([np.zeros_like(array[:1]), array[:-1]])


def a_second_spike(comparison: Comparison, first: Array, theirs: Array) -> Array:
    """snnTorch with reset_delay=False: v that is above θ even after the subtraction fires again only above 2 θ."""
    v, _ = comparison.potentials("hidden")
    return before(v > comparison.threshold("hidden"))


def after_a_spike(comparison: Comparison, first: Array, theirs: Array) -> Array:
    """Norse's v_reset: here a spike sets v to 0."""
    return before(np.cumsum(theirs, axis=0)) > 0


def from_the_start(comparison: Comparison, first: Array, theirs: Array) -> Array:
    """Norse's v starts at v_leak, so that it is higher by v_leak · kept^(t + 1) until the neuron fires."""
    v_theirs, v_ours = comparison.potentials("1")
    v = 0.1 * 0.9 ** np.arange(1, len(v_ours) + 1).reshape(-1, 1, 1)
    silent = np.cumsum(theirs + comparison.ours["1"].s, axis=0) == 0
    np.testing.assert_allclose((v_theirs - v_ours)[silent], np.broadcast_to(v, silent.shape)[silent], atol=1e-5)
    return np.full(first.shape, True)


def a_bias_of_their_own(comparison: Comparison, first: Array, theirs: Array) -> Array:
    """Rockpool's bias of neurons: v is higher by 0.05 · Σ kept^k until the neuron fires."""
    v_theirs, v_ours = comparison.potentials("1_LIFTorch")
    v = 0.05 * np.cumsum(np.exp(-0.1 * np.arange(len(v_ours)))).reshape(-1, 1, 1)
    silent = np.cumsum(theirs + comparison.ours["1_LIFTorch"].s, axis=0) == 0
    np.testing.assert_allclose((v_theirs - v_ours)[silent], np.broadcast_to(v, silent.shape)[silent], atol=1e-4)
    return np.full(first.shape, True)


def several_at_once(comparison: Comparison, first: Array, theirs: Array) -> Array:
    """Sinabs' MultiSpike, and Rockpool: floor(v / θ) spikes in a step."""
    return np.cumsum(theirs > 1, axis=0) > 0


def clipped(comparison: Comparison, first: Array, theirs: Array) -> Array:
    """Sinabs' min_v_mem: v is never below -1."""
    v_theirs, _ = comparison.potentials("hidden")
    return np.cumsum(before(v_theirs == -1), axis=0) > 0


def a_filter(comparison: Comparison, first: Array, theirs: Array) -> Array:
    """Sinabs' tau_syn: in the first step v is less by a factor, the same for all neurons."""
    v_theirs, _ = comparison.potentials("hidden")
    x = comparison.ours["hidden"].v_before_reset[0]
    clear = (theirs[0] == 0) & (abs(x) > 0.5)
    factors = v_theirs[0][clear] / x[clear]
    np.testing.assert_allclose(factors, factors[0], rtol=1e-4)
    assert 0.5 < factors[0] < 0.99
    return np.full(first.shape, True)


EXPLANATIONS: dict[str, Explains] = {
    "a second spike needs twice the threshold": a_second_spike,
    "v_reset": after_a_spike,
    "v starts at v_leak": from_the_start,
    "bias of neurons": a_bias_of_their_own,
    "several spikes in a step": several_at_once,
    "min_v_mem": clipped,
    "tau_syn": a_filter,
}


@pytest.mark.parametrize("case", [case for case in CASES if case.dropped is not None], ids=str)
def test_each_neurons_first_difference_is_explained(comparison: Comparison) -> None:
    """In the first layer, whose input is the same on both sides."""
    _, theirs, ours = next(comparison.spikes())
    differ = theirs != ours
    assert differ.any(), "what was dropped shows nowhere"
    first = differ & (np.cumsum(differ, axis=0) == 1)
    assert comparison.case.dropped is not None
    explained = EXPLANATIONS[comparison.case.dropped](comparison, first, theirs.astype(int))
    assert explained[first].all()
