"""An event set through the command line: trained, exported, run, verified; noise; a data set of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import call, refused

from spikegraph.hwsim.run_file import load_run

RECIPE = """
name = "tiny-events"
[data]
set = "nmnist"
validation = 0.1
shift = 1
drop = 0.2
downscale = 2
[coding]
kind = "events"
n_steps = 4
max_value = {max_value}
step_us = {step_us}
[network]
layers = "{layers}"
tau_mem = 5e-3
v_threshold = 0.5
[quantization]
chip = "{chip}"
[training]
epochs = 8
batch_size = 20
learning_rate = 2e-2
"""


def write_recordings(folder: Path, n: int, seed: int) -> None:
    """Write recordings of 60 events; those of digit d lie mostly in rows 10 d to 10 d + 4."""
    rng = np.random.default_rng(seed)
    for number in range(1, n + 1):
        digit = number % 3
        y = np.where(rng.random(60) < 0.8, 10 * digit + rng.integers(0, 5, 60), rng.integers(0, 34, 60))
        t = np.sort(rng.integers(0, 4000, 60))
        stamp = (rng.integers(0, 2, 60) << 23 | t).astype(">u4").view(np.uint8).reshape(60, 4)[:, 1:]
        events = np.column_stack([rng.integers(0, 34, 60), y, stamp]).astype(np.uint8)
        path = folder / str(digit) / f"{number:05}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(events.tobytes())


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nmnist")
    write_recordings(folder / "Train", 120, 0)
    write_recordings(folder / "Test", 30, 1)
    return folder


SETTINGS = {
    "binary, a share of each recording": {"max_value": 1, "step_us": 0, "chip": "loihi1", "layers": "16"},
    "counts, steps of 900 µs": {"max_value": 3, "step_us": 900, "chip": "loihi2", "layers": "4c3/2 16"},
}


@pytest.fixture(scope="module", params=SETTINGS)
def trained(request: pytest.FixtureRequest, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    (folder / "tiny.toml").write_text(RECIPE.format(**SETTINGS[request.param]))
    assert call("train", folder / "tiny.toml", "--data", recordings, "--out", folder / "run").exit_code == 0
    assert call("export", folder / "run", "-o", folder / "net.h5").exit_code == 0
    return folder


def test_the_simulator_gets_what_training_got(trained: Path, recordings: Path) -> None:
    summary = json.loads((trained / "run/summary.json").read_text())
    run = json.loads(
        call("simulate", trained / "net.h5", "--data", "nmnist:test", "--data-dir", recordings, "--json").stdout
    )
    assert (run["samples"], run["accuracy"]) == (30, summary["test_accuracy"])
    assert run["accuracy"] >= 0.8  # of three classes
    assert run["per_sample"]["window"]["spikes"] > 0


def test_the_same_bits_in_every_place(trained: Path, recordings: Path) -> None:
    arguments = ["--data", "nmnist:test", "--data-dir", recordings, "--samples", 10]
    result = call("verify", trained / "net.h5", "--against", "torch,native", *arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("identical") == 2


def test_the_graph_says_how_recordings_become_spikes(trained: Path) -> None:
    found = json.loads(call("inspect", trained / "net.h5", "--json").stdout)
    assert found["coding"]["kind"] == "events"
    assert (found["coding"]["max_value"], found["coding"]["step_us"]) in ((1, 0), (3, 900))
    assert found["inputs"]["input"]["values"] == [0, found["coding"]["max_value"]]
    assert np.prod(found["inputs"]["input"]["shape"]) == 2 * 17 * 17


def test_pixels_are_refused_where_recordings_are_read(trained: Path) -> None:
    np.savez(
        trained / "own.npz",
        **{f"x_{part}": np.zeros((3, 2, 17, 17), np.uint8) for part in ("train", "test")},
        **{f"y_{part}": np.arange(3) for part in ("train", "test")},
    )
    says = refused("simulate", trained / "net.h5", "--data", f"{trained / 'own.npz'}:test")
    assert "is of pixels, but the coding is events, of recordings" in says.replace("\n", " ")


def test_noise_on_the_spikes(trained: Path, recordings: Path, tmp_path: Path) -> None:
    simulate = ["simulate", trained / "net.h5", "--data", "nmnist:test", "--data-dir", recordings]

    def spikes(*noise: object) -> int:
        assert call(*simulate, "-o", tmp_path / "run.h5", *noise).exit_code == 0
        return int(load_run(tmp_path / "run.h5").counts.window["spikes"]["input"].sum())

    assert spikes("--noise", "delete:1") == 0 < spikes("--noise", "delete:0.5") < spikes()
    assert spikes("--noise", "insert:1") == 4 * 30 * 2 * 17 * 17
    assert "salt is for pixels" in refused(*simulate, "--noise", "salt:0.1")


def test_a_data_set_of_ones_own_and_noise_on_its_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    label = np.arange(90) % 3
    x = rng.random((90, 4, 4)) * 0.3
    x[np.arange(90), label] += 0.6
    np.savez(tmp_path / "own.npz", x_train=x[:60], y_train=label[:60], x_test=x[60:], y_test=label[60:])
    recipe = f"""
name = "own"
data = {{ set = "{tmp_path / "own.npz"}", flip = true, erase = 1 }}
coding = {{ kind = "direct", n_steps = 4, max_value = 7 }}
network = {{ layers = "", tau_mem = 5e-3 }}
quantization = {{ chip = "loihi2" }}
training = {{ epochs = 12, batch_size = 20, learning_rate = 5e-2 }}
"""
    (tmp_path / "own.toml").write_text(recipe)
    assert call("train", tmp_path / "own.toml", "--out", tmp_path / "run").exit_code == 0
    assert call("export", tmp_path / "run", "-o", tmp_path / "net.h5").exit_code == 0

    def accuracy(*noise: object) -> tuple[float, object]:
        out = tmp_path / "r.h5"
        call("simulate", tmp_path / "net.h5", "--data", f"{tmp_path / 'own.npz'}:test", "-o", out, *noise)
        run = load_run(out)
        return run.accuracy, run.provenance.get("noise")

    clean, none = accuracy()
    assert none is None
    assert clean >= 0.9
    noisy, recorded = accuracy("--noise", "salt:0.6", "--noise-seed", 3)
    assert recorded == {"kind": "salt", "amount": 0.6, "seed": 3}
    assert noisy < clean
    assert accuracy("--noise", "salt:0.6", "--noise-seed", 3)[0] == noisy


def test_noise_that_is_none(tmp_path: Path) -> None:
    assert "'sugar' is not known" in refused("simulate", "net.h5", "--data", "digits", "--noise", "sugar:0.1")
