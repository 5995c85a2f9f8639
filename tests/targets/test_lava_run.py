"""A run ends: no process outlives it, whatever happens; and lava-nc is the version that is known."""

import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from spikegraph.export.errors import DataError, TargetError
from spikegraph.targets.lava import require_lava, run_lava
from spikegraph.targets.lava._compat import LavaUnavailableError, check_version


def processes_of(folder):
    """Process ids whose command names a file below the folder (Lava's children keep the command of their parent)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if str(folder) in command:
            found.append(int(entry.name))
    return found


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_nothing_is_left_after_a_run(lava_nc, temporary, make_graph, make_rasters):
    graph = make_graph()
    run_lava(graph, make_rasters(graph))
    assert processes_of(temporary) == []
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_after_the_time_limit(lava_nc, temporary, make_graph, make_rasters):
    graph = make_graph(n_steps=20000)
    with pytest.raises(TargetError, match=r"did not end within 2\.5 s, so its processes were stopped"):
        run_lava(graph, make_rasters(graph, 1), timeout_s=2.5)
    assert processes_of(temporary) == []
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_after_an_interrupt(lava_nc, tmp_path):
    # A process that was started in the background ignores interrupts, and so do its children unless they say otherwise.
    code = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import numpy as np
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.targets.lava import run_lava
dense = Dense(source="x", target="a", weight=np.eye(2, dtype=int))
a = Population(shape=(2,), threshold_mant=5)
graph = Graph(inputs={"x": Input(shape=(2,))}, populations={"a": a}, projections={"p": dense},
              outputs={"o": Output(population="a")}, n_steps=30000)
run_lava(graph, {"x": np.zeros((30000, 1, 2), int)})
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(processes_of(tmp_path)) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(processes_of(tmp_path)) >= 5, "the network should be running by now"
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert process.returncode != 0
    assert processes_of(tmp_path) == []


def test_rasters_are_checked(lava_nc, make_graph):
    graph = make_graph()
    for raster, says in (
        (np.zeros((6, 2, 5), int), r"has shape \(6, 2, 5\), expected \(6, 'samples', 4\)"),
        (np.zeros((6, 0, 4), int), "hold no sample"),
        (np.full((6, 2, 4), 2), "does not hold integers 0…1"),
        (np.zeros((6, 2, 4)), "does not hold integers"),
    ):
        with pytest.raises(DataError, match=says):
            run_lava(graph, {"x": raster})
    with pytest.raises(DataError, match=r"named \['y'\]"):
        run_lava(graph, {"y": np.zeros((6, 2, 4), int)})


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.9.0")
    with pytest.raises(
        TargetError, match=r"version 0\.9\.0 is installed, but 0\.10\.0 is needed; install it with `pip"
    ):
        require_lava()


def test_missing_lava_says_how_to_install(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(LavaUnavailableError, match=r"pip install --no-deps --ignore-requires-python lava-nc==0\.10\.0"):
        check_version()


def test_only_one_module_is_repaired(lava_nc):
    code = """
import dataclasses, os
original = dataclasses.dataclass
from spikegraph.targets.lava._compat import make_importable
make_importable()
make_importable()
from lava.magma.compiler import var_model
import lava.proc.lif.models
assert dataclasses.dataclass is original
hash(var_model.ByteEncoder())
from lava.utils.weightutils import OptimizedWeights
assert OptimizedWeights.__hash__ is None
child = os.fork()
if child == 0:
    hash(var_model.CoreEncoder())
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
