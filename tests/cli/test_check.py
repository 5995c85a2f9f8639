"""`spikegraph check` as a user meets it: problems, bounds, cores, a run beside the bounds, and the rewritten graph."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, refused

from spikegraph.export import formats
from spikegraph.export.chips import load_chip
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.fixed import WEIGHT
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.simulate import rasters_of
from spikegraph.trainer.data import load_split


def network(step: int = 1, n_hidden: int = 20, **hidden: Any) -> Graph:
    """Digits through a hidden layer, with random weights that are multiples of `step`."""
    rng = np.random.default_rng(0)
    return Graph(
        inputs={"input": Input(shape=(64,))},
        populations={
            "hidden": Population(shape=(n_hidden,), **{"threshold_mant": 200, "decay_v": 300, **hidden}),
            "output": Population(shape=(10,), threshold_mant=150, decay_v=300),
        },
        projections={
            "p": Dense(source="input", target="hidden", weight=rng.integers(-20, 30, (n_hidden, 64)) * step),
            "q": Dense(source="hidden", target="output", weight=rng.integers(-30, 30, (10, n_hidden)) * step),
        },
        outputs={"class": Output(population="output")},
        n_steps=8,
        coding=InputCoding(kind="rate", seed=1),
        readout=Readout(kind="count", output="class"),
        provenance={"made_by": "a test"},
    )


def saved(graph: Graph, folder: Path) -> Path:
    formats.save(graph, folder / "net.h5")
    return folder / "net.h5"


def report_of(*arguments: object, exit_code: int = 0) -> dict[str, Any]:
    result = call("check", *arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return dict(json.loads(result.stdout))


def test_every_problem_at_once_with_its_numbers(tmp_path: Path) -> None:
    path = saved(network(reset="subtract", refractory_steps=70, n_hidden=5000), tmp_path)
    report = report_of(path, "--chip", "loihi1", exit_code=1)
    found = [(p["where"], p["found"], p["limit"]) for p in report["problems"]]
    even = str(load_chip("loihi1").weight.format)
    weights = [int(w[w % 2 != 0][0]) for w in (p.weight for p in formats.load(path).projections.values())]  # type: ignore[union-attr]
    assert found == [
        ("hidden", "subtract", "zero"),
        ("hidden", 70, "1…63"),
        ("p", weights[0], even),
        ("q", weights[1], even),
        ("output on loihi1", 5000, 4096),
    ]
    assert all(p["remedy"] for p in report["problems"])
    assert report["mendable"] == 4
    text = call("check", path, "--chip", "loihi1")
    assert text.exit_code == 1
    assert text.stdout.count("problem: ") == 5
    assert "mends 4 of 5" in text.stdout
    assert "one neuron needs 5,000 axons_in, a core has 4,096" in text.stdout


def test_a_table_of_use_and_every_core_in_json(tmp_path: Path) -> None:
    path = saved(network(2, n_hidden=1500), tmp_path)
    report = report_of(path, "--chip", "loihi1")
    assert report["legal"]
    assert [core["population"] for core in report["fit"]["cores"]] == ["hidden", "hidden", "output"]
    assert report["fit"]["cores"][0]["loads"]["neurons"] == 750
    assert report["fit"]["limits"]["axons_in"] == 4096
    text = call("check", path, "--chip", "loihi1").stdout
    (row,) = [line for line in text.splitlines() if line.startswith("hidden") and "neurons" in line]
    assert "73% (73%)" in row  # 750 of 1,024
    assert f"{path}: legal on loihi1" in text
    loihi2 = call("check", path, "--chip", "loihi2").stdout
    assert "not published, so not checked: axons_in, axons_out" in loihi2


def test_what_a_run_reached_beside_the_bounds(tmp_path: Path) -> None:
    graph = network(2)
    report = report_of(saved(graph, tmp_path), "--data", "digits:test", "--samples", 30)
    assert report["bounds_hold_for"] == "any input"
    x, _, index = next(load_split("digits:test").first(30).batches((64,), 30))
    traces = run_reference(compile_program(graph), rasters_of(graph, x, index), list(graph.populations)).traces
    for name, bound in report["bounds"].items():
        seen = report["seen"][name]
        for variable, array in (("x", traces[name].x), ("u", traces[name].u), ("v", traces[name].v_before_reset)):
            assert seen[variable] == [min(0, array.min()), max(0, array.max())]
            assert bound[variable][0] <= seen[variable][0]
            assert seen[variable][1] <= bound[variable][1]
    assert report["seen"]["data"] == "digits:test"
    path = saved(replace(graph, coding=InputCoding(kind="first_spike")), tmp_path)
    once = report_of(path)
    assert once["bounds_hold_for"] == "inputs of one spike a line, as first_spike makes them"
    assert once["bounds"]["hidden"]["v"][0] > report["bounds"]["hidden"]["v"][0]


def test_fix_writes_a_legal_graph_that_computes_the_same(tmp_path: Path) -> None:
    threshold = np.where(np.arange(20) % 2, 200, 250)
    graph = network(max_spikes=1, threshold_mant=threshold)
    out = tmp_path / "fixed.h5"
    result = call("check", saved(graph, tmp_path), "--chip", "loihi1", "--fix", "-o", out)
    assert result.exit_code == 0
    for name in ("hidden: one spike: ", "hidden: split: 2 populations", "p.0: legal weights: weights × 2^1"):
        assert f"rewritten: {name}" in result.stdout
    fixed = formats.load(out)
    assert isinstance(fixed, Graph)
    assert call("check", out, "--chip", "loihi1").exit_code == 0
    assert fixed.provenance["rewritten_for"] == "loihi1"
    assert len(fixed.provenance["rewrites"]) == result.stdout.count("rewritten: ")
    run = ("--data", "digits:test", "--samples", 50, "--json")
    summaries = [json.loads(call("simulate", path, *run).stdout) for path in (out, tmp_path / "net.h5")]
    for key in ("accuracy", "decision_latency_steps"):
        assert summaries[0][key] == summaries[1][key]
    spikes = [summary["per_sample"]["window"]["spikes"] for summary in summaries]
    assert spikes[0] == spikes[1] > 64


def test_fix_says_what_is_left_and_writes_nothing(tmp_path: Path) -> None:
    path = saved(network(reset="subtract"), tmp_path)
    result = call("check", path, "--chip", "loihi1", "--fix", "-o", tmp_path / "fixed.h5")
    assert result.exit_code == 1
    assert "rewritten: p: legal weights" in result.stdout
    assert "left: hidden: reset = 'subtract', but only zero exists on Intel Loihi 1" in result.stdout
    assert sorted(f.name for f in tmp_path.iterdir()) == ["net.h5"]
    report = report_of(path, "--chip", "loihi1", "--fix", "-o", tmp_path / "fixed.h5", exit_code=1)
    assert [r["name"] for r in report["rewrites"]] == ["legal weights"] * 2
    assert report["written"] is None


def test_fix_of_a_graph_that_needs_none_writes_it_as_it_is(tmp_path: Path) -> None:
    path, out = saved(network(2), tmp_path), tmp_path / "fixed.h5"
    result = call("check", path, "--chip", "loihi1", "--fix", "-o", out)
    assert result.exit_code == 0
    assert "written, 0 rewrites" in result.stdout
    fixed = formats.load(out)
    assert isinstance(fixed, Graph)
    assert np.array_equal(fixed.projections["p"].weight, network(2).projections["p"].weight)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fix"], "needs a chip and a file"),
        (["--fix", "--chip", "loihi1"], "needs a chip and a file"),
        (["-o", "fixed.h5"], "is for the graph that --fix writes"),
        (["--data", "nothing:test"], "nothing"),
        (["--chip", "loihi1", "--fix", "-o", "nowhere/fixed.h5"], "there is no folder"),
    ],
)
def test_bad_input(arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(network(2), tmp_path)
    monkeypatch.chdir(tmp_path)
    assert says in refused("check", path, *arguments).replace("\n", " ")
    assert list(tmp_path.iterdir()) == [path]


def test_the_widest_weights_of_the_law_fit_no_loihi_in_one_projection(tmp_path: Path) -> None:
    graph = network(2)
    wide = replace(graph.projections["q"], weight=np.full((10, 20), WEIGHT.maximum))
    path = saved(replace(graph, projections={**graph.projections, "q": wide}), tmp_path)
    report = report_of(path, "--chip", "loihi2", "--fix", "-o", tmp_path / "fixed.h5")
    (rewrite,) = report["rewrites"]
    assert rewrite["where"] == "q"
    # 32767 is 127 + 127 + 2 times 2^7, the largest exponent, less 1.
    assert rewrite["what"].startswith("weights in 4 slices: 3-bit weights × 2^7 + 8-bit weights × 2^7")


def test_a_population_for_each_core(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    graph = Graph(
        inputs={"x": Input(shape=(4,))},
        populations={
            "wide": Population(shape=(1500,), threshold_mant=9),
            "out": Population(shape=(2,), threshold_mant=9),
        },
        projections={
            "p": Dense(source="x", target="wide", weight=2 * rng.integers(-9, 9, (1500, 4))),
            "q": Dense(source="wide", target="out", weight=2 * rng.integers(-9, 9, (2, 1500))),
        },
        outputs={"o": Output(population="out")},
        n_steps=4,
    )
    formats.save(graph, tmp_path / "net.h5")
    fix = ("check", tmp_path / "net.h5", "--chip", "loihi1", "--per-core")
    assert "add --fix" in refused(*fix)
    result = call(*fix, "--fix", "-o", tmp_path / "cores.h5")
    assert result.exit_code == 0
    assert "wide: split over cores: 2 populations, wide.0 to wide.1 (same s, u, v)" in result.stdout
    assert list(formats.load(tmp_path / "cores.h5").populations) == ["wide.0", "wide.1", "out"]
