"""The path a user walks, through the command line, on a network small enough for a test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import call, refused

from spikegraph import stages
from spikegraph.cli import COMMANDS
from spikegraph.export import formats
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.container import Json, read_container, write_container
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.run_file import load_run

RECIPE = """
name = "tiny"
[data]
set = "digits"
[coding]
n_steps = 6
[network]
layers = "16"
tau_mem = 5e-3
[quantization]
chip = "loihi1"
[training]
epochs = 2
batch_size = 128
learning_rate = 5e-3
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("path")
    (folder / "tiny.toml").write_text(RECIPE)
    assert call("train", folder / "tiny.toml", "--out", folder / "run").exit_code == 0
    assert call("export", folder / "run", "-o", folder / "net.h5").exit_code == 0
    return folder


@pytest.fixture
def net(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(trained / "net.h5", tmp_path / "net.h5"))


def test_training_leaves_recipe_checkpoint_log_and_summary(trained: Path) -> None:
    assert {f.name for f in (trained / "run").iterdir()} == {
        "recipe.toml",
        "checkpoint.safetensors",
        "log.csv",
        "summary.json",
    }
    assert json.loads((trained / "run/summary.json").read_text())["epochs"] == 2


def test_export_reports_what_it_changed(trained: Path, tmp_path: Path) -> None:
    result = call("export", trained / "run", "-o", tmp_path / "n.h5", "--chip", "loihi2", "--json")
    report = json.loads(result.stdout)
    assert report["chip"] == "loihi2"
    assert set(report["projections"]) == {"input_to_hidden", "hidden_to_output"}
    assert not report["populations"]["hidden"]["folded"]


def test_weights_of_few_bits_are_clipped_where_their_error_is_least(trained: Path, tmp_path: Path) -> None:
    def errors(*options: object) -> list[dict[str, Any]]:
        result = call("export", trained / "run", "-o", tmp_path / "n.h5", "--chip", "generic", *options, "--json")
        return list(json.loads(result.stdout)["projections"].values())

    by_default, asked, unclipped = (errors("--weight-bits", 1, *of) for of in ([], ["--fit-clip"], ["--no-fit-clip"]))
    assert by_default == asked
    for found, largest in zip(asked, unclipped, strict=True):
        assert largest["clip"] is None
        assert found["rms_error"] < largest["rms_error"]
    assert all(error["clip"] is None for error in errors("--weight-bits", 5))
    call("export", trained / "run", "-o", tmp_path / "n.h5", "--chip", "generic", "--weight-bits", 1)
    projections = json.loads(call("inspect", tmp_path / "n.h5", "--json").stdout)["projections"]
    assert [(p["bits"], p["weight"]) for p in projections.values()] == [(1, [-1, 1])] * 2
    assert call("check", tmp_path / "n.h5", "--chip", "generic", "--weight-bits", 1).exit_code == 0
    no = call("check", trained / "net.h5", "--chip", "generic", "--weight-bits", 1)
    assert "is outside -1 and 1 on Generic" in no.stdout


def test_export_is_reproducible_to_the_byte(trained: Path, tmp_path: Path) -> None:
    call("export", trained / "run", "-o", tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (trained / "net.h5").read_bytes()


def test_provenance_names_seed_data_and_checkpoint(net: Path) -> None:
    provenance = json.loads(call("inspect", net, "--json").stdout)["provenance"]
    assert provenance["seed"] == 0
    assert provenance["data"] == "digits:train"
    assert len(provenance["checkpoint_sha256"]) == 64


def test_inspect_shows_populations_and_bits(net: Path) -> None:
    result = call("inspect", net)
    assert result.exit_code == 0
    assert "hidden" in result.stdout
    found = json.loads(call("inspect", net, "--json").stdout)
    assert found["projections"]["input_to_hidden"]["bits"] <= 8
    assert found["projections"]["input_to_hidden"]["step"] == 2
    assert found["populations"]["output"]["depth"] == 2


def test_check_says_yes_for_its_chip_and_no_for_another(net: Path) -> None:
    assert call("check", net, "--chip", "loihi1").exit_code == 0
    no = call("check", net, "--chip", "generic", "--weight-bits", "2")
    assert no.exit_code == 1
    assert "outside -2…1" in no.stdout


def test_simulate_writes_a_run_that_agrees_with_what_it_prints(net: Path, tmp_path: Path) -> None:
    result = call(
        "simulate",
        net,
        "--data",
        "digits:test",
        "-o",
        tmp_path / "run.h5",
        "--json",
        "--samples",
        40,
        "--record",
        "hidden",
    )
    assert result.exit_code == 0
    run, printed = load_run(tmp_path / "run.h5"), json.loads(result.stdout)
    assert run.summary() == printed
    assert run.traces["hidden"]["u"].shape == (6, 40, 16)
    # 16 hidden + 10 output neurons × 6 steps = 156 updates a sample
    assert printed["per_sample"]["window"]["neuron_updates"] == 156
    # dense network: 64 × 16 + 16 × 10 = 1,184 MACs
    assert printed["dense_macs"] == {"once": 1184, "every_step": 1184 * 6}


def test_simulate_in_batches_gives_what_one_batch_gives(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stages.simulate(net, "digits:test", samples=50)
    monkeypatch.setattr("spikegraph.hwsim.simulate.MOST_SAMPLES", 7)
    parts = stages.simulate(net, "digits:test", samples=50)
    assert np.array_equal(whole.output_spikes, parts.output_spikes)
    assert whole.summary() == parts.summary()


def test_a_run_until_decision_says_nothing_of_the_window(net: Path, tmp_path: Path) -> None:
    arguments = [
        "simulate",
        net,
        "--data",
        "digits:test",
        "--samples",
        20,
        "--until",
        "decision",
        "-o",
        tmp_path / "r.h5",
    ]
    text = call(*arguments)
    assert text.exit_code == 0
    assert "until decision" in text.stdout
    assert "window" not in text.stdout
    printed, run = json.loads(call(*arguments, "--json").stdout), load_run(tmp_path / "r.h5")
    assert printed == run.summary()
    assert printed["until"] == run.until == "decision"
    assert set(printed["per_sample"]) == {"until_decision"}
    whole = json.loads(call("simulate", net, "--data", "digits:test", "--samples", 20, "--json").stdout)
    assert printed["per_sample"]["until_decision"] == whole["per_sample"]["until_decision"]
    assert printed["accuracy"] == whole["accuracy"]


def slow_net(path: Path, n_steps: int) -> Path:
    """Write a graph whose sample takes long: every neuron fires in every step."""
    graph = Graph(
        inputs={"input": Input(shape=(64,))},
        populations={
            "wide": Population(shape=(2000,), threshold_mant=1, bias_mant=100),
            "output": Population(shape=(10,), threshold_mant=1000),
        },
        projections={
            "p": Dense(source="input", target="wide", weight=np.ones((2000, 64), int)),
            "q": Dense(source="wide", target="wide", weight=np.ones((2000, 2000), int), delay_steps=1),
            "r": Dense(source="wide", target="output", weight=np.ones((10, 2000), int)),
        },
        outputs={"output": Output(population="output")},
        n_steps=n_steps,
        coding=InputCoding(kind="rate"),
        readout=Readout(kind="count", output="output"),
    )
    formats.save(graph, path)
    return path


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_a_long_sample_at_once_and_leaves_no_file(tmp_path: Path, sent: int, code: int) -> None:
    net = slow_net(tmp_path / "net.h5", n_steps=200_000)  # 4 million additions a step: minutes a sample
    command = [sys.executable, "-m", "spikegraph", "simulate", net, "--data", "digits:test", "-o", tmp_path / "run.h5"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".run.h5*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # inside the kernel
    assert process.poll() is None
    start = time.monotonic()
    process.send_signal(sent)
    _, says = process.communicate(timeout=30)
    assert time.monotonic() - start < 15  # of minutes; on a busy machine the interpreter takes seconds to end
    assert process.returncode == code
    assert "Traceback" not in says
    assert list(tmp_path.iterdir()) == [net]


def test_an_interrupt_is_heard_while_states_are_written(tmp_path: Path) -> None:
    """Python drops an exception that is raised as h5py cleans up after a write: it must be asked for again."""
    net = slow_net(tmp_path / "net.h5", n_steps=500)
    command = [sys.executable, "-m", "spikegraph", "simulate", net, "--data", "digits:test", "-o", tmp_path / "run.h5"]
    process = subprocess.Popen([*command, "--record", "wide"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 1 << 20 for path in tmp_path.glob(".run.h5*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, says = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in says
    assert list(tmp_path.iterdir()) == [net]


def test_a_file_of_another_kind_is_not_replaced(trained: Path, net: Path, tmp_path: Path) -> None:
    graph, run, notes = tmp_path / "mine.h5", tmp_path / "run.h5", tmp_path / "notes.h5"
    shutil.copy(net, graph)
    simulate = ("simulate", graph, "--data", "digits:test", "--samples", 2, "-o")
    assert "is a graph, and would be replaced by a run; name another file" in refused(*simulate, graph)
    assert graph.read_bytes() == net.read_bytes()
    assert call(*simulate, run).exit_code == 0
    assert call(*simulate, run).exit_code == 0  # a run may be made again
    assert "is a run, and would be replaced by a graph" in refused("export", trained / "run", "-o", run)
    notes.write_text("milk, bread")
    assert "is something that spikegraph did not write" in refused(*simulate, notes)
    assert notes.read_text() == "milk, bread"


def test_steps_shorten_the_window(net: Path) -> None:
    result = call("simulate", net, "--data", "digits:test", "--steps", 3, "--samples", 5, "--json")
    assert json.loads(result.stdout)["n_steps"] == 3


def test_torch_simulation_and_graph_agree_on_the_whole_test_split(net: Path) -> None:
    result = call("verify", net, "--against", "torch", "--data", "digits:test", "--json")
    assert result.exit_code == 0
    (place,) = json.loads(result.stdout)["places"]
    assert place["identical"]
    assert place["n_samples"] == 360
    # (16 + 10 neurons) × 6 steps × 360 samples × (s, u, v)
    assert place["n_compared"] == 26 * 6 * 360 * 3


def test_the_network_in_floats_need_not_agree_and_is_told_how_alike_it_is(net: Path) -> None:
    arguments = ["verify", net, "--against", "torch-float,torch", "--data", "digits:test", "--samples", 60]
    report = json.loads(call(*arguments, "--json").stdout)
    assert report["identical"]
    alike = report["likeness"]
    assert alike["n_samples"] == 60
    assert 0.5 < alike["populations"]["hidden"]["in_common"] < 1
    assert alike["populations"]["output"]["n_measured"] <= alike["populations"]["output"]["n_other_trains"]
    test_accuracy = json.loads(call("simulate", net, "--data", "digits:test", "--samples", 60, "--json").stdout)[
        "accuracy"
    ]
    assert alike["n_right_to"] == round(60 * test_accuracy)
    result = call(*arguments, "--no-distances")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith("loses most")


def test_lava_agrees_on_fifty_samples(net: Path) -> None:
    result = call("verify", net, "--against", "lava", "--data", "digits:test", "--samples", 50, "--json")
    (place,) = json.loads(result.stdout)["places"]
    assert place["identical"]
    assert place["variables"] == ["u", "v", "s"] or sorted(place["variables"]) == ["s", "u", "v"]
    assert place["n_samples"] == 50
    assert result.exit_code == 0


def test_verify_says_no_and_where_when_a_weight_was_changed(trained: Path, net: Path) -> None:
    graph = stages.load_integer(net)
    p = graph.projections["input_to_hidden"]
    weight = p.weight.copy()
    weight[3] = -weight[3]
    changed = Graph(
        **{
            **vars(graph),
            "projections": {
                **graph.projections,
                "input_to_hidden": Dense(source=p.source, target=p.target, weight=weight),
            },
        }
    )
    formats.save(changed, net)
    result = call("verify", net, "--against", "torch", "--data", "digits:test", "--samples", 4)
    assert result.exit_code == 1
    assert "first difference at sample 0" in result.stdout
    assert "population hidden, neuron 3, u" in result.stdout


@pytest.mark.parametrize("trained_for", ["loihi1", "none"])
@pytest.mark.parametrize(
    "chip", ["loihi1", "loihi2", "generic --weight-bits 8", "generic --weight-bits 2 --no-fit-clip"]
)
def test_torch_computes_in_the_integers_of_any_chip(trained: Path, tmp_path: Path, trained_for: str, chip: str) -> None:
    """Whatever a network was trained in, its forward pass can be asked for what a graph of it does."""
    run = trained / "run"
    if trained_for == "none":
        run = tmp_path / "run"
        call("train", trained / "tiny.toml", "--out", run, "--chip", "none", "--epochs", 1)
    call("export", run, "-o", tmp_path / "n.h5", "--chip", *chip.split())
    result = call("verify", tmp_path / "n.h5", "--against", "torch", "--data", "digits:test", "--samples", 20, "--json")
    (place,) = json.loads(result.stdout)["places"]
    assert place["identical"]
    assert place["n_compared"] == 26 * 6 * 20 * 3


def test_clipped_weights_are_not_those_of_the_forward_pass(trained: Path, tmp_path: Path) -> None:
    call("export", trained / "run", "-o", tmp_path / "n.h5", "--chip", "generic", "--weight-bits", 2)
    says = refused("verify", tmp_path / "n.h5", "--against", "torch", "--data", "digits:test", "--samples", 2)
    assert "export with --no-fit-clip" in says.replace("\n", " ")


def test_a_place_that_cannot_run_the_graph_leaves_the_others_answers(trained: Path, tmp_path: Path) -> None:
    call("export", trained / "run", "-o", tmp_path / "n.h5")
    graph = formats.load(tmp_path / "n.h5")
    # A loop that turns twice within one step of delay: Lava, as a chip, takes a step for each projection.
    sizes = {name: node.n for name, node in graph.populations.items()}
    first, last = list(sizes)
    back = Dense(source=last, target=first, weight=np.ones((sizes[first], sizes[last]), int), delay_steps=1)
    formats.save(replace(graph, projections={**graph.projections, "back": back}), tmp_path / "n.h5")
    arguments = ["verify", tmp_path / "n.h5", "--against", "lava,native", "--data", "digits:test", "--samples", 3]
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout.startswith("native: identical: 2 populations × 6 steps × 3 samples")
    assert "lava was not compared" in result.stderr.replace("\n", " ")
    report = json.loads(call(*arguments, "--json").stdout)
    assert not report["identical"]
    assert "is a loop of 2 projections with 1 delay steps" in report["refusals"]["lava"]


def test_commands_are_imported_when_they_are_called() -> None:
    """So that an interrupt is heard from the start: what is imported before is small."""
    code = "import sys, spikegraph.cli; print(sorted({'numpy', 'torch', 'h5py', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    listed = call("--help").stdout
    assert [name for name in COMMANDS if f"\n  {name} " not in listed] == []
    assert call("none").exit_code == 2


def test_the_demo_checks_its_options_before_it_trains(tmp_path: Path) -> None:
    assert "--lava-samples" in refused("demo", "--out", tmp_path / "demo", "--lava-samples", 0)
    assert not (tmp_path / "demo").exists()


def test_a_stopped_run_is_exported_with_a_note(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("epochs = 2", "epochs = 5"))
    result = call("export", run, "-o", tmp_path / "n.h5")
    assert result.exit_code == 0
    assert "stopped after 2 of 5 epochs" in result.stderr.replace("\n", " ")


def test_sigterm_while_lava_runs_leaves_nothing(net: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "spikegraph", "verify", net, "--against", "lava", "--data", "digits:test"]
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(temporary.glob("spikegraph-lava-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # Lava's processes are starting, or run
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert not list(temporary.glob("spikegraph-lava-*"))
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(temporary) not in listed


def test_build_leaves_a_folder(net: Path, tmp_path: Path) -> None:
    assert call("build", net, "--target", "lava", "-o", tmp_path / "lava").exit_code == 0
    assert (tmp_path / "lava/run.py").is_file()
    (tmp_path / "empty.h5").touch()
    command = [sys.executable, tmp_path / "lava/run.py", tmp_path / "empty.h5", tmp_path / "result.h5"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "empty.h5 is no HDF5 file" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "result.h5").exists()


def test_onnx_models_of_a_trained_network(net: Path, tmp_path: Path) -> None:
    said = call("build", net, "--target", "onnx", "-o", tmp_path / "onnx", "--json")
    assert json.loads(said.stdout)["run.onnx"]["inputs"] == {"input": "uint8 (T, B, 64)"}
    assert {file.name for file in (tmp_path / "onnx").iterdir()} == {"README.md", "run.onnx", "step.onnx"}
    assert "choose a new folder" in refused("build", net, "--target", "onnx", "-o", tmp_path / "onnx").replace(
        "\n", " "
    )
    result = call("verify", net, "--against", "ort", "--data", "digits:test", "--samples", 20)
    assert result.exit_code == 0
    assert "ort: identical: 2 populations × 6 steps × 20 samples" in result.stdout


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from spikegraph.cli import main
main({arguments!r})
"""


def without(missing: list[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Call in a Python that lacks some packages."""
    program = WITHOUT.format(missing=missing, arguments=[str(a) for a in arguments])
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_who_deploys_needs_no_torch(net: Path) -> None:
    result = without(["torch", "safetensors"], "simulate", net, "--data", "digits:test", "--samples", 3)
    assert result.returncode == 0, result.stderr
    assert "accuracy" in result.stdout


def test_a_missing_package_is_one_message(net: Path, tmp_path: Path) -> None:
    result = without(["torch"], "train", "stl-digits", "--out", tmp_path / "x")
    assert result.returncode == 2
    assert result.stderr.strip() == "spikegraph: torch is not installed; pip install 'spikegraph[train]'"
    result = without(["sklearn"], "simulate", net, "--data", "digits:test")
    assert result.returncode == 2
    assert "spikegraph[data]" in result.stderr
    result = without(["onnx"], "build", net, "--target", "onnx", "-o", tmp_path / "x")
    assert result.returncode == 2
    assert result.stderr.strip() == "spikegraph: onnx is not installed; pip install 'spikegraph[onnx]'"
    result = without(["onnxruntime"], "verify", net, "--against", "ort", "--data", "digits:test")
    assert result.returncode == 2
    assert "spikegraph[onnx]" in result.stderr


def unchecked(graph: Graph, path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a graph that `save` would refuse."""
    with monkeypatch.context() as patch:
        patch.setattr("spikegraph.export.hdf5.require_legal", lambda graph: None)
        formats.save(graph, path)
    return path


ILLEGAL = {
    "shapes": (
        {"projections": {"p": Dense(source="input", target="a", weight=np.ones((2, 3), int))}},
        "expected (2, 2)",
    ),
    "weight": (
        {"projections": {"p": Dense(source="input", target="a", weight=np.full((2, 2), 1 << 20))}},
        "outside -32768…32767",
    ),
    "loop": (
        {
            "projections": {
                "p": Dense(source="input", target="a", weight=np.eye(2, dtype=int)),
                "r": Dense(source="a", target="a", weight=np.eye(2, dtype=int)),
            }
        },
        "loop without delay",
    ),
    "threshold": ({"populations": {"a": Population(shape=(2,), threshold_mant=0)}}, "threshold_mant = 0"),
}


@pytest.mark.parametrize("case", list(ILLEGAL))
def test_an_illegal_graph_is_no_for_check_and_refused_by_the_rest(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, says = ILLEGAL[case]
    path = unchecked(tiny_graph(**changes), tmp_path / "net.h5", monkeypatch)
    no = call("check", path)
    assert no.exit_code == 1
    assert says in no.stdout
    assert says in refused("simulate", path, "--data", "digits:test", "-o", tmp_path / "run.h5").replace("\n", " ")
    assert says in refused("build", path, "--target", "lava", "-o", tmp_path / "lava").replace("\n", " ")
    assert list(tmp_path.iterdir()) == [path]


def test_a_weight_that_is_nan_is_refused(net: Path) -> None:
    tree = read_container(net, "graph")
    weight = tree["projections"]["input_to_hidden"]["weight"].astype(np.float64)
    weight[0, 0] = np.nan
    tree["projections"]["input_to_hidden"]["weight"] = weight
    tree["provenance"] = Json(value=tree["provenance"])
    write_container(net, "graph", tree)
    assert "input_to_hidden" in refused("inspect", net).replace("\n", "")


def test_version_and_help() -> None:
    assert "spikegraph, version" in call("--version").stdout
    for command in ("train", "sweep", "export", "join", "inspect", "check", "simulate", "build", "verify", "demo"):
        assert "--help" in call(command, "--help").stdout


def tiny_graph(**changes: object) -> Graph:
    fields = {
        "inputs": {"input": Input(shape=(2,))},
        "populations": {"a": Population(shape=(2,), threshold_mant=3)},
        "projections": {"p": Dense(source="input", target="a", weight=np.eye(2, dtype=int))},
        "outputs": {"output": Output(population="a")},
        "n_steps": 4,
    }
    return Graph(**{**fields, **changes})  # type: ignore[arg-type]


BAD_FILES = {
    "text": b"not a graph",
    "empty": b"",
    "signature only": b"\x89HDF\r\n\x1a\n",
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=list(BAD_FILES))
@pytest.mark.parametrize("command", ["inspect", "check", "simulate", "build", "verify"])
def test_a_wrong_file_is_refused_by_every_command(command: str, content: bytes, tmp_path: Path) -> None:
    file, out = tmp_path / "net.h5", tmp_path / "out"
    file.write_bytes(content)
    options = {
        "simulate": ["--data", "digits:test", "-o", tmp_path / "out.h5"],
        "build": ["--target", "lava", "-o", out],
        "verify": ["--against", "lava", "--data", "digits:test"],
    }
    assert str(file) in refused(command, file, *options.get(command, [])).replace("\n", "")
    assert list(tmp_path.iterdir()) == [file]


def test_a_truncated_graph_is_refused(net: Path) -> None:
    net.write_bytes(net.read_bytes()[:-100])
    assert "net.h5" in refused("inspect", net)


def test_a_newer_version_is_refused(net: Path) -> None:
    with h5py.File(net, "r+") as file:
        file.attrs["version"] = 2
    assert "version 2" in refused("inspect", net)


def test_a_missing_data_set_in_the_file_is_refused(net: Path) -> None:
    with h5py.File(net, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        del file[next(n for n in names if n.endswith("weight"))]
    assert refused("inspect", net)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "no-such-recipe", "--out", "x"], "choose one of"),
        (["train", "stl-digits", "--out", "x", "--epochs", 0], "epochs"),
        (["train", "stl-digits", "--out", "x", "--chip", "loihi9"], "loihi9"),
        (["train", "stl-mnist-mlp", "--out", "x", "--data", "empty"], "does not hold mnist"),
        (["train", "stl-mnist-mlp", "--out", "x", "--data-dir", "empty"], "does not hold mnist"),
        (["train", "zero.toml", "--out", "x"], "v_threshold"),
        (["export", "empty", "-o", "x.h5"], "no training run"),
        (["inspect", "absent.h5"], "absent.h5"),
        (["inspect", "net.txt"], ".h5"),
        (["check", "net.h5", "--chip", "loihi9"], "choose one of"),
        (["simulate", "net.h5", "--data", "digits:test", "--samples", 0], "--samples"),
        (["simulate", "net.h5", "--data", "digits:middle"], "digits:test"),
        (["simulate", "net.h5", "--data", "imagenet"], "choose one of"),
        (["simulate", "net.h5", "--data", "digits:test", "--engine", "warp"], "reference"),
        (["simulate", "net.h5", "--data", "digits:test", "--steps", 0], "n_steps"),
        (["simulate", "net.h5", "--data", "digits:test", "--record", "nobody"], "hidden"),
        (["simulate", "net.h5", "--data", "digits:test", "-o", "no/such/run.h5"], "no/such"),
        (["simulate", "net.h5", "--data", "digits:test", "-o", "run.txt"], "a run file is called something.h5"),
        (["simulate", "net.h5", "--data", "digits:test", "--until", "noon"], "choose one of window, decision"),
        (
            ["simulate", "net.h5", "--data", "digits:test", "--until", "decision", "--record", "hidden"],
            "leave out --until decision",
        ),
        (["build", "net.h5", "--target", "loihi3", "-o", "x"], "lava"),
        (["verify", "net.h5", "--against", "lava", "--data", "digits:test", "--samples", 0], "--samples"),
        (["verify", "net.h5", "--against", "paper", "--data", "digits:test"], "torch"),
        (["verify", "net.h5", "--against", "torch", "--data", "digits:test", "--run", "empty"], "--run"),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(
    arguments: list[object], says: str, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(net.parent)
    Path("empty").mkdir()
    Path("net.txt").write_text("text")
    Path("zero.toml").write_text(RECIPE.replace("[quantization]", "v_threshold = 0\n[quantization]"))
    before = sorted(Path().rglob("*"))
    assert says in refused(*arguments).replace("\n", " ")
    assert sorted(Path().rglob("*")) == before


def test_a_data_set_of_another_size_is_refused(tmp_path: Path) -> None:
    graph = tiny_graph()
    formats.save(graph, tmp_path / "net.h5")
    assert "64 values" in refused("simulate", tmp_path / "net.h5", "--data", "digits:test").replace("\n", " ")


def test_a_run_is_no_graph(net: Path, tmp_path: Path) -> None:
    call("simulate", net, "--data", "digits:test", "--samples", 3, "-o", tmp_path / "run.h5")
    assert "run" in refused("inspect", tmp_path / "run.h5")
