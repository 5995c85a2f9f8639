"""Reading NIR: chains of linear nodes against PyTorch's layers, networks against a NIR that is stepped through."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nir_stepper import Stepper

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.connectivity import per_neuron
from spikegraph.export.errors import FileFormatError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import read
from spikegraph.export.loss import LossReport
from spikegraph.export.nir.conventions import CONVENTIONS
from spikegraph.export.time_constants import kept_share, time_constant_of
from spikegraph.hwsim.float_engine import run_float

FIXTURE = HealthCheck.function_scoped_fixture
LAVA = {"convention": "lava", "dt": 1.0}  # r of 1 then scales nothing
Nodes = dict[str, Any]


def written(folder: Path, nodes: Nodes, edges: list[tuple[str, str]]) -> Path:
    path = folder / "net.nir"
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    return path


def line(*nodes: Any, shape: tuple[int, ...], out: int | tuple[int, ...]) -> tuple[Nodes, list[tuple[str, str]]]:
    named: Nodes = {"input": nir.Input(np.array(shape)), **{f"n{i}": node for i, node in enumerate(nodes)}}
    named["output"] = nir.Output(np.atleast_1d(out))
    return named, list(pairwise(named))


def load(folder: Path, nodes: Nodes, edges: list[tuple[str, str]], **assumed: Any) -> tuple[FloatGraph, LossReport]:
    graph, report = read(written(folder, nodes, edges), Assumptions(**{**LAVA, **assumed}))
    assert isinstance(graph, FloatGraph)
    return graph, report


def integrators(shape: int | tuple[int, ...], threshold: float = 1.0) -> nir.IF:
    return nir.IF(r=np.ones(shape, np.float32), v_threshold=np.full(shape, threshold, np.float32))


def weights(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-4, 5, shape).astype(np.float64)


# Chains of linear nodes.


@st.composite
def linear_chains(draw: st.DrawFn, *, windows: bool = False) -> tuple[tuple[int, ...], list[Any], tuple[int, ...]]:
    """Draw up to four linear nodes one after the other: shape of the input, nodes, shape of the output."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images: list[tuple[int, ...]] = [(2, 8, 12), (4, 12, 8)] if windows else [(2, 6, 5), (4, 4, 4)]
    first = draw(st.sampled_from(images if windows else [*images, (3, 8), (2, 7), (5,)]))
    shape, nodes = first, []
    for _ in range(draw(st.integers(1, 4))):
        kinds = ["Scale", "Affine"]
        kinds += ["Conv2d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten"] * (len(shape) == 3)
        kinds += ["Conv1d", "Flatten"] * (len(shape) == 2)
        kind = draw(st.sampled_from(["Scale", "Conv2d", "Conv2d", "SumPool2d", "AvgPool2d"] if windows else kinds))
        if kind == "Scale":
            spread = draw(st.sampled_from([(1,) * len(shape), (shape[0], *[1] * (len(shape) - 1)), shape]))
            node = nir.Scale(np.broadcast_to(weights(rng, *spread), shape).copy())
        elif kind == "Affine":
            node = nir.Affine(weights(rng, 3, shape[-1]), weights(rng, 3))
        elif kind == "Flatten":
            start = draw(st.integers(0, len(shape) - 1))
            node = nir.Flatten(np.array(shape), start, -1)
        elif kind in ("SumPool2d", "AvgPool2d"):
            k = draw(st.sampled_from([(1, 1), (2, 2), (2, 1), (3, 2)]))
            if min(n - size for n, size in zip(shape[1:], k, strict=True)) < 0:
                continue
            stride = k if draw(st.booleans()) else (1, 2)
            padding = np.array([size // 2 if draw(st.booleans()) and not windows else 0 for size in k])
            node = getattr(nir, kind)(np.array(k), np.array(stride), padding)
        else:
            node = _conv(draw, rng, shape, padded=not windows or draw(st.sampled_from([False, False, True])))
            if node is None:
                continue
        nodes.append(node)
        shape = np.shape(Stepper(nir.NIRGraph({}, [], type_check=False), 1.0).node("", node, np.zeros(shape)))
    return first, nodes, shape


def _conv(draw: st.DrawFn, rng: np.random.Generator, shape: tuple[int, ...], *, padded: bool) -> Any:
    n = len(shape) - 1
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(n))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(n))
    padding: Any = tuple(draw(st.integers(0, 3 * padded)) for _ in range(n))
    stride = tuple(draw(st.integers(1, 2)) for _ in range(n))
    if draw(st.sampled_from([False, False, True])):
        padding, stride = draw(st.sampled_from(["same", "valid"])), (1,) * n
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    wider = [0] * n if padding == "valid" else reach if padding == "same" else [2 * p for p in padding]
    if min(size + p - r for size, p, r in zip(shape[1:], wider, reach, strict=True)) < 1:
        return None
    groups = draw(st.sampled_from([g for g in (1, 2, shape[0]) if shape[0] % g == 0]))
    channels = groups * draw(st.integers(1, 2))
    weight, bias = weights(rng, channels, shape[0] // groups, *kernel), weights(rng, channels)
    if n == 1:
        padding = padding if isinstance(padding, str) else padding[0]
        return nir.Conv1d(shape[1], weight, stride[0], padding, dilation[0], groups, bias)
    return nir.Conv2d(shape[1:], weight, stride, padding, dilation, groups, bias)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # PyTorch pads more behind than in front, and says so
@settings(max_examples=60, suppress_health_check=[FIXTURE])
@given(chain=linear_chains() | linear_chains(windows=True), seed=st.integers(0, 2**16))
def test_a_chain_of_linear_nodes_is_one_projection_and_a_bias(tmp_path: Path, chain: Any, seed: int) -> None:
    shape, nodes, after = chain
    if not nodes:
        return
    x = np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)
    stepper = Stepper(nir.NIRGraph({}, [], type_check=False), 1.0)
    y = x
    for node in nodes:
        y = stepper.node("", node, y)
    graph, _ = load(tmp_path, *line(*nodes, integrators(after), shape=shape, out=after))
    name = f"n{len(nodes)}"
    target = graph.populations[name].shape
    found = per_neuron(graph.populations[name].bias, target).ravel().astype(np.float64)
    assert len(graph.projections) <= 1  # none where all weights are 0
    for p in graph.projections.values():
        source, to, place = p.synapses(graph.shape_of(p.source), target)
        assert p.shape_problem(graph.shape_of(p.source), target) is None
        found = found + np.bincount(to, p.weight.ravel()[place] * x.ravel()[source], len(found))
    np.testing.assert_allclose(found, y.ravel(), rtol=1e-12, atol=1e-9)


def halves(kind: type) -> Any:
    return kind(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))


def conv(size: int) -> nir.Conv2d:
    return nir.Conv2d((size, size), np.ones((3, 2, 3, 3)), 1, 1, 1, 1, np.zeros(3))


def flat(*shape: int) -> nir.Flatten:
    return nir.Flatten(np.array(shape), 0, -1)


@pytest.mark.parametrize(
    ("nodes", "shape", "after", "kind"),
    [
        ([halves(nir.SumPool2d), conv(4)], (2, 8, 8), (3, 4, 4), "Conv2d"),
        ([halves(nir.AvgPool2d), flat(2, 4, 4), nir.Linear(np.ones((5, 32)))], (2, 8, 8), (5,), "Dense"),
        ([conv(8), halves(nir.AvgPool2d)], (2, 8, 8), (3, 4, 4), "Conv2d"),
        ([halves(nir.AvgPool2d), halves(nir.SumPool2d)], (2, 8, 8), (2, 2, 2), "SumPool2d"),
        ([nir.Scale(np.full((2, 4, 4), 3.0))], (2, 4, 4), (2, 4, 4), "OneToOne"),
        ([nir.Conv1d(8, np.ones((3, 2, 3)), 2, 1, 1, 1, np.zeros(3))], (2, 8), (3, 4), "Conv2d"),
        ([nir.Linear(np.ones((6, 5))), nir.Linear(np.ones((4, 6)))], (5,), (4,), "Dense"),
        ([conv(4), flat(3, 4, 4)], (2, 4, 4), (48,), "Sparse"),
    ],
)
def test_structure_is_kept(tmp_path: Path, nodes: list[Any], shape: Any, after: Any, kind: str) -> None:
    graph, _ = load(tmp_path, *line(*nodes, integrators(after), shape=shape, out=after))
    assert [p.kind for p in graph.projections.values()] == [kind]


def test_weights_of_float32_stay_float32_where_nothing_is_rounded(tmp_path: Path) -> None:
    weight = np.array([[0.1, 0.2]], np.float32)
    graph, _ = load(tmp_path, *line(nir.Linear(weight), integrators(1), shape=(2,), out=1))
    assert graph.projections["n0"].weight.dtype == np.float32
    np.testing.assert_array_equal(graph.projections["n0"].weight, weight)


# Whole networks, against NIR stepped through.


def spikes(rng: np.random.Generator, n_steps: int, *shape: int) -> Any:
    return (rng.random((n_steps, *shape)) < 0.4).astype(np.int16)


def assert_alike(
    folder: Path, nodes: Nodes, edges: list[tuple[str, str]], start: Mapping[str, Any] | None = None
) -> None:
    """Compare every output, step by step: spikes exactly, potentials but for rounding."""
    dt, n_steps = 1e-3, 40
    graph, _ = load(folder, nodes, edges, dt=dt, n_steps=n_steps)
    rng = np.random.default_rng(1)
    rasters = {name: spikes(rng, n_steps, 1, *node.shape) for name, node in graph.inputs.items()}
    found = run_float(graph, rasters, dtype=np.float64)
    stepper = Stepper(nir.NIRGraph(nodes, edges, type_check=False), dt)
    stepper.state.update(start or {})
    fired = 0
    for t in range(n_steps):
        given = {
            name: rasters[name][t, 0].reshape(node.input_type["input"]).astype(np.float64)
            for name, node in nodes.items()
            if isinstance(node, nir.Input)
        }
        now = stepper.step(given)
        for name, output in graph.outputs.items():
            trace = found.traces[output.population]
            here = (trace.s if output.variable == "s" else trace.v_before_reset)[t, 0].ravel()
            np.testing.assert_allclose(here, np.ravel(now[name]), rtol=1e-9, atol=1e-9, err_msg=f"{name}, step {t}")
            fired += int(np.count_nonzero(here))
    assert fired > n_steps / 4


def parameters(rng: np.random.Generator, n: int) -> dict[str, Any]:
    return {"r": rng.uniform(20, 40, n), "v_leak": rng.uniform(-0.1, 0.1, n)}


FOUR = np.ones(4)


@pytest.mark.parametrize("v_reset", [0.0, -0.3])
@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF", "Threshold"])
def test_neurons_that_fire(tmp_path: Path, kind: str, v_reset: float) -> None:
    rng = np.random.default_rng(3)
    firing = {"v_threshold": rng.uniform(0.5, 1, 4), "v_reset": FOUR * v_reset}
    taus = rng.uniform(5e-3, 2e-2, (2, 4))
    node = {
        "IF": lambda: nir.IF(r=rng.uniform(200, 400, 4), **firing),
        "LIF": lambda: nir.LIF(tau=taus[0], **parameters(rng, 4), **firing),
        "CubaLIF": lambda: nir.CubaLIF(tau_syn=taus[0], tau_mem=taus[1], w_in=FOUR * 2, **parameters(rng, 4), **firing),
        "Threshold": lambda: nir.Threshold(firing["v_threshold"]),
    }[kind]()
    nodes, edges = line(nir.Affine(rng.uniform(-0.4, 1, (4, 3)), FOUR * 0.1), node, shape=(3,), out=4)
    start = {"n1": (0.0, FOUR * v_reset)} if kind != "Threshold" else {}  # nobody says where v begins: here at v_reset
    assert_alike(tmp_path, nodes, edges, start)


@pytest.mark.parametrize("kind", ["I", "LI", "CubaLI", "none"])
@pytest.mark.parametrize("then", ["Output", "Threshold", "IF"])
def test_neurons_that_do_not_fire(tmp_path: Path, kind: str, then: str) -> None:
    rng = np.random.default_rng(4)
    node = {
        "I": lambda: nir.I(r=FOUR * 300),
        "LI": lambda: nir.LI(tau=FOUR * 7e-3, **parameters(rng, 4)),
        "CubaLI": lambda: nir.CubaLI(tau_syn=FOUR * 4e-3, tau_mem=FOUR * 9e-3, **parameters(rng, 4)),
        "none": lambda: nir.Scale(FOUR * 2),
    }[kind]()
    last = {"Output": [], "Threshold": [nir.Threshold(FOUR * 0.7)], "IF": [nir.IF(FOUR * 200, FOUR)]}[then]
    nodes, edges = line(nir.Linear(rng.uniform(-0.2, 1, (4, 3))), node, *last, shape=(3,), out=4)
    if (kind, then) == ("CubaLI", "IF"):
        with pytest.raises(FileFormatError, match="make 3 stages"):
            load(tmp_path, nodes, edges, dt=1e-3)
    else:
        assert_alike(tmp_path, nodes, edges)


def test_a_filter_moves_behind_weights_if_it_is_the_same_for_all(tmp_path: Path) -> None:
    filter_ = nir.LI(tau=FOUR * 7e-3, r=FOUR * 30, v_leak=FOUR * 0.2)
    rest = [
        nir.Affine(np.eye(3, 4) - 0.2, np.ones(3) * 0.01),
        nir.LIF(np.ones(3) * 0.01, np.ones(3) * 9, np.zeros(3), np.ones(3) * 0.4),
    ]
    nodes, edges = line(filter_, *rest, shape=(4,), out=3)
    assert_alike(tmp_path, nodes, edges)


def test_filters_that_differ_do_not_move_behind_weights(tmp_path: Path) -> None:
    filter_ = nir.LI(tau=np.array([1e-2, 1e-2, 1e-2, 2e-2]), r=FOUR, v_leak=FOUR * 0)
    nodes, edges = line(filter_, nir.Linear(np.ones((4, 4))), integrators(4), shape=(4,), out=4)
    with pytest.raises(FileFormatError, match="n0: has time constants that differ, and is followed by weights"):
        load(tmp_path, nodes, edges, dt=1e-3)


def test_delays_per_neuron(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    delay = nir.Delay(np.array([0, 1, 3, 1]) * 1e-3)
    nodes, edges = line(delay, nir.Linear(rng.uniform(0, 1, (4, 4))), nir.IF(FOUR * 400, FOUR), shape=(4,), out=4)
    assert_alike(tmp_path, nodes, edges)
    graph, _ = load(tmp_path, nodes, edges, dt=1e-3)
    assert sorted(p.delay_steps for p in graph.projections.values()) == [0, 1, 3]


def test_a_delay_that_is_no_whole_step_is_rounded_and_told(tmp_path: Path) -> None:
    nodes, edges = line(nir.Delay(FOUR * 1.4e-3), integrators(4), shape=(4,), out=4)
    graph, report = load(tmp_path, nodes, edges, dt=1e-3)
    assert [p.delay_steps for p in graph.projections.values()] == [1]
    (loss,) = [loss for loss in report.losses if loss.attribute == "delay"]
    assert loss.effect == "approximated"
    assert loss.error == pytest.approx(0.4)


def test_branches_recurrence_and_nested_graphs(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    lif = {"tau": FOUR * 8e-3, "r": FOUR * 9, "v_leak": FOUR * 0, "v_threshold": FOUR}
    within: Nodes = {"lif": nir.LIF(**lif), "w": nir.Linear(rng.uniform(-1, 1, (4, 4)))}
    ends: Nodes = {"in": nir.Input(np.array([4])), "out": nir.Output(np.array([4]))}
    inner_edges = [("in", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "out")]
    inner = nir.NIRGraph({**ends, **within}, inner_edges, type_check=False)
    nodes: Nodes = {
        "input": nir.Input(np.array([3])),
        "left": nir.Affine(rng.uniform(0, 1, (4, 3)), FOUR * 0.05),
        "right": nir.Linear(rng.uniform(0, 1, (4, 3))),
        "both": nir.Scale(FOUR * 0.7),
        "first": inner,
        "last": nir.IF(FOUR * 500, FOUR),
        "output": nir.Output(np.array([4])),
    }
    edges = [("input", "left"), ("input", "right"), ("left", "both"), ("right", "both"), ("both", "first")]
    edges += [("first", "last"), ("right", "last"), ("last", "output"), ("last", "first")]
    graph, report = load(tmp_path, nodes, edges[::-1], dt=1e-3, n_steps=40)
    laid_flat = {name: node for name, node in nodes.items() if name != "first"}
    laid_flat |= {f"first.{name}": node for name, node in within.items()}
    names = {"first": "first.lif"}
    flat_edges = [(names.get(a, a), names.get(b, b)) for a, b in edges]
    flat_edges += [("first.lif", "first.w"), ("first.w", "first.lif")]
    assert set(graph.populations) == {"first.lif", "last"}
    assert sorted(p.delay_steps for p in graph.projections.values()) == [0, 0, 0, 0, 1, 1]
    assert sum("arrive one step later" in fact for fact in report.facts) == 2
    assert_alike(tmp_path, laid_flat, flat_edges)


# What is told.


def test_populations_that_are_added_take_no_name_of_the_file(tmp_path: Path) -> None:
    """An output that reads v is NAME_v, a neuron that brings a bias NAME_constant: unless a node is called so."""
    two, eye = np.ones(2), np.eye(2)
    neurons = nir.CubaLIF(two * 2, two * 2, two, two * 0, two, w_in=two)
    nodes, edges = line(nir.Affine(eye, two / 4), neurons, nir.Linear(eye), nir.I(two), shape=(2,), out=2)
    called = {"n1": "hidden", "n3": "read"}
    expected, _ = load(tmp_path, {called.get(name, name): node for name, node in nodes.items()}, renamed(edges, called))
    taken = {"input": "hidden_constant", "n0": "output_v", "n1": "hidden", "n2": "hidden_constant_2", "n3": "read"}
    graph, _ = load(tmp_path, {taken.get(name, name): node for name, node in nodes.items()}, renamed(edges, taken))
    spikes = np.ones((graph.n_steps, 1, 2), np.int64)
    ours = run_float(graph, {"hidden_constant": spikes}).traces[graph.outputs["output"].population]
    theirs = run_float(expected, {"input": spikes}).traces[expected.outputs["output"].population]
    assert len(graph.populations) == len(expected.populations) == 3
    assert theirs.v.any()
    assert np.array_equal(ours.v, theirs.v)


def renamed(edges: list[tuple[str, str]], called: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(called.get(source, source), called.get(target, target)) for source, target in edges]


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
def test_a_convention_that_is_asked_for_is_taken_and_told(tmp_path: Path, convention: str) -> None:
    _, report = load(tmp_path, *line(integrators(2), shape=(2,), out=2), convention=convention, dt=0.5)
    assert any(convention in fact and "asked for" in fact for fact in report.facts)
    assert any("dt = 0.5 s: as asked for" in fact for fact in report.facts)


@pytest.mark.parametrize(
    ("node", "convention", "dt"),
    [
        (nir.IF(np.ones(2, np.float32), np.ones(2, np.float32)), "sinabs", 1e-3),
        (nir.IF(np.full(2, 1e4), np.ones(2)), "spikingjelly", 1e-4),
        (nir.LIF(*np.array([[2e-3], [20], [0], [1]], np.float32)), "snntorch", 1e-4),
        (nir.LIF(*np.array([[2e-3, -5e-2], [20, -500], [0, 0], [1, 1]], np.float32)), "snntorch", 1e-4),
        (nir.LIF(*np.array([[np.inf], [np.inf], [0], [1]], np.float32)), "snntorch", 1e-4),
        (nir.LIF(*np.array([[2e-3], [20], [0], [1.0]])), "spikingjelly", 1e-4),
        (nir.LIF(*np.array([[1e-5], [1], [0], [1]], np.float32)), "norse", 1e-6),
        (nir.LIF(*np.array([[2e-2], [7], [0], [1.0]])), "exact", 1e-3),
    ],
)
def test_what_wrote_a_file_is_inferred_from_r_and_told(tmp_path: Path, node: Any, convention: str, dt: float) -> None:
    path = written(tmp_path, *line(node, shape=node.r.shape, out=node.r.shape))
    graph, report = read(path)
    assert isinstance(graph, FloatGraph)
    assert report.facts[0].startswith(f"convention {convention} ")
    assert graph.dt == pytest.approx(dt)


@settings(max_examples=300)
@given(kept=st.floats(0.5, 1 - 1e-9), dt=st.floats(1e-6, 1))
def test_a_time_constant_keeps_the_share_that_is_asked_for(kept: float, dt: float) -> None:
    assert abs(kept_share(time_constant_of(kept, dt), dt) - kept) <= np.spacing(kept)


@given(kept=st.floats(1e-9, 0.5), dt=st.floats(1e-6, 1))
def test_a_small_share_is_kept_but_for_its_last_digits(kept: float, dt: float) -> None:
    assert kept_share(time_constant_of(kept, dt), dt) == pytest.approx(kept, rel=1e-14)


def test_nearly_all_shares_are_kept_to_the_last_bit() -> None:
    shares = np.linspace(0.5, 1, 4096, endpoint=False)
    assert (kept_share(time_constant_of(shares, 1e-3), 1e-3) == shares).mean() > 0.99


def test_the_ends_of_what_can_be_kept() -> None:
    assert time_constant_of(0.0, 1e-3) == 0
    assert time_constant_of(1.0, 1e-3) == np.inf
    assert kept_share(time_constant_of(np.float64(np.exp(-0.05)), 1e-3), 1e-3) == np.exp(-0.05)


def test_scales_between_reshapes(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    nodes = [nir.Scale(weights(rng, 2, 3, 1)), nir.Flatten(np.array([2, 3, 1]), 0, 1), nir.Scale(weights(rng, 6, 1))]
    nodes += [nir.Flatten(np.array([6, 1]), 0, 1), nir.Scale(weights(rng, 6)), integrators(6)]
    graph, _ = load(tmp_path, *line(*nodes, shape=(2, 3, 1), out=6))
    (p,) = graph.projections.values()
    _, target, place = p.synapses((2, 3, 1), (6,))
    expected = nodes[0].scale.ravel() * nodes[2].scale.ravel() * nodes[4].scale
    np.testing.assert_array_equal(np.bincount(target, p.weight.ravel()[place], 6), expected)
