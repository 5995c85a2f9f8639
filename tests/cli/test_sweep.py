"""`spikegraph sweep`: every combination once, means and fronts by hand, and nothing done twice."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, refused

from spikegraph.sweep.points import Axes, Setting, sweep
from spikegraph.sweep.report import pareto, write_report
from spikegraph.trainer import loop

RECIPE = """
name = "tiny"
[data]
set = "rows"
validation = 0.25
[coding]
n_steps = 4
[network]
layers = "6"
tau_mem = 5e-3
v_threshold = 0.5
[quantization]
chip = "loihi1"
[training]
epochs = 2
batch_size = 16
learning_rate = 1e-2
"""


def write_rows(path: Path) -> None:
    """Write images of 4 x 4 pixels with a bright row for each class."""
    rng, arrays = np.random.default_rng(0), {}
    for part, n in (("train", 80), ("test", 20)):
        label = rng.integers(0, 3, n)
        x = (rng.random((n, 1, 4, 4)) * 0.3).astype(np.float32)
        x[np.arange(n), 0, label] += 0.6
        arrays |= {f"x_{part}": x, f"y_{part}": label}
    np.savez(path, **arrays)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows.npz")
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.replace("rows", str(tmp_path / "rows.npz")))
    return path


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the epochs that are trained."""
    epochs: list[int] = []
    epoch = loop.TrainingRun._epoch

    def counted(run: Any, number: int, progress: Any) -> float:
        epochs.append(number)
        return epoch(run, number, progress)

    monkeypatch.setattr(loop.TrainingRun, "_epoch", counted)
    return epochs


@pytest.mark.parametrize(
    ("costs", "accuracies", "front"),
    [
        # Dearer and worse than the first; cheapest; better and dearer; as dear as that and worse.
        ([2, 3, 1, 5, 5], [0.7, 0.6, 0.5, 0.9, 0.8], [True, False, True, True, False]),
        ([2, 2], [0.7, 0.7], [True, True]),  # equals do not beat each other
        ([2, 1], [0.7, 0.7], [False, True]),  # as accurate, and cheaper
        ([4, 4, 4], [0.1, 0.3, 0.2], [False, True, False]),  # one latency: the most accurate
        ([], [], []),
    ],
)
def test_pareto_by_hand(costs: list[float], accuracies: list[float], front: list[bool]) -> None:
    assert pareto(costs, accuracies) == front


def test_means_over_seeds(tmp_path: Path) -> None:
    changed = {"bits": 4, "n_steps": 8, "additions_weight": 0.0}
    points = [
        changed | {"seed": 0, "accuracy": 0.6, "additions": 100.0, "latency_steps": 8.0},
        changed | {"seed": 1, "accuracy": 0.8, "additions": 300.0, "latency_steps": 6.0},
        changed | {"n_steps": 4, "seed": 0, "accuracy": 0.75, "additions": 250.0, "latency_steps": 4.0},
    ]
    report = write_report(tmp_path, {"recipe": "tiny"}, points)
    both, other = report["settings"]
    assert (both["seeds"], both["accuracy"], both["additions"], both["latency_steps"]) == ([0, 1], 0.7, 200.0, 7.0)
    assert (both["accuracy_lowest"], both["accuracy_highest"]) == (0.6, 0.8)
    assert (both["best_by_additions"], both["best_by_latency"]) == (True, False)  # 0.7 at 7 steps: 0.75 at 4 beats it
    assert (other["best_by_additions"], other["best_by_latency"]) == (True, True)
    with (tmp_path / "sweep.csv").open() as file:
        assert [row["best_by_latency"] for row in csv.DictReader(file)] == ["False", "False", "True"]


def test_every_combination_once(recipe: Path, tmp_path: Path, trainings: list[int]) -> None:
    out, options = tmp_path / "out", ["--bits", "8,1", "--steps", "2,4", "--seeds", "0,3"]
    result = call("sweep", recipe, *options, "--out", out)
    assert result.exit_code == 0
    assert len(trainings) == 2 * 2 * 2 * 2  # the last: epochs
    report = json.loads((out / "sweep.json").read_text())
    assert [(s["bits"], s["n_steps"], s["seeds"]) for s in report["settings"]] == [
        (8, 2, [0, 3]),
        (8, 4, [0, 3]),
        (1, 2, [0, 3]),
        (1, 4, [0, 3]),
    ]
    assert len(report["points"]) == 8
    assert {(point["samples"], point["latency_steps"] == point["n_steps"]) for point in report["points"]} == {
        (20, True)
    }
    assert all(point["additions"] > 0 for point in report["points"])
    point = out / "bits1-steps2-seed3"
    assert 'chip = "generic"\nweight_bits = 1' in (point / "recipe.toml").read_text()
    assert "test_accuracy" not in json.loads((point / "summary.json").read_text())
    assert all(text in result.stdout for text in ("Pareto", "lowest", "validation, 20 samples"))
    assert (out / "sweep.svg").read_text().startswith("<?xml")
    before = {path.name: path.read_bytes() for path in out.glob("sweep.*")}
    assert before.keys() == {"sweep.json", "sweep.csv", "sweep.svg", "sweep.png"}

    (point / "point.json").write_text("{")  # damaged: evaluated again, not trained
    assert json.loads(call("sweep", recipe, *options, "--out", out, "--json").stdout) == report
    assert len(trainings) == 16
    assert {path.name: path.read_bytes() for path in out.glob("sweep.*")} == before


def test_a_folder_is_of_one_setting() -> None:
    axes = Axes(bits=[4, 4], additions_weight=[0.0, 0.5, 0.5, 0.12345671, 0.12345672], seed=[1234567, 1234568])
    assert [setting.name for setting in axes.settings()] == [
        f"bits4-additions{weight}-seed{seed}"
        for weight in ("0", "0.5", "0.12345671", "0.12345672")  # what was given twice is one point
        for seed in ("1234567", "1234568")
    ]
    assert Setting().name == "as-it-is"


def test_it_agrees_with_the_stages_one_by_one(recipe: Path, tmp_path: Path) -> None:
    report = sweep(recipe, tmp_path / "out", Axes(n_steps=[3], additions_weight=[0.5]), on="test")
    (point,) = report["points"]
    told = json.loads(
        call(
            "simulate", tmp_path / "out/steps3-additions0.5/net.h5", "--data", f"{tmp_path}/rows.npz:test", "--json"
        ).stdout
    )
    assert (point["samples"], point["accuracy"]) == (20, told["accuracy"])
    assert point["additions"] == told["per_sample"]["until_decision"]["sops"]
    assert point["latency_steps"] == told["decision_latency_steps"]["mean"] == 3
    assert "additions_weight = 0.5" in (tmp_path / "out/steps3-additions0.5/recipe.toml").read_text()


def test_one_spike_networks_decide_early(recipe: Path, tmp_path: Path) -> None:
    network = """[network]
method = "sstdp"
layers = "12"
urgency = 1.5
"""
    text = recipe.read_text().replace("n_steps = 4", 'kind = "first_spike"\nn_steps = 4')
    recipe.write_text(text[: text.index("[network]")] + network + text[text.index("[quantization]") :])
    report = sweep(recipe, tmp_path / "out", Axes(n_steps=[8, 16]), epochs=3)
    assert [point["latency_steps"] < point["n_steps"] for point in report["points"]] == [True, True]
    assert "additions_weight" in refused("sweep", recipe, "--additions-weight", "1", "--out", tmp_path / "other")


def test_the_samples_of_validation_are_those_held_out(recipe: Path, tmp_path: Path) -> None:
    (point,) = sweep(recipe, tmp_path / "out", Axes())["points"]
    summary = json.loads((tmp_path / "out/as-it-is/summary.json").read_text())
    assert point["accuracy"] == summary["validation_accuracy"]  # by the trained network's own forward pass


def test_a_stopped_sweep_goes_on(recipe: Path, tmp_path: Path, trainings: list[int]) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("steps4: epoch 2"):
            raise KeyboardInterrupt

    axes = Axes(n_steps=[2, 4])
    with pytest.raises(KeyboardInterrupt):
        sweep(recipe, tmp_path / "out", axes, progress=stop)
    report = sweep(recipe, tmp_path / "out", axes)
    assert trainings == [0, 1, 0, 1, 1]
    assert report["points"] == [
        point | {"trained_by": point["trained_by"].replace("whole", "out")}
        for point in sweep(recipe, tmp_path / "whole", axes)["points"]
    ]


def test_a_trained_network_in_few_bits(recipe: Path, tmp_path: Path, trainings: list[int]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert call("train", recipe, "--chip", "none", "--out", run).exit_code == 0
    trainings.clear()
    result = call(
        "sweep", "--evaluate-only", run, "--bits", "8,2", "--steps", "4,9", "--out", tmp_path / "out", "--json"
    )
    report = json.loads(result.stdout)
    assert not trainings
    assert [(p["bits"], p["n_steps"], p["latency_steps"]) for p in report["points"]] == [
        (8, 4, 4),
        (8, 9, 9),
        (2, 4, 4),
        (2, 9, 9),
    ]
    graph = json.loads(call("inspect", out / "bits2-steps4/net.h5", "--json").stdout)
    assert max(p["bits"] for p in graph["projections"].values()) <= 2


def test_without_matplotlib_the_table_still_comes(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = call("sweep", recipe, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "Pareto" in result.stdout
    assert "pip install 'spikegraph[plot]'" in result.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"as-it-is", "sweep.csv", "sweep.json"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--bits", "8,x"], "--bits: '8,x' are not whole numbers"),
        (["--bits", "0"], "weight_bits"),
        (["--bits", "17"], "weight_bits"),
        (["--steps", "0"], "n_steps"),
        (["--additions-weight", "-1"], "additions_weight"),
        (["--seeds", "-1"], "seed"),
        (["--samples", "21"], "choose 1…20"),
        (["--evaluate-only", "run"], "either a RECIPE"),
    ],
)
def test_bad_input_before_anything_is_trained(
    recipe: Path, tmp_path: Path, trainings: list[int], options: list[str], says: str
) -> None:
    assert says in refused("sweep", recipe, *options, "--out", tmp_path / "out")
    assert not trainings


def test_what_cannot_be_written_is_one_message(recipe: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "out", ["--samples", "3", "--out", tmp_path / "out"]
    call("sweep", recipe, *options)
    for name in ("sweep.png", "as-it-is/point.json"):
        (out / name).unlink()
        (out / name / "inside").mkdir(parents=True)
        result = call("sweep", recipe, *options)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"spikegraph: {out / name}: ")
    assert not list(out.rglob("*.tmp"))
    (out / "new").write_text("")
    refused("sweep", recipe, "--out", out / "new")


def test_not_in_several_processes(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "start it without torchrun" in refused("sweep", recipe, "--out", tmp_path / "out")


@pytest.mark.parametrize("options", [["--seeds", "1"], ["--additions-weight", "1"], ["--epochs", "3"]])
def test_what_only_training_changes(recipe: Path, tmp_path: Path, options: list[str]) -> None:
    call("train", recipe, "--out", tmp_path / "run", "--epochs", 1)
    assert "does not train" in refused(
        "sweep", "--evaluate-only", tmp_path / "run", *options, "--out", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()
