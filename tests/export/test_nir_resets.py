"""Resets of frameworks, which NIR does not hold: each against the framework's own step, written out."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import numpy.typing as npt
import pytest

from spikegraph.export.assumptions import AssumedReset, Assumptions
from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import read
from spikegraph.export.loss import LossReport
from spikegraph.hwsim.float_engine import run_float

N, N_STEPS = 5, 40
ALPHA, BETA = 0.5, 0.875  # of which float32 loses nothing
WEIGHT = (np.eye(N) - 0.5 * np.roll(np.eye(N), 1, axis=0)).astype(np.float32)
Floats = npt.NDArray[np.float64]


def imported(
    tmp_path: Path, neuron: nir.NIRNode, *more: tuple[str, nir.NIRNode], **assumed: object
) -> tuple[FloatGraph, LossReport]:
    nodes = {"input": nir.Input(np.array([N])), "fc": nir.Linear(WEIGHT), "neuron": neuron}
    nodes |= {"output": nir.Output(np.array([N])), **dict(more)}
    edges = [("input", "fc"), ("fc", "neuron"), ("neuron", "output")]
    edges += [edge for name, _ in more for edge in (("neuron", name), (name, "neuron"))]
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, edges, type_check=False))
    graph, report = read(tmp_path / "net.nir", Assumptions(n_steps=N_STEPS, max_value=3, **assumed))  # type: ignore[arg-type]
    assert isinstance(graph, FloatGraph)
    return graph, report


def leaky() -> nir.LIF:
    tau = np.full(N, 1e-4 / (1 - BETA))
    return nir.LIF(tau=tau, r=tau / 1e-4, v_leak=np.zeros(N), v_threshold=np.full(N, 2.0))


def synaptic() -> nir.CubaLIF:
    tau_syn, tau_mem = np.full(N, 1e-4 / (1 - ALPHA)), np.full(N, 1e-4 / (1 - BETA))
    return nir.CubaLIF(
        tau_syn=tau_syn,
        tau_mem=tau_mem,
        r=tau_mem / 1e-4,
        w_in=tau_syn / 1e-4,
        v_leak=np.zeros(N),
        v_threshold=np.full(N, 2.0),
    )


def raster() -> npt.NDArray[np.int64]:
    return np.random.default_rng(3).integers(0, 3, (N_STEPS, 1, N))


def spikes(graph: FloatGraph) -> npt.NDArray[np.bool_]:
    s = run_float(graph, {"input": raster()}, dtype=np.float64).spikes["neuron"][:, 0]
    assert 10 < s.sum() < s.size - 10
    return s


def snntorch(mechanism: str, *, alpha: float = 0.0, recurrent: float = 0.0, at_once: bool = False) -> Floats:
    """Return the spikes of snnTorch's neurons: Leaky (alpha 0), Synaptic, RLeaky (recurrent not 0)."""
    mem, syn, s = np.zeros(N), np.zeros(N), np.zeros(N)
    fired = []
    for x in raster()[:, 0] @ WEIGHT.T.astype(float):
        late = 0 * s if at_once else s
        syn = alpha * syn + x + recurrent * s
        if mechanism == "subtract":
            mem = BETA * mem + syn - late * 2.0
        elif mechanism == "zero" and (alpha or recurrent):
            mem = np.where(late > 0, 0, BETA * mem + syn)
        elif mechanism == "zero":
            mem = BETA * np.where(late > 0, 0, mem) + syn
        else:
            mem = BETA * mem + syn
        s = (mem > 2.0).astype(float)
        if at_once:
            mem = mem - s * (2.0 if mechanism == "subtract" else mem)
        fired.append(s)
    return np.array(fired)


@pytest.mark.parametrize("mechanism", ["subtract", "zero", "none"])
@pytest.mark.parametrize("alpha", [0.0, ALPHA], ids=["Leaky", "Synaptic"])
def test_snntorch_resets_one_step_late(tmp_path: Path, mechanism: AssumedReset, alpha: float) -> None:
    graph, _ = imported(tmp_path, synaptic() if alpha else leaky(), convention="snntorch", reset=mechanism)
    np.testing.assert_array_equal(spikes(graph), snntorch(mechanism, alpha=alpha))


@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
@pytest.mark.parametrize("alpha", [0.0, ALPHA], ids=["Leaky", "Synaptic"])
def test_and_at_once_if_it_was_told_to(tmp_path: Path, mechanism: str, alpha: float) -> None:
    node = synaptic() if alpha else leaky()
    graph, _ = imported(tmp_path, node, convention="snntorch", reset=f"{mechanism}-at-once")
    np.testing.assert_array_equal(spikes(graph), snntorch(mechanism, alpha=alpha, at_once=True))
    assert not np.array_equal(spikes(graph), snntorch(mechanism, alpha=alpha)) or (mechanism, alpha) == ("zero", 0.0)


@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
def test_recurrent_neurons_lose_a_step_when_set_to_zero(tmp_path: Path, mechanism: AssumedReset) -> None:
    w_rec = nir.Linear(np.eye(N, dtype=np.float32) * 0.5)
    graph, report = imported(tmp_path, leaky(), ("w_rec", w_rec), convention="snntorch", reset=mechanism)
    np.testing.assert_array_equal(spikes(graph), snntorch(mechanism, recurrent=0.5))
    assert (graph.populations["neuron"].refractory_steps == 2) == (mechanism == "zero")
    assert any("whose input is lost" in fact for fact in report.facts) == (mechanism == "zero")


def test_a_reset_that_was_asked_for_is_told_and_an_unknown_one_refused(tmp_path: Path) -> None:
    _, report = imported(tmp_path, leaky(), reset="zero")
    assert any("reset zero: as asked for" in fact for fact in report.facts)
    with pytest.raises(OptionError, match=r"reset.*'soft'.*use one of zero, subtract"):
        imported(tmp_path, leaky(), reset="soft")


@pytest.mark.parametrize("convention", ["norse", "spikingjelly"])
def test_neurons_with_r_1_do_not_show_how_long_a_step_is(tmp_path: Path, convention: str) -> None:
    """SpikingJelly with decay_input, Norse's LIFBox: τ / r would be taken for dt, and all input for unscaled."""
    dt = {"norse": 1e-6, "spikingjelly": 1e-4}[convention]
    node = nir.LIF(tau=np.full(N, 8 * dt), r=np.ones(N), v_leak=np.zeros(N), v_threshold=np.ones(N))
    graph, _ = imported(tmp_path, node, convention=convention)
    assert graph.dt == dt
    np.testing.assert_allclose(graph.projections["fc"].weight, WEIGHT / 8, rtol=1e-12)
    assert np.exp(-dt / np.asarray(graph.populations["neuron"].tau_mem)) == pytest.approx(7 / 8, rel=1e-12)


def test_a_share_beyond_1_is_1_in_snntorch_and_refused_elsewhere(tmp_path: Path) -> None:
    """Learned decays pass 1: snnTorch clamps them when it runs, and writes negative time constants."""
    tau = np.full(N, 1e-4 / (1 - 1.25))
    node = nir.LIF(tau=tau, r=tau / 1e-4, v_leak=np.zeros(N), v_threshold=np.full(N, 2.0))
    graph, _ = imported(tmp_path, node, convention="snntorch", reset="zero")
    assert np.isinf(graph.populations["neuron"].tau_mem).all()
    np.testing.assert_array_equal(graph.projections["fc"].weight, WEIGHT)
    with pytest.raises(FileFormatError, match=r"neuron: tau: holds the time -0\.0004"):
        imported(tmp_path, node, convention="exact")


def test_sinabs_without_norm_input_takes_its_input_whole(tmp_path: Path) -> None:
    node = nir.LIF(tau=np.full(N, 10.0), r=np.ones(N), v_leak=np.zeros(N), v_threshold=np.ones(N))
    scaled, _ = imported(tmp_path, node, convention="sinabs")
    whole, _ = imported(tmp_path, node, convention="sinabs-whole")
    np.testing.assert_allclose(scaled.projections["fc"].weight, WEIGHT * (1 - np.exp(-0.1)), rtol=1e-12)
    np.testing.assert_array_equal(whole.projections["fc"].weight, WEIGHT)


@pytest.mark.parametrize("theta", [1.0, 0.3, 1e-3])
def test_at_the_threshold_is_fired_where_the_framework_does_so(tmp_path: Path, theta: float) -> None:
    """In float32, whatever the file's parameters are: that is what frameworks compare in."""
    node = nir.IF(r=np.full(N, 1e4), v_threshold=np.full(N, theta))
    for convention, strict in (("spikingjelly", False), ("norse", True)):
        graph, _ = imported(tmp_path, node, convention=convention)
        below = graph.populations["neuron"].v_threshold.ravel()[0].astype(np.float32)
        at = np.float32(theta)
        assert (at > below) == (not strict)
        assert not np.nextafter(at, np.float32(0)) > below


def test_norse_starts_at_the_leak_potential_and_that_is_told(tmp_path: Path) -> None:
    node = nir.LIF(tau=np.full(N, 1e-5), r=np.ones(N), v_leak=np.full(N, 0.1), v_threshold=np.ones(N))
    _, report = imported(tmp_path, node, convention="norse")
    (loss,) = (loss for loss in report.losses if loss.attribute == "v_leak")
    assert loss.effect == "approximated"
    _, report = imported(tmp_path, node, convention="spikingjelly", dt=1e-6)
    assert not [loss for loss in report.losses if loss.attribute == "v_leak"]


def test_rockpool_decays_a_current_with_its_new_input_and_scales_nothing_else(tmp_path: Path) -> None:
    """As its exporter writes it: w_in 1, r = τ · exp(-dt / τ) / dt; in float64 here, so that nothing is rounded."""
    tau_syn, tau_mem, dt = np.full(N, 4e-3), np.full(N, 2e-2), 1e-3
    node = nir.CubaLIF(
        tau_syn=tau_syn,
        tau_mem=tau_mem,
        r=tau_mem * np.exp(-dt / tau_mem) / dt,
        v_leak=np.zeros(N),
        v_threshold=np.ones(N),
        w_in=np.ones(N),
    )
    graph, report = imported(tmp_path, node)
    assert graph.dt == dt
    assert any(fact.startswith("convention rockpool") for fact in report.facts)
    np.testing.assert_allclose(graph.projections["fc"].weight, WEIGHT * np.exp(-0.25), rtol=1e-12)
    population = graph.populations["neuron"]
    assert (population.tau_syn, population.tau_mem, population.reset) == (
        pytest.approx(4e-3),
        pytest.approx(2e-2),
        "subtract",
    )
    assert any(loss.attribute == "spikes per step" for loss in report.losses)
