"""A run ends: no process outlives it, whatever happens; and lava-nc is the version that is known."""

import contextlib
import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from spikegraph.export.errors import DataError, TargetError
from spikegraph.targets.lava import build_lava, require_lava, run_lava
from spikegraph.targets.lava._compat import LavaUnavailableError, check_version
from spikegraph.targets.lava.files import whole_file


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


BROKEN = """

class _Broken(source.PySendModelFixed):
    def run_spk(self):
        raise RuntimeError("planted")


MODELS[source.RingBuffer] = _Broken
"""


def test_what_ended_a_process_is_told(lava_nc, tmp_path, make_graph, make_rasters):
    graph = make_graph()
    build_lava(graph, tmp_path / "net")
    with (tmp_path / "net" / "network.py").open("a") as network:
        network.write(BROKEN)
    spikes = make_rasters(graph)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for name, raster in spikes.items():
            file[f"inputs/{name}"] = raster
    command = [sys.executable, "-W", "ignore", "net/run.py", "in.h5", "out.h5"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "one of Lava's processes ended before the run did: RuntimeError: planted" in run.stderr
    assert not (tmp_path / "out.h5").exists()


STARTER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a process that was started in the background
import numpy as np
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.targets.lava import run_lava
dense = Dense(source="x", target="a", weight=np.eye(2, dtype=int))
a = Population(shape=(2,), threshold_mant=5, max_spikes=1)
graph = Graph(inputs={"x": Input(shape=(2,))}, populations={"a": a}, projections={"p": dense},
              outputs={"o": Output(population="a")}, n_steps=20000)
run_lava(graph, {"x": np.zeros((20000, 1, 2), int)})
"""


def shared_memory_of_nobody():
    """Return the segments of shared memory that no living process has open: whoever made them left them behind."""
    there = {path.name for path in Path("/dev/shm").glob("psm_*")}  # noqa: S108
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            maps = (process / "maps").read_text()
            there -= {name for name in there if name in maps}
    return there


def ended(process, mark, before):
    """Wait until no process and no shared memory is left of a run, and say whether that came about."""
    deadline = time.monotonic() + 30
    left = True
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = processes_of(mark) or shared_memory_of_nobody() - before  # Python's tracker needs a moment for these
    process.wait(20)
    return not left


def killed(who, how, process, mark):
    """Send a signal to the process that started a run, to the leader of its session, or to one that the leader made."""
    leader = next(pid for pid in processes_of(mark) if os.getsid(pid) == pid)
    others = [pid for pid in processes_of(mark) if pid != leader]
    os.kill({"starter": process.pid, "leader": leader, "other": others[len(others) // 2]}[who], how)


def started(tmp_path, code=STARTER):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)


WHO_IS_KILLED = [
    ("starter", signal.SIGINT),
    ("starter", signal.SIGTERM),
    ("starter", signal.SIGKILL),
    ("leader", signal.SIGKILL),
    ("other", signal.SIGKILL),
]


def test_nothing_is_left_whoever_is_killed(lava_nc, tmp_path):
    """One run for each, all at once, because it is the start of Python and Lava that takes its time."""
    before = shared_memory_of_nobody()
    folders = [tmp_path / ("long" * 20) / f"{i}." for i in range(len(WHO_IS_KILLED))]
    for folder in folders:
        folder.mkdir(parents=True)  # longer than the path of a socket may be
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(started(folder)) for folder in folders]
        deadline = time.monotonic() + 120
        while min(len(processes_of(folder)) for folder in folders) < 6 and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.3)
        for folder, process, (who, how) in zip(folders, processes, WHO_IS_KILLED, strict=True):
            assert len(processes_of(folder)) >= 6, "the network should be running by now"
            killed(who, how, process, folder)
        for folder, process, (who, how) in zip(folders, processes, WHO_IS_KILLED, strict=True):
            assert ended(process, folder, before), (who, how)
            said = process.stderr.read()
            assert process.returncode != 0, (who, how)
            assert ("one of Lava's processes ended before the run did" in said) == (who == "other"), said
            assert list(folder.iterdir()) == [], (who, how)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(30))
def test_nothing_is_left_at_any_moment(lava_nc, tmp_path, moment):
    rng = np.random.default_rng(moment)
    before = shared_memory_of_nobody()
    with started(tmp_path) as process:
        time.sleep(rng.uniform(0, 6))
        how = signal.Signals(int(rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])))
        process.send_signal(how)
        assert ended(process, tmp_path, before)
    assert process.returncode != 0


def half_written(path):
    with whole_file(path) as file:
        file.write(b"half")
        raise KeyError


def test_a_recording_is_whole_or_not_there(tmp_path):
    """Whoever writes it may be killed at any moment: until it is whole it has no name."""
    path = tmp_path / "out.h5"
    with whole_file(path) as file:
        file.write(b"half")
        file.flush()
        assert list(tmp_path.iterdir()) == []
    assert path.read_bytes() == b"half"
    with pytest.raises(KeyError):
        half_written(path)
    with whole_file(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_recording_is_whole_where_files_need_a_name(tmp_path, monkeypatch):
    def without(folder, *_):
        raise OSError(f"{folder} holds no file without a name")

    monkeypatch.setattr(os, "open", without)
    path = tmp_path / "out.h5"
    with pytest.raises(KeyError):
        half_written(path)
    assert list(tmp_path.iterdir()) == []
    with whole_file(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_rasters_are_checked(lava_nc, make_graph):
    graph = make_graph()
    for raster, says in (
        (np.zeros((6, 2, 5), int), r"has shape \(6, 2, 5\), expected \(6, samples, 4\)"),
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


def test_only_what_must_be_is_repaired(lava_nc):
    code = """
import dataclasses, os
original = dataclasses.dataclass
from spikegraph.targets.lava._compat import make_importable
make_importable()
make_importable()
from lava.magma.compiler import var_model
import lava.proc.lif.models
import numpy as np
from lava.magma.core.process.ports.ports import OutPort
port = OutPort((6,)).reshape((2, 3))
assert port.get_transform_func_fwd()(np.arange(6)).shape == (2, 3)
assert port.get_transform_func_bwd()(np.zeros((2, 3))).shape == (6,)
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
