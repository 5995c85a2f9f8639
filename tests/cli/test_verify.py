"""`spikegraph verify` on the command line: places, recordings, floats, and what it says of a difference."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import call, refused

from spikegraph.export import formats
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.simulate import rasters_of
from spikegraph.targets.places import native
from spikegraph.trainer.data import load_split

ONE = ("--data", "digits:test", "--samples", 4)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    graph = Graph(
        inputs={"input": Input(shape=(64,))},
        populations={
            "hidden": Population(shape=(12,), decay_u=1000, decay_v=500, threshold_mant=150, bias_mant=40),
            "output": Population(shape=(10,), decay_u=4096, decay_v=300, threshold_mant=90),
        },
        projections={
            "p": Dense(source="input", target="hidden", weight=rng.integers(-60, 70, (12, 64))),
            "q": Dense(source="hidden", target="output", weight=rng.integers(-60, 100, (10, 12))),
        },
        outputs={"output": Output(population="output")},
        n_steps=12,
        coding=InputCoding(kind="first_spike"),
        readout=Readout(kind="count", output="output"),
    )
    formats.save(graph, tmp_path / "net.h5")
    return tmp_path / "net.h5"


def changed(net: Path, **fields: object) -> Path:
    formats.save(replace(formats.load_integer(net), **fields), net.with_name("other.h5"))
    return net.with_name("other.h5")


def test_a_recorded_run_of_some_populations(net: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.h5"
    call("simulate", net, *ONE, "-o", run, "--record", "hidden")
    result = call("verify", net, "--against", run, *ONE)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{run}: identical: 1 of 2 populations (hidden) × 12 steps × 4 samples (s, u, v; ")


def test_a_recorded_run_of_other_samples_is_refused(net: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.h5"
    call("simulate", net, *ONE, "-o", run)
    assert "is a run without recorded populations" in refused("verify", net, "--against", run, *ONE)
    call("simulate", net, *ONE, "-o", run, "--record", "hidden")
    result = call("verify", net, "--against", run, "--data", "digits:test", "--samples", 9)
    assert result.exit_code == 2
    assert "holds samples 0…3 of its data set, and 0…8 are compared" in result.stderr.replace("\n", " ")
    result = call("verify", net, "--against", run, "--data", "digits:train", "--samples", 4)
    assert "was recorded on digits:test, not on digits:train" in result.stderr.replace("\n", " ")


def test_a_recording_brings_its_input_along(net: Path, tmp_path: Path) -> None:
    graph, rng = formats.load_integer(net), np.random.default_rng(1)
    x = (rng.random((12, 5, 64)) < 0.2).astype(np.int16)
    s = native(graph, {"input": x})["output"]["s"].copy()
    np.savez(tmp_path / "run.npz", **{"inputs.input": x, "output.s": s})
    result = call("verify", net, "--against", f"native,{tmp_path / 'run.npz'}", "--json")
    report = json.loads(result.stdout)
    assert [place["n_samples"] for place in report["places"]] == [5, 5]
    assert report["identical"]
    s[7, 3, 4] ^= True
    np.savez(tmp_path / "run.npz", **{"inputs.input": x, "output.s": s})
    result = call("verify", net, "--against", "native", "--to", tmp_path / "run.npz")
    assert result.exit_code == 1
    assert "first difference at sample 3, step 7, population output, neuron 4, s" in result.stdout
    assert "run.npz departs from what a graph means, not native" in result.stdout
    assert "say which data to run on" in refused("verify", net, "--against", "native").replace("\n", " ")


def test_an_input_coded_otherwise_is_found(net: Path, tmp_path: Path) -> None:
    graph, split = formats.load_integer(net), load_split("digits:test").first(4)
    [(x, _, index)] = split.batches((64,), 4)
    fires_at = np.floor((1 - x) * 11)
    fires_at[x == 0] = 12
    raster = (np.arange(12)[:, None, None] == fires_at).astype(np.int16)
    assert (raster != rasters_of(graph, x, index)["input"]).any()
    execution = native(graph, {"input": raster})
    np.savez(tmp_path / "run.npz", **{f"{n}.{v}": a for n, t in execution.items() for v, a in t.items()})
    result = call("verify", net, "--against", tmp_path / "run.npz", *ONE, "--json")
    cause = json.loads(result.stdout)["places"][0]["first"]["cause"]
    assert (cause["kind"], cause["what"]) == ("input coding", "times of spikes are rounded down")
    assert cause["n_explained"] == cause["n_values"]


def test_a_difference_is_told_in_words(net: Path, tmp_path: Path) -> None:
    graph = formats.load_integer(net)
    hidden = replace(graph.populations["hidden"], decay_v=501)
    other = changed(net, populations={**graph.populations, "hidden": hidden})
    call("simulate", other, *ONE, "-o", tmp_path / "run.h5", "--record", "hidden", "--record", "output")
    result = call("verify", net, "--against", tmp_path / "run.h5", *ONE)
    assert result.exit_code == 1
    first, note, arrived, cause = result.stdout.splitlines()
    assert "first difference at sample 0" in first
    assert "was recorded with another graph (" in note
    assert arrived.startswith("  what arrived by p from input, step")
    assert cause.startswith("  cause: decay constant: decay_v is one more (makes all ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--against", "chip"], "choose among reference, native, lava"),
        (["--against", "native", "--to", "chip"], "choose among"),
        (["--against", "none.npz"], "is not there"),
        (["--against", "native", "--samples", "0"], "samples"),
        (["--against", "torch-float"], "--against torch-float: the graph was not exported from a training run"),
        (["--against", "native, chip"], "'chip' is not known"),
        (["--against", "native", "--to", "torch-float"], "--to: 'torch-float' is not known"),
    ],
)
def test_bad_input(net: Path, arguments: list[str], says: str) -> None:
    assert says in refused("verify", net, "--data", "digits:test", *arguments).replace("\n", " ")


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".txt"])
def test_encoded_spikes_for_what_runs_elsewhere(net: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"in{suffix}"
    result = call("encode", net, *ONE, "-o", out)
    assert result.stdout == f"{out}: 4 samples of digits:test\n"
    graph, split = formats.load_integer(net), load_split("digits:test").first(4)
    [(x, _, index)] = split.batches((64,), 4)
    raster = rasters_of(graph, x, index)["input"]
    if suffix == ".h5":
        with h5py.File(out) as file:
            assert np.array_equal(file["inputs/input"][()], raster)
    elif suffix == ".npz":
        assert np.array_equal(np.load(out)["inputs.input"], raster)
    else:
        lines = [[int(line) for line in step.split()] for step in out.read_text().splitlines()]
        assert lines == [np.flatnonzero(raster[t, sample]).tolist() for sample in range(4) for t in range(12)]


def test_encoding_for_nobody_and_where_nothing_can_be_written(net: Path, tmp_path: Path) -> None:
    assert "use one of .h5, .npz, .txt" in refused("encode", net, *ONE, "-o", tmp_path / "in.csv")
    says = refused("encode", net, *ONE, "-o", tmp_path / "none" / "in.npz")
    assert "make the folder, or name another file" in says.replace("\n", " ")
    assert list(tmp_path.iterdir()) == [net]


@pytest.mark.parametrize("target", ["lava", "c", "onnx"])
def test_a_folder_that_cannot_be_made(net: Path, target: str) -> None:
    says = refused("build", net, "--target", target, "-o", net / "sub").replace("\n", " ")
    assert "cannot be written" in says
    assert "choose another folder" in says
