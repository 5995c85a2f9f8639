"""What becomes which process, exact rewrites, and the folder that stands alone."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from spikegraph.export import fixed
from spikegraph.export.errors import GraphError, TargetError
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse, SumPool2d
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.passes import pipelined
from spikegraph.targets.lava import LavaRefusalError, build_lava, plan_lava
from spikegraph.targets.lava.folder import COPIED
from spikegraph.targets.lava.weights import SIGN_MODES, fitted
from spikegraph.targets.recording import read_recording
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
    assert report["processes"][0] == {"process": "RingBuffer", "node": "x", "stock": True}


@pytest.mark.parametrize(
    ("population", "projection", "process", "why"),
    [
        ({}, {}, "LIFReset", ""),
        ({"threshold_mant": [1, 2, 2]}, {}, "Neurons", "threshold_mant has 2 values, but LIFReset has one vth"),
        ({"decay_u": [1, 2, 3]}, {}, "Neurons", "decay_u has 3 values, but LIFReset has one du"),
        ({"decay_v": [1, 2, 3]}, {}, "Neurons", "decay_v has 3 values, but LIFReset has one dv"),
        ({"decay_v": 4096}, {}, "Neurons", "decay_v = 4096 does not fit LIFReset's 12-bit dv"),
        ({"reset": "subtract"}, {}, "Neurons", "reset is 'subtract', but LIFReset sets v to zero"),
        ({"reset": "none"}, {}, "Neurons", "reset is 'none', but LIFReset sets v to zero"),
        ({"refractory_steps": 2}, {}, "Neurons", "refractory_steps = 2, but LIFReset has no refractory period"),
        ({"max_spikes": 1}, {}, "Neurons", "max_spikes = 1, but LIFReset counts no spikes"),
        (
            {"decay_v": [4096, 1, 1], "max_spikes": 2},
            {},
            "Neurons",
            "decay_v has 2 values, but LIFReset has one dv; decay_v = 4096 does not fit LIFReset's 12-bit dv; "
            "max_spikes = 2, but LIFReset counts no spikes",
        ),
    ],
)
def test_what_a_population_becomes(make_graph, population, projection, process, why):
    plan = plan_lava(make_graph(population, projection))
    assert (plan.populations["a"].process, plan.populations["a"].why_not_stock) == (process, why)
    assert plan.stock == (process == "LIFReset")
    reported = next(p for p in plan.report()["processes"] if p["node"] == "a")
    assert reported == {"process": process, "node": "a", "stock": not why} | ({"why_not_stock": why} if why else {})


def test_a_u_that_lava_would_not_wrap_makes_neurons_our_own(make_graph):
    # 13 inputs × 254 << 7 << 6 = 27049984 > 3 · 2^23 = 25165824; 12 are 24969216.
    for n_inputs, process in ((12, "LIFReset"), (13, "Neurons")):
        weight = np.full((3, n_inputs), 254)
        graph = make_graph(
            {"decay_u": 4096}, {"weight": weight, "weight_exp": 7}, inputs={"x": Input(shape=(n_inputs,))}
        )
        assert plan_lava(graph).populations["a"].process == process
    assert plan_lava(graph).populations["a"].why_not_stock.startswith("u may reach 0…27049984 before it wraps")


IMAGE = {"inputs": {"x": Input(shape=(1, 2, 3))}}


@pytest.mark.parametrize(
    ("projection", "graph", "process", "why"),
    [
        ({}, {}, "Dense", ""),
        ({"weight": np.full((3, 4), 255), "weight_exp": 7}, {}, "Dense", ""),
        ({"delay_steps": 2}, {}, "DelayDense", ""),
        ({"delay_steps": 63}, {}, "DelayDense", ""),
        ({"delay_steps": 64}, {}, "Synapses", "needs a delay of 65 steps, but Lava's hold 64"),
        ({"weight": [[-129, 127, 0, 0]] * 3}, {}, "Synapses", "weights -129…127 fit neither even -256…254, nor"),
        ({"kind": Conv2d, "weight": np.full((3, 1, 2, 3), 5)}, IMAGE, "Conv", ""),
        ({"kind": Conv2d, "weight": np.full((3, 1, 2, 3), 5), "delay_steps": 1}, IMAGE, "DelaySparse", ""),
        ({"kind": Conv2d, "weight": np.full((3, 1, 2, 3), 999)}, IMAGE, "Synapses", "weights 999…999 fit neither"),
        (
            {"kind": Conv2d, "weight": np.full((3, 1, 2, 130), 5)},
            {"inputs": {"x": Input(shape=(1, 2, 130))}},
            "Sparse",
            "",
        ),
        (
            {"kind": SumPool2d, "kernel_size": (2, 1), "weight": np.array(3)},
            {"inputs": {"x": Input(shape=(3, 2, 1))}},
            "Sparse",
            "",
        ),
        ({"kind": OneToOne, "weight": [1, -2, 3]}, {"inputs": {"x": Input(shape=(3,))}}, "Sparse", ""),
        (
            {"kind": Sparse, "weight": [100, 100], "indptr": [0, 2, 2, 2, 2], "indices": [1, 1]},
            {},
            "Sparse",
            "",
        ),
        (  # together 300: too much for one synapse of Lava's, and no power of two is in it to spare
            {"kind": Sparse, "weight": [200, 101], "indptr": [0, 2, 2, 2, 2], "indices": [1, 1]},
            {},
            "Synapses",
            "weights 301…301 fit neither",
        ),
    ],
)
def test_what_a_projection_becomes(make_graph, projection, graph, process, why):
    conv = projection.get("kind") is Conv2d or projection.get("kind") is SumPool2d
    population = {"shape": (3, 1, 1), "bias_mant": 0} if conv else {}
    plan = plan_lava(make_graph(population, dict(projection), **graph))
    assert plan.projections["p"].process == process
    assert plan.projections["p"].why_not_stock.startswith(why)
    assert bool(why) == bool(plan.projections["p"].why_not_stock)
    assert plan.stock == (not why)


def test_a_large_convolution_that_lava_does_not_take_is_not_written_out():
    source, target = (2, 128, 128), (2, 128, 128)
    conv = Conv2d(source="x", target="a", weight=np.full((2, 2, 5, 5), 5), padding=2)
    graph = Graph(
        inputs={"x": Input(shape=source)},
        populations={"a": Population(shape=target, threshold_mant=5)},
        projections={"p": conv},
        outputs={"o": Output(population="a")},
        n_steps=2,
    )
    n_synapses = conv.dense_macs(source, target)  # 2 · 2 · (5 · 128 - 6)^2, less what falls into the padding
    assert n_synapses == 2 * 2 * (5 * 128 - 6) ** 2
    why = f"Lava's Conv takes no padded size beyond 127 (132), and {n_synapses} synapses are too many to list (1048576)"
    assert plan_lava(graph).projections["p"].why_not_stock == why


def test_late_spikes_are_left_out_unless_all_is_stock(make_graph):
    delayed = {"delay_steps": 2}
    plan = plan_lava(make_graph({}, dict(delayed)))
    assert (plan.stock, plan.network["streamed"], plan.network["period"]) == (True, False, 6 + 2)
    plan = plan_lava(make_graph({"max_spikes": 1}, dict(delayed)))
    assert (plan.stock, plan.network["streamed"], plan.network["period"]) == (False, True, 6)
    assert (
        plan.projections["p"].why_not_stock == "delay_steps = 2: spikes that are late for their sample must be left out"
    )


def test_graded_sums_beyond_32_bits_are_our_own(make_graph):
    wide = Input(shape=(300,), min_value=0, max_value=32767)
    weight = np.where(np.arange(300) % 2, 127, -127) * np.ones((3, 1), int)
    plan = plan_lava(make_graph({"decay_u": 4096}, {"weight": weight, "weight_exp": -8}, inputs={"x": wide}))
    # 2 · 300 · 127 · 32767
    assert plan.projections["p"].why_not_stock == "graded sums may reach 2496845400, but Lava adds them in 32 bits"
    assert plan.network["simulator"] == "Loihi2SimCfg"


def test_a_loop_without_enough_delay_is_refused(make_graph):
    graph = make_graph()
    back = Dense(source="b", target="a", weight=np.ones((3, 2), int), delay_steps=1)
    with pytest.raises(LavaRefusalError, match="is a loop of 2 projections with 1 delay steps in all") as refused:
        plan_lava(replace(graph, projections={**graph.projections, "back": back}))
    assert len(refused.value.problems) == 1
    with pytest.raises(LavaRefusalError, match="is pipelined already"):
        plan_lava(pipelined(graph))
    with pytest.raises(GraphError, match="threshold_mant = 0"):
        plan_lava(make_graph({"threshold_mant": 0}))


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
    graph = make_graph({"max_spikes": 2})
    rasters, folder = make_rasters(graph), tmp_path / "deep" / "net"
    plan = build_lava(graph, folder)
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md", "_compat.py", "convolution.py", "files.py", "fixed.py", "network.py", "plan.h5", "plan.json",
        "processes.py", "report.json", "run.py", "session.py",
    ]  # fmt: skip
    assert json.loads((folder / "report.json").read_text()) == plan.report()
    assert plan.rewrites == (
        "p: weights doubled, weight_exp 0 → -1 (exact)",
        "q: weights doubled, weight_exp 1 → 0 (exact)",
    )
    assert "- a (Neurons): max_spikes = 2, but LIFReset counts no spikes" in (folder / "README.md").read_text()

    with h5py.File(tmp_path / "in.h5", "w") as file:  # as the folder's README says
        file["inputs/x"] = rasters["x"]
    # From elsewhere, and blind to this package: only what is in the folder and in lava-nc counts.
    (tmp_path / "spikegraph.py").write_text("raise ImportError('not here')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, folder / "run.py", "in.h5", "out.h5"]
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    with h5py.File(tmp_path / "out.h5") as file:
        assert dict(file.attrs) == {"spikegraph_recording": 1, "graph": graph_checksum(graph), "place": "lava"}
        assert {v: file[f"recording/a/{v}"].dtype for v in "suv"} == {"s": np.uint8, "u": np.int32, "v": np.int32}
    recording = read_recording(tmp_path / "out.h5", graph)
    assert verify(graph, recording.rasters(graph), {"folder": recording}).identical
    assert np.array_equal(recording.rasters(graph)["x"], rasters["x"])

    # A recording can be run again, over itself.
    before = (tmp_path / "out.h5").stat().st_ino
    subprocess.run([*command[:2], "out.h5", "out.h5"], cwd=tmp_path, check=True, env=environment)
    assert (tmp_path / "out.h5").stat().st_ino != before
    assert verify(graph, rasters, {"folder": read_recording(tmp_path / "out.h5", graph)}).identical
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("__")) == [
        "deep", "in.h5", "out.h5", "spikegraph.py",
    ]  # fmt: skip


def test_a_wrong_file_is_one_line_and_no_recording(lava_nc, tmp_path, make_graph, make_rasters):
    folder = tmp_path / "net"
    build_lava(make_graph(), folder)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["inputs/x"] = make_rasters(make_graph())["x"][:, :, 1:]
    (tmp_path / "text.h5").write_text("no HDF5")
    for name, says in (
        ("in.h5", "raster x has shape (6, 3, 3), expected (6, samples, 4)\n"),
        ("text.h5", "text.h5 is no HDF5 file that can be read ("),
        ("none.h5", "none.h5 is no HDF5 file that can be read ("),
    ):
        command = [sys.executable, folder / "run.py", name, "out.h5"]
        failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert failed.returncode == 2
        assert failed.stderr.startswith(says)
        assert failed.stderr.count("\n") == 1
        assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("name", COPIED.values())
def test_what_is_copied_needs_no_more_than_python_3_10(tmp_path, make_graph, name):
    build_lava(make_graph(), tmp_path / "net")
    tree = ast.parse((tmp_path / "net" / name).read_text(), feature_version=(3, 10))
    imported = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    imported |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    beside = {Path(copy).stem for copy in COPIED.values()}
    assert imported <= {"lava", "numpy", "scipy", "h5py"} | beside | sys.stdlib_module_names


def test_folder_in_use_is_refused(tmp_path, make_graph):
    (tmp_path / "empty").mkdir()
    build_lava(make_graph(), tmp_path / "empty")
    with pytest.raises(TargetError, match="exists and is not an empty folder"):
        build_lava(make_graph(), tmp_path / "empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
