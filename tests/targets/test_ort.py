"""ONNX Runtime computes what the reference engine computes: every spike and every state, at every step."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graph_strategies import cases
from hypothesis import given, settings
from onnx.reference import ReferenceEvaluator

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError, TargetError
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse, SumPool2d
from spikegraph.export.onnx import ranges, run_model, step_model
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.targets.onnx import build_onnx
from spikegraph.targets.ort import open_session, run_ort
from spikegraph.targets.places import PLACES, VARIABLES, reference
from spikegraph.targets.verify import verify

DOCS = Path(__file__).parents[2] / "docs"


def require_identical(graph: Graph, rasters: dict[str, Array]) -> None:
    verification = verify(graph, rasters, {"ort": PLACES["ort"]})
    assert verification.identical, str(verification)


def stepped(graph: Graph, rasters: dict[str, Array]) -> dict[str, dict[str, Array]]:
    """Run the step model, with the state in our own hands."""
    session = open_session(step_model(graph, list(graph.populations)))
    n_samples = next(iter(rasters.values())).shape[1]
    given = {i.name: np.zeros((n_samples, *i.shape[1:]), i.type[7:-1]) for i in session.get_inputs()}
    results = [result.name for result in session.get_outputs()]
    steps = []
    for t in range(graph.n_steps):
        given |= {name: raster[t].astype(given[name].dtype) for name, raster in rasters.items()}
        values = dict(zip(results, session.run(None, given), strict=True))
        given |= {f"{name}/last": values[name] for name in results if f"{name}/last" in given}
        steps.append(values)
    return {
        name: {variable: np.stack([step[f"{name}/{variable}"] for step in steps]) for variable in VARIABLES}
        for name in graph.populations
    }


def evaluated(graph: Graph, rasters: dict[str, Array]) -> dict[str, dict[str, Array]]:
    """Run the run model in ONNX's own evaluator, which is the standard in NumPy."""
    model = run_model(graph, list(graph.populations))
    typed = {name: rasters[name].astype(np.int16 if node.graded else np.uint8) for name, node in graph.inputs.items()}
    results = [value.name for value in model.graph.output]
    values = dict(zip(results, ReferenceEvaluator(model).run(None, typed), strict=True))
    return {name: {variable: values[f"{name}/{variable}"] for variable in VARIABLES} for name in graph.populations}


@settings(max_examples=30)
@given(cases())
def test_drawn_graphs(case):
    require_identical(case.graph, case.rasters)


@pytest.mark.slow
@settings(max_examples=300)
@given(cases())
def test_many_drawn_graphs(case):
    places = {"ort": PLACES["ort"], "step by step": stepped, "ONNX's evaluator": evaluated}
    verification = verify(case.graph, case.rasters, places)
    assert verification.identical, str(verification)


@settings(max_examples=10)
@given(cases())
def test_steps_by_hand_are_the_run(case):
    assert verify(case.graph, case.rasters, {"step by step": stepped}).identical


@settings(max_examples=10)
@given(cases())
def test_the_standard_computes_the_same(case):
    assert verify(case.graph, case.rasters, {"ONNX's evaluator": evaluated}).identical


GRADED = {"min_value": -32768, "max_value": 32767}
EXTREME = {  # kind, shape of the source, shape of the target, shape of the weight, other fields
    "Dense": (Dense, (40,), (5,), (5, 40), {}),
    "Dense between images": (Dense, (2, 4, 5), (2, 2, 3), (12, 40), {}),
    "Conv2d": (Conv2d, (2, 7, 6), (4, 4, 3), (4, 2, 3, 3), {"stride": 2, "padding": (1, 2), "dilation": (1, 2)}),
    "Conv2d in groups": (Conv2d, (4, 6, 6), (6, 4, 5), (6, 2, 3, 2), {"groups": 2}),
    "SumPool2d": (SumPool2d, (2, 7, 6), (2, 4, 2), (), {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0)}),
    "Sparse": (Sparse, (40,), (5,), (120,), {"indptr": np.arange(41) * 3, "indices": np.arange(120) * 7 % 5}),
    "Sparse, few": (Sparse, (60,), (50,), (60,), {"indptr": np.arange(61), "indices": np.arange(60) * 7 % 50}),
    "OneToOne": (OneToOne, (2, 4, 5), (2, 4, 5), (2, 4, 5), {}),
    "OneToOne by channel": (OneToOne, (2, 4, 5), (2, 4, 5), (2,), {}),
}


def extreme_case(kind: str, largest: int, exponent: int, graded: bool, delay_steps: int = 0):
    rng = np.random.default_rng(len(kind) + largest + exponent)
    make, source, target, weights, fields = EXTREME[kind]
    fields = {"source": "x", "weight": rng.integers(-largest - 1, largest + 1, weights), **fields}
    graph = Graph(
        inputs={"x": Input(shape=source, **(GRADED if graded else {}))},
        populations={
            "a": Population(shape=target, decay_u=rng.integers(1, 4097, target), decay_v=77, threshold_mant=131071),
            "b": Population(shape=target, decay_u=9, decay_v=0, threshold_mant=1, bias_mant=-4096, bias_exp=7),
        },
        projections={
            "p": make(target="a", weight_exp=exponent, delay_steps=delay_steps, **fields),
            "q": make(target="b", **fields),
            "r": OneToOne(source="a", target="b", weight=np.array(-32767), weight_exp=7),
        },
        outputs={"out": Output(population="b")},
        n_steps=40,
    )
    values = rng.integers(*((-32768, 32768) if graded else (0, 2)), (40, 3, *source))
    return graph, {"x": values}


@pytest.mark.parametrize("graded", [False, True], ids=["binary", "graded"])
@pytest.mark.parametrize("largest", [127, 32767])
@pytest.mark.parametrize("kind", list(EXTREME))
def test_each_kind_at_both_ends_of_its_numbers(kind, largest, graded):
    graph, rasters = extreme_case(kind, largest, exponent=7, graded=graded, delay_steps=3)
    result = run_reference(compile_program(graph), rasters)
    assert all(sum(per_node.sum() for per_node in result.per_step[q].values()) for q in ("wraps", "saturations"))
    require_identical(graph, rasters)
    require_identical(*extreme_case(kind, largest, exponent=-8, graded=graded))


LARGE = {  # layers beyond the blocks in which kernels work, whose sums end just below 2^24, or well above
    "8 bits": (Dense, (300,), (257,), (257, 300), 127, False, {}),
    "float32": (Dense, (511,), (257,), (257, 511), 32767, False, {}),
    "float64": (Dense, (300,), (257,), (257, 300), 32767, True, {}),
    "float32 Conv2d": (Conv2d, (16, 12, 13), (32, 12, 13), (32, 16, 3, 3), 32767, False, {"padding": 1}),
    "float64 Conv2d": (Conv2d, (16, 12, 13), (32, 6, 7), (32, 16, 3, 3), 32767, True, {"padding": 1, "stride": 2}),
    "float32 Conv2d by channel": (Conv2d, (32, 12, 13), (32, 10, 11), (32, 1, 3, 3), 56, True, {"groups": 32}),
    "SumPool2d": (SumPool2d, (32, 12, 13), (32, 6, 6), (), 32767, True, {"kernel_size": 2}),
}


def large_case(case: str):
    make, source, target, weights, largest, graded, fields = LARGE[case]
    rng = np.random.default_rng(len(case))
    signs = np.where(rng.random((target[0],) + (1,) * (len(weights) - 1)) < 0.5, -1, 1) if weights else 1  # by row
    weight = signs * rng.integers(largest - 9, largest + 1, weights)
    graph = Graph(
        inputs={"x": Input(shape=source, **(GRADED if graded else {}))},
        populations={"a": Population(shape=target, decay_u=200, decay_v=31, threshold_mant=100000)},
        projections={"p": make(source="x", target="a", weight=weight, weight_exp=-3, **fields)},
        outputs={"out": Output(population="a")},
        n_steps=5,
    )
    values = rng.integers(-32768, 32768, (5, 17, *source)) if graded else rng.random((5, 17, *source)) < 0.9
    values[0] = 32767 if graded else 1
    return graph, {"x": values.astype(np.int16)}


@pytest.mark.parametrize("case", list(LARGE))
def test_large_layers(case):
    require_identical(*large_case(case))


@pytest.mark.parametrize("case", ["float64", "float64 Conv2d"])
def test_sums_that_round_would_be_noticed(case, monkeypatch):
    monkeypatch.setattr(ranges, "_WHOLE_FLOAT", 1 << 60)  # float32 for all of them
    assert not verify(*large_case(case), {"ort": PLACES["ort"]}).identical


def test_u_wraps_any_number_of_times():
    # 50 · 32767 · 32767 << 13 is 2^48.6: some 30 million times around.
    graph = Graph(
        inputs={"x": Input(shape=(50,), **GRADED)},
        populations={"a": Population(shape=(2,), decay_u=3, threshold_mant=9)},
        projections={"p": Dense(source="x", target="a", weight=np.full((2, 50), 32767), weight_exp=7)},
        outputs={"out": Output(population="a")},
        n_steps=5,
    )
    rasters = {"x": np.full((5, 1, 50), 32767)}
    x = run_reference(compile_program(graph), rasters).traces["a"].x
    assert x[0, 0, 0] << 6 == 50 * 32767 * 32767 << 13
    require_identical(graph, rasters)


@pytest.mark.parametrize(
    ("before", "after"), [((1 << 23) - 64, (1 << 23) - 64), (1 << 23, 1 << 23), ((1 << 23) + 64, 64 - (1 << 23))]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_ends_of_u(before, after, sign):
    """2^23 stays and -2^23 becomes 2^23: Σ weight · s = 2^23 / 64 = 131072 is 4 · 32768."""
    weight = np.array([[32767] * 4 + [4 + (before - (1 << 23)) // 64]]) * sign
    graph = Graph(
        inputs={"x": Input(shape=(5,))},
        populations={"a": Population(shape=(1,), decay_v=4096, threshold_mant=131071)},
        projections={"p": Dense(source="x", target="a", weight=weight)},
        outputs={"out": Output(population="a")},
        n_steps=1,
    )
    rasters = {"x": np.ones((1, 1, 5), int)}
    expected = sign * after if before != 1 << 23 else 1 << 23
    assert run_ort(graph, rasters)["a"]["u"].item() == expected
    require_identical(graph, rasters)


@pytest.mark.parametrize("reset", ["zero", "subtract", "none"])
@pytest.mark.parametrize(("refractory_steps", "max_spikes"), [(1, 0), (3, 0), (1, 2), (2, 3), (1 << 20, 1 << 20)])
def test_resets_pauses_and_limits(make_graph, make_rasters, reset, refractory_steps, max_spikes):
    neuron = {
        "reset": reset,
        "refractory_steps": refractory_steps,
        "max_spikes": max_spikes,
        "threshold_mant": [9, 90, 5],
    }
    graph = make_graph(neuron, n_steps=12)
    rasters = make_rasters(graph)
    assert reference(graph, rasters)["a"]["s"].any()
    assert verify(graph, rasters, {"ort": PLACES["ort"], "step by step": stepped}).identical


def test_a_long_delay(make_graph, make_rasters):
    graph = make_graph({}, {"delay_steps": 1023}, n_steps=1030)
    loop = Dense(source="b", target="a", weight=np.full((3, 2), 100), delay_steps=500)
    graph = replace(graph, projections={**graph.projections, "loop": loop})
    rasters = make_rasters(graph, 1)
    assert verify(graph, rasters, {"ort": PLACES["ort"], "step by step": stepped}).identical


def test_a_graph_without_synapses(make_graph, make_rasters):
    graph = replace(make_graph({"decay_u": 4096, "decay_v": 4096}), projections={})
    assert reference(graph, make_rasters(graph))["b"]["v"].any()  # its bias
    assert verify(graph, make_rasters(graph), {"ort": PLACES["ort"], "step by step": stepped}).identical


def test_one_session_takes_any_number_of_samples_and_steps(make_graph, make_rasters):
    graph = make_graph()
    session = open_session(run_model(graph))
    for n_steps, n_samples in [(6, 1), (6, 5), (2, 3), (50, 2)]:
        longer = replace(graph, n_steps=n_steps)
        rasters = make_rasters(longer, n_samples)
        [spikes, before_reset] = session.run(None, {"x": rasters["x"].astype(np.uint8)})
        trace = run_reference(compile_program(longer), rasters).traces["b"]
        assert np.array_equal(spikes, trace.s)
        assert np.array_equal(before_reset, trace.v_before_reset)


def test_bad_rasters_and_graphs_are_refused(make_graph, make_rasters):
    graph = make_graph()
    rasters = make_rasters(graph)
    for wrong, says in [
        ({}, "are named"),
        ({"x": rasters["x"][:3]}, "has shape"),
        ({"x": rasters["x"] * 2}, "expected integers 0…1"),
        ({"x": rasters["x"] * 1.0}, "float64"),
    ]:
        with pytest.raises(DataError, match=says):
            run_ort(graph, wrong)
    with pytest.raises(TargetError, match="the graph is pipelined"):
        run_ort(pipelined(graph), rasters)
    assert run_ort(graph, {"x": rasters["x"][:, :0]})["a"]["u"].shape == (6, 0, 3)


def test_the_folder_is_whole_or_absent(make_graph, tmp_path, monkeypatch):
    report = build_onnx(make_graph(), tmp_path / "deep" / "net")
    assert sorted(path.name for path in (tmp_path / "deep" / "net").iterdir()) == ["README.md", "run.onnx", "step.onnx"]
    assert report["run.onnx"]["bytes"] == (tmp_path / "deep" / "net" / "run.onnx").stat().st_size
    assert report["run.onnx"]["inputs"] == {"x": "uint8 (T, B, 4)"}
    assert report["step.onnx"]["outputs"]["a/u"] == "int32 (B, 3)"
    assert "Scan" in report["run.onnx"]["operators"]
    json.dumps(report)
    with pytest.raises(TargetError, match="exists and is not an empty folder"):
        build_onnx(make_graph(), tmp_path / "deep" / "net")
    monkeypatch.setattr(Path, "write_text", None)
    with pytest.raises(TypeError):
        build_onnx(make_graph(), tmp_path / "half")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def examples(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_examples_run_without_this_package(make_graph, tmp_path):
    graph = make_graph()
    build_onnx(graph, tmp_path / "net")
    in_folder, in_docs = (examples(path.read_text()) for path in (tmp_path / "net/README.md", DOCS / "onnx.md"))
    assert in_docs[:2] == in_folder
    blind = "import sys, warnings; sys.modules['spikegraph'] = None; warnings.simplefilter('error')\n"
    said = [
        subprocess.run([sys.executable, "-c", blind + example], cwd=tmp_path / "net", capture_output=True, text=True)
        for example in in_folder
    ]
    assert [result.stderr for result in said] == ["", ""]
    # What the first example feeds, in the reference engine.
    raster = np.random.default_rng(0).random((6, 4, 4)) < 0.2
    trace = run_reference(compile_program(graph), {"x": raster.astype(np.uint8)}).traces["b"]
    assert said[0].stdout.splitlines() == [
        f"b/s uint8 (6, 4, 2) {trace.s.sum()}",
        f"b/v_before_reset int32 (6, 4, 2) {trace.v_before_reset.sum()}",
    ]
    assert "'b/v'" in said[1].stdout
