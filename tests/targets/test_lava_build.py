"""Plans, refusals, exact rewrites and the folder that stands alone."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from spikegraph.export import fixed
from spikegraph.export.errors import TargetError
from spikegraph.export.graph import Dense, Input, OneToOne, Population
from spikegraph.targets.lava import LavaRefusalError, build_lava, plan_lava
from spikegraph.targets.lava.weights import SIGN_MODES, fitted
from spikegraph.targets.verify import verify


def test_plan_starts_each_layer_a_step_later(make_graph):
    network = plan_lava(make_graph()).network
    # T = 6; a at depth 1 works from step 1 on, which Lava, counting from 1, calls 2.
    assert {name: p["reset_offset"] for name, p in network["populations"].items()} == {"a": 2, "b": 3}
    assert (network["period"], network["depth"], network["streamed"]) == (6, 2, True)
    assert plan_lava(make_graph(n_steps=2)).network["populations"]["b"]["reset_offset"] == 1


def test_skip_becomes_delay(make_graph):
    graph = make_graph()
    skip = Dense(source="x", target="b", weight=np.ones((2, 4), int))
    report = plan_lava(replace(graph, projections={**graph.projections, "skip": skip})).report()
    assert [p["process"] for p in report["processes"]].count("DelayDense") == 1
    assert report["processes"][0] == {"process": "RingBuffer", "node": "x"}


@pytest.mark.parametrize(
    ("population", "projection", "says"),
    [
        ({"threshold_mant": [1, 2, 2]}, {}, "a: threshold_mant has 2 values, but a Lava process has one vth"),
        ({"decay_u": [1, 2, 3]}, {}, "a: decay_u has 3 values"),
        ({"decay_v": [1, 2, 3]}, {}, "a: decay_v has 3 values"),
        ({"decay_v": 4096}, {}, "a: decay_v = 4096 does not fit"),
        ({"reset": "subtract"}, {}, "a: reset = 'subtract'"),
        ({"refractory_steps": 2}, {}, "a: refractory_steps = 2"),
        ({"max_spikes": 1}, {}, "a: max_spikes = 1"),
        ({}, {"delay_steps": 64}, "p: needs a delay of 65 steps, but DelayDense holds 64"),
        ({}, {"weight": np.array([[-129, 127, 0, 0]] * 3)}, "p: weights -129…127 fit neither"),
        ({}, {"weight": np.full((3, 4), 255), "weight_exp": 15 - 8, "delay_steps": 0}, None),
        ({"shape": (4,), "bias_mant": 0}, {"kind": OneToOne, "weight": np.ones(4, int)}, "p: OneToOne has no Lava"),
    ],
)
def test_refusals(make_graph, population, projection, says):
    graph = make_graph(population, projection)
    if population.get("shape"):
        graph = replace(
            graph, projections={**graph.projections, "q": Dense(source="a", target="b", weight=[[1] * 4] * 2)}
        )
    if says is None:
        assert plan_lava(graph).network["projections"]["p"]["weight_exp"] == 7
        return
    with pytest.raises(LavaRefusalError) as refused:
        plan_lava(graph)
    assert [str(problem).startswith(says) for problem in refused.value.problems] == [True]


def test_every_reason_is_listed(make_graph):
    population = {"reset": "none", "max_spikes": 2, "decay_v": [4096, 1, 1]}
    with pytest.raises(TargetError) as refused:
        plan_lava(make_graph(population))
    assert len(refused.value.problems) == 4
    assert str(refused.value).startswith("Lava cannot express this graph, 4 reason(s):\n  a: decay_v has 2 values")


def test_u_that_lava_would_not_wrap_is_refused(make_graph):
    # 13 inputs × 254 << 7 << 6 = 27049984 > 3 · 2^23 = 25165824; 12 are 24969216.
    for n_inputs in (12, 13):
        weight = np.full((3, n_inputs), 254)
        graph = make_graph(
            {"decay_u": 4096}, {"weight": weight, "weight_exp": 7}, inputs={"x": Input(shape=(n_inputs,))}
        )
        if n_inputs == 12:
            plan_lava(graph)
        else:
            with pytest.raises(LavaRefusalError, match="u may reach 0…27049984 before it wraps"):
                plan_lava(graph)


def test_graded_sums_beyond_32_bits_and_parts_are_refused(make_graph):
    wide = Input(shape=(300,), min_value=0, max_value=32767)
    weight = np.where(np.arange(300) % 2, 127, -127) * np.ones((3, 1), int)
    graph = make_graph({"decay_u": 4096}, {"weight": weight, "weight_exp": -8}, inputs={"x": wide})
    with pytest.raises(
        LavaRefusalError, match="graded sums may reach 2496845400"
    ):  # 2 · 300 · 127 · 32767, rounded off
        plan_lava(graph)
    graph = make_graph()
    apart = {**graph.populations, "c": Population(shape=(1,), threshold_mant=1)}
    with pytest.raises(LavaRefusalError, match="falls into 2 unconnected parts"):
        plan_lava(replace(graph, populations=apart))


@pytest.mark.parametrize("exponent", [-8, -1, 0, 1, 7])
def test_doubling_is_exact(exponent):
    doubled = fitted(np.array([[-128, 127, 1]]), exponent)
    assert doubled is not None
    assert doubled.rewrite == f"weights doubled, weight_exp {exponent} → {exponent - 1} (exact)"
    assert doubled.weight.tolist() == [[-256, 254, 2]]
    y = np.arange(-(1 << 16), 1 << 16)
    assert np.array_equal(fixed.shift(2 * y, doubled.weight_exp), fixed.shift(y, exponent))


@pytest.mark.parametrize("exponent", [-8, -1, 0, 7])
def test_halving_is_exact(exponent):
    halved = fitted(np.array([[-1024, 1016]]), exponent)
    assert halved is not None
    assert (halved.weight.tolist(), halved.weight_exp) == ([[-256, 254]], exponent + 2)
    y = np.arange(-(1 << 16), 1 << 16)
    assert np.array_equal(fixed.shift(y, halved.weight_exp), fixed.shift(4 * y, exponent))


def test_lava_keeps_fitted_weights(lava_nc):
    from lava.utils.weightutils import SignMode, clip_weights, determine_sign_mode, truncate_weights

    def held(weight, sign_mode):
        return truncate_weights(clip_weights(weight, sign_mode, num_bits=8), sign_mode, 8)

    for other in (0, -2, 2):
        for w in range(-300, 301):
            weight = np.array([[w, other]])
            for name, holds in SIGN_MODES.items():
                if holds.holds(weight).all():
                    assert np.array_equal(held(weight, SignMode[name]), weight), (weight, name)
            found = fitted(weight, 0)
            if found is not None:
                assert np.array_equal(held(found.weight, SignMode[found.sign_mode]), found.weight), weight
            if found is None or found.rewrite:
                assert not np.array_equal(held(weight, determine_sign_mode(weight)), weight) or w == -256


def test_folder_stands_alone(lava_nc, tmp_path, make_graph, make_rasters):
    graph = make_graph()
    rasters, folder = make_rasters(graph), tmp_path / "deep" / "net"
    plan = build_lava(graph, folder)
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md", "_compat.py", "network.py", "plan.json", "plan.npz", "report.json", "run.py",
    ]  # fmt: skip
    assert json.loads((folder / "report.json").read_text()) == plan.report()
    assert plan.rewrites == (
        "p: weights doubled, weight_exp 0 → -1 (exact)",
        "q: weights doubled, weight_exp 1 → 0 (exact)",
    )
    assert len((folder / "README.md").read_text().splitlines()) == 5

    np.savez(tmp_path / "in.npz", **rasters)
    # From elsewhere, and blind to this package: only what is in the folder and in lava-nc counts.
    blind = "import sys, runpy; sys.modules['spikegraph'] = None; del sys.argv[0]; "
    run = blind + "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", run, folder / "run.py", "in.npz", "out.npz", "--states"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with np.load(tmp_path / "out.npz") as result:
        execution = {name: {v: result[f"{name}/{v}"] for v in "suv"} for name in graph.populations}
    assert verify(graph, rasters, {"folder": lambda *_: execution}).identical

    np.savez(tmp_path / "in.npz", x=rasters["x"][:, :, 1:])
    failed = subprocess.run([sys.executable, folder / "run.py", "in.npz", "o.npz"], cwd=tmp_path, capture_output=True)
    assert failed.returncode == 2
    assert failed.stderr.decode() == "raster x has shape (6, 3, 3), expected (6, 'samples', 4)\n"


def test_folder_in_use_is_refused(tmp_path, make_graph):
    (tmp_path / "empty").mkdir()
    build_lava(make_graph(), tmp_path / "empty")
    with pytest.raises(TargetError, match="exists and is not an empty folder"):
        build_lava(make_graph(), tmp_path / "empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
