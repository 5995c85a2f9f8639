"""`convert`, `diff`, and what other commands make of float graphs."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest
from commands import call, refused
from net_files import CUBA, dense, write_net

from spikegraph.export import formats
from spikegraph.export.assumptions import Assumptions
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.float_graph import FloatDense, FloatGraph, FloatOneToOne, FloatPopulation
from spikegraph.export.graph import Input, Output
from spikegraph.export.loss import Effect, Loss, LossReport


def float_graph() -> FloatGraph:
    rng = np.random.default_rng(0)
    return FloatGraph(
        inputs={"pixels": Input(shape=(64,))},
        populations={
            "hidden": FloatPopulation(shape=(16,), tau_mem=5e-3),
            "out": FloatPopulation(shape=(10,), v_threshold=0.7, bias=rng.normal(size=10) / 20),
        },
        projections={
            "fc1": FloatDense(source="pixels", target="hidden", weight=rng.normal(size=(16, 64)) / 8),
            "fc2": FloatDense(source="hidden", target="out", weight=rng.normal(size=(10, 16)) / 4),
        },
        outputs={"class": Output(population="out")},
        n_steps=6,
    )


@pytest.fixture
def floats(tmp_path: Path) -> Path:
    formats.save(float_graph(), tmp_path / "floats.h5")
    return tmp_path / "floats.h5"


def test_from_floats_to_a_chip_with_a_code_and_a_readout(floats: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.h5"
    result = call("convert", floats, out, "--chip", "loihi1", "--coding", "rate", "--seed", 7)
    assert result.exit_code == 0
    assert "readout: count of class, as nothing else is said" in result.stdout
    assert "quantized for loihi1" in result.stdout
    graph = formats.load_integer(out)
    assert graph.coding == InputCoding(kind="rate", seed=7)
    assert graph.readout == Readout(kind="count", output="class")
    assert graph.provenance["converted_from"] == str(floats)
    assert graph.provenance["chip"] == "loihi1"
    assert "samples" in call("simulate", out, "--data", "digits:test", "--samples", 5).stdout


def test_calibrated_on_data(floats: Path, tmp_path: Path) -> None:
    arguments = ("convert", floats, tmp_path / "a.h5", "--chip", "loihi2", "--coding", "rate")
    result = call(*arguments, "--calibrate", "digits:train", "--samples", 12)
    assert result.exit_code == 0
    assert "calibrated on 12 samples; kept: " in result.stdout
    assert "spikes in common with the float graph" in result.stdout
    found = json.loads(call(*arguments, "--calibrate", "digits:train", "--samples", 12, "--json").stdout)
    assert found["calibration"]["n_samples"] == 12
    assert found["calibration"]["populations"].keys() == {"hidden", "out"}
    for arguments in (["--calibrate", "digits:train"], ["--chip", "loihi2", "--calibrate", "digits:train"]):
        assert "--calibrate: is for quantizing a float graph" in refused(
            "convert", tmp_path / "a.h5", tmp_path / "b.h5", *arguments
        )
    assert "has no coding" in refused("convert", floats, tmp_path / "b.h5", *arguments)


def test_a_code_of_larger_numbers_widens_the_input(floats: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.h5"
    assert call("convert", floats, out, "--coding", "direct", "--max-value", 15, "--readout", "membrane").exit_code == 0
    graph = formats.load(out)
    assert graph.inputs["pixels"].max_value == 15
    assert graph.coding == InputCoding(kind="direct", max_value=15)
    assert graph.readout == Readout(kind="membrane", output="class")


def test_the_report_as_json(floats: Path, tmp_path: Path) -> None:
    found = json.loads(call("convert", floats, tmp_path / "a.h5", "--chip", "loihi2", "--json").stdout)
    assert found["written"] == str(tmp_path / "a.h5")
    assert found["quantization"]["projections"].keys() == {"fc1", "fc2"}
    assert found["writing"] == {"step": "write a.h5", "facts": [], "losses": []}


def test_net_files_are_read_by_every_command(tmp_path: Path) -> None:
    layers = [{"type": "input", "shape": [64]}, dense(64, 8), dense(8, 10, seed=1)]
    path = write_net(tmp_path / "a.net", layers)
    assert call("inspect", path).exit_code == 0
    assert call("convert", path, tmp_path / "a.h5").exit_code == 0
    assert call("diff", path, tmp_path / "a.h5").exit_code == 0
    assert call("convert", path, tmp_path / "b.h5", "--coding", "rate").exit_code == 0
    assert "(3 samples" in call("simulate", tmp_path / "b.h5", "--data", "digits:test", "--samples", 3).stdout


def test_what_a_chip_lacks_can_be_asked_for(floats: Path, tmp_path: Path) -> None:
    graph, soft, out = float_graph(), tmp_path / "soft.h5", tmp_path / "net.h5"
    soft_reset = {name: replace(one, reset="subtract") for name, one in graph.populations.items()}
    graded = {"pixels": Input(shape=(64,), max_value=15)}
    coding = InputCoding(kind="direct", max_value=15)
    formats.save(replace(graph, populations=soft_reset, inputs=graded, coding=coding), soft)
    assert "convert with --reset zero" in refused("convert", soft, out, "--chip", "loihi1").replace("\n", " ")
    asked = ("--chip", "loihi1", "--reset", "zero", "--max-value", 1, "--n-steps", 4)
    found = json.loads(call("convert", soft, out, *asked, "--json").stdout)
    assert [(one["node"], one["attribute"], one["effect"], one["what"]) for one in found["reading"]["losses"]] == [
        ("population hidden", "reset", "approximated", "zero, in place of subtract"),
        ("population out", "reset", "approximated", "zero, in place of subtract"),
        ("graph", "n_steps", "approximated", "4, in place of 6"),
        ("input pixels", "max_value", "approximated", "1, in place of 15: a spike carries no more"),
    ]
    made = formats.load_integer(out)
    assert {one.reset for one in made.populations.values()} == {"zero"}
    assert (made.n_steps, made.inputs["pixels"].max_value, made.coding) == (4, 1, replace(coding, max_value=1))
    assert call("convert", soft, tmp_path / "b.h5", "--reset", "zero", "--strict").exit_code == 1


@pytest.mark.parametrize("effect", ["none", "approximated", "dropped"])
def test_strict_writes_nothing_that_lost_something(
    floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effect: Effect
) -> None:
    def save(graph: formats.AnyGraph, path: Path, _: Assumptions) -> LossReport:
        path.write_text("whole")
        loss = Loss(node="population out", attribute="bias", effect=effect, what="has no room")
        return LossReport(step=f"write {path.name}", losses=[loss])

    lossy = formats.Format(save=save, load=formats.FORMATS[".h5"].load)
    monkeypatch.setitem(formats.FORMATS, ".lossy", lossy)
    out = tmp_path / "a.lossy"
    kept = effect == "none"
    result = call("convert", floats, out, "--strict")
    assert result.exit_code == (0 if kept else 1)
    assert ("nothing written" in result.stdout) == (not kept)
    assert sorted(file.name for file in tmp_path.iterdir()) == (["a.lossy"] if kept else []) + ["floats.h5"]
    out.unlink(missing_ok=True)
    assert call("convert", floats, out).exit_code == 0
    assert out.read_text() == "whole"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{floats}", "{tmp}/a.xyz"], "a.xyz: has the suffix '.xyz'; use one of .h5"),
        (["{floats}", "{tmp}/none/a.h5"], "there is no folder"),
        (["{floats}", "{floats}"], "is what is read, and would be replaced"),
        (["{tmp}/none.h5", "{tmp}/a.h5"], "does not exist"),
        (["{floats}", "{tmp}/a.h5", "--chip", "loihi9"], "is not known"),
        (["{floats}", "{tmp}/a.h5", "--seed", "3"], "--seed: is of the code rate; add --coding rate"),
        (["{floats}", "{tmp}/run.h5"], "would be replaced"),
        (["{floats}", "{tmp}/a.h5", "--dt", "0.5"], "--dt: is 0.5 s, and the file says 0.001 s; leave it out"),
        (["{floats}", "{tmp}/a.h5", "--convention", "norse"], "--convention: is of .nir files"),
        (["{floats}", "{tmp}/a.h5", "--weight-bits", "4"], "--weight-bits: is of the chip generic, and none is named"),
        (["{floats}", "{tmp}/a.h5", "--max-value", "-3"], "-3 is not in the range x>=1"),
        (["{floats}", "{tmp}/a.h5", "--reset", "zero-at-once"], "use one of zero, subtract, none"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    floats: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "run.h5").write_text("my own")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    said = refused("convert", *(a.format(floats=floats, tmp=tmp_path) for a in arguments))
    assert message in said.replace("\n", " ")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_integer_graph_is_legal_on_the_chip_or_refused(floats: Path, tmp_path: Path) -> None:
    assert call("convert", floats, tmp_path / "a.h5", "--chip", "loihi2").exit_code == 0
    assert call("convert", tmp_path / "a.h5", tmp_path / "b.h5", "--chip", "loihi2").exit_code == 0
    graph = formats.load_integer(tmp_path / "a.h5")
    odd = replace(graph.projections["fc1"], weight=graph.projections["fc1"].weight | 1)
    formats.save(replace(graph, projections={**graph.projections, "fc1": odd}), tmp_path / "odd.h5")
    assert "fc1" in refused("convert", tmp_path / "odd.h5", tmp_path / "c.h5", "--chip", "loihi1")
    assert not (tmp_path / "c.h5").exists()


def test_diff_says_what_differs_and_exits_1(floats: Path, tmp_path: Path) -> None:
    graph = float_graph()
    assert call("diff", floats, floats).exit_code == 0
    formats.save(replace(graph, n_steps=7), tmp_path / "b.h5")
    result = call("diff", floats, tmp_path / "b.h5")
    assert result.exit_code == 1
    assert "n_steps" in result.stdout
    found = json.loads(call("diff", floats, tmp_path / "b.h5", "--json").stdout)
    assert [(one["node"], one["attribute"], one["what"]) for one in found] == [("graph", "n_steps", "6, 7")]


def test_diff_assumes_of_each_file_what_its_format_leaves_open(floats: Path, tmp_path: Path) -> None:
    assert call("convert", floats, tmp_path / "a.nir", "--convention", "norse").exit_code == 0
    assert call("diff", floats, tmp_path / "a.nir", "--convention", "norse", "--dt", 1e-3).exit_code == 0
    assert "leave it out" in refused("diff", floats, floats, "--convention", "norse")
    layers = [{"type": "input", "shape": [5], "weight": 76, "neuron": CUBA}, dense(5, 3)]
    net = write_net(tmp_path / "a.net", layers)
    assert call("convert", net, tmp_path / "a.h5", "--input-range", "-1,1").exit_code == 0
    assert call("diff", tmp_path / "a.h5", net, "--input-range", "-1,1").exit_code == 0
    assert call("diff", tmp_path / "a.h5", net).exit_code == 1


def test_names_of_others_are_printed_as_they_are(tmp_path: Path) -> None:
    nodes = {
        "in": nir.Input(np.array([2])),
        "fc[red]": nir.Linear(np.eye(2)),
        "if[bold]": nir.IF(np.ones(2), np.ones(2)),
        "out": nir.Output(np.array([2])),
    }
    nir.write(tmp_path / "a.nir", nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False))
    assert "if[bold]" in call("convert", tmp_path / "a.nir", tmp_path / "a.h5").stdout


def test_numbers_held_otherwise_are_no_difference(floats: Path, tmp_path: Path) -> None:
    graph = float_graph()
    each = replace(graph.populations["out"], v_threshold=np.full(10, 0.7))
    formats.save(replace(graph, populations={**graph.populations, "out": each}), tmp_path / "b.h5")
    result = call("diff", floats, tmp_path / "b.h5")
    assert result.exit_code == 0
    assert "same" in result.stdout


def test_float_graphs_are_inspected_and_their_accuracy_is_told(floats: Path, tmp_path: Path) -> None:
    coded = tmp_path / "coded.h5"
    assert call("convert", floats, coded, "--coding", "rate").exit_code == 0
    inspected = call("inspect", coded)
    assert inspected.exit_code == 0
    assert "tau_mem" in inspected.stdout
    found = json.loads(call("simulate", coded, "--data", "digits:test", "--samples", 8, "--json").stdout)
    assert found["samples"] == 8
    assert 0 <= found["accuracy"] <= 1
    assert "--chip: is of integer graphs" in refused("simulate", coded, "--data", "digits:test", "--chip", "loihi1")
    assert "quantize it first: spikegraph convert" in refused("check", coded)


def test_files_of_others_are_not_replaced(floats: Path, tmp_path: Path) -> None:
    net, theirs = tmp_path / "net.h5", tmp_path / "theirs.nir"
    assert call("convert", floats, net, "--chip", "loihi1", "--coding", "rate").exit_code == 0
    with h5py.File(theirs, "w") as file:
        file["node/type"] = "NIRGraph"
    before = theirs.read_bytes()
    assert "something that spikegraph did not write" in refused("convert", net, theirs).replace("\n", " ")
    assert theirs.read_bytes() == before
    for suffix in ("nir", "net"):
        for _ in range(2):  # what is ours is replaced
            assert call("convert", net, tmp_path / f"ours.{suffix}").exit_code == 0
    encode = ("encode", net, "--data", "digits:test", "--samples", 2, "-o")
    assert "is what is read, and would be replaced" in refused(*encode, net)
    other = tmp_path / "other.h5"
    other.write_bytes(net.read_bytes())
    assert "is a graph, and would be replaced" in refused(*encode, other)
    for _ in range(2):
        assert call(*encode, tmp_path / "in.txt").exit_code == 0


def test_a_file_with_the_wrong_suffix_is_known_by_what_is_in_it(floats: Path, tmp_path: Path) -> None:
    net = tmp_path / "net.h5"
    assert call("convert", floats, net, "--chip", "loihi1").exit_code == 0
    assert call("convert", net, tmp_path / "a.nir").exit_code == 0
    assert call("convert", net, tmp_path / "a.net").exit_code == 0
    for source, suffix in ((net, "nir"), (net, "net"), (tmp_path / "a.nir", "h5"), (tmp_path / "a.net", "nir")):
        wrong = tmp_path / f"wrong.{suffix}"
        wrong.write_bytes(source.read_bytes())
        said = refused("convert", wrong, tmp_path / "b.h5")
        assert f"is a {source.suffix} file by what is in it; give it a name that ends in {source.suffix}" in said


def test_a_reset_that_is_a_projection_is_not_set_to_zero_twice(floats: Path, tmp_path: Path) -> None:
    graph = float_graph()
    late = replace(graph.populations["hidden"], reset="none")
    back = FloatOneToOne(source="hidden", target="hidden", weight=np.array(-1.0), delay_steps=1)
    looped = replace(
        graph,
        populations={**graph.populations, "hidden": late},
        projections={**graph.projections, "hidden_reset": back},
    )
    formats.save(looped, tmp_path / "late.h5")
    said = refused("convert", tmp_path / "late.h5", tmp_path / "b.h5", "--reset", "zero").replace("\n", " ")
    assert (
        "hidden is reset by a projection onto itself, hidden_reset; say --reset where the original .nir is read" in said
    )


def test_whoever_reads_a_file_is_told_what_was_assumed(tmp_path: Path) -> None:
    neuron = {**CUBA, "vThMant": 20}
    layers = [{"type": "input", "shape": [64], "weight": [76.0], "neuron": neuron}, dense(64, 10)]
    path = write_net(tmp_path / "a.net", layers)
    for arguments in (["inspect", path], ["simulate", path, "--data", "digits:test", "--samples", 2]):
        said = call(*arguments).stderr
        assert said.count("note: read a.net: layer 0: x is 0…1 as the data have it") == 1


@pytest.mark.parametrize("steps", [-1, 0])
def test_a_window_of_no_steps_is_refused(floats: Path, tmp_path: Path, steps: int) -> None:
    coded = tmp_path / "coded.h5"
    assert call("convert", floats, coded, "--coding", "rate").exit_code == 0
    assert "n_steps" in refused("simulate", coded, "--data", "digits:test", "--steps", steps)


@pytest.mark.parametrize("command", ["join", "check"])
def test_other_commands_write_h5_only(floats: Path, tmp_path: Path, command: str) -> None:
    net, out = tmp_path / "net.h5", tmp_path / "a.net"
    assert call("convert", floats, net, "--chip", "loihi1").exit_code == 0
    options = [net, net, "--names", "a,b"] if command == "join" else [net, "--chip", "loihi1", "--fix"]
    assert "write .h5, then spikegraph convert" in refused(command, *options, "-o", out)
