"""Running C: what is missing, what takes too long, what a caller or a stream of events can do wrong."""

import subprocess
import time
from pathlib import Path

import c_compilers
import numpy as np
import pytest

from spikegraph.export.errors import DataError, TargetError
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.targets.c import build_c, run_c


def test_missing_compiler_says_what_to_do(monkeypatch, make_graph, make_rasters):
    graph = make_graph()
    monkeypatch.setenv("CC", "no-such-cc -O9")
    with pytest.raises(
        TargetError, match=r"CC is 'no-such-cc -O9', which is not on this machine; install one, such as gcc or clang"
    ):
        run_c(graph, make_rasters(graph))


def test_a_compiler_that_fails_says_why(make_graph, make_rasters):
    graph = make_graph()
    with pytest.raises(TargetError, match=r"gcc ended with 1: .*no-such-option"):
        run_c(graph, make_rasters(graph), command=[*c_compilers.command("gcc"), "--no-such-option"])


def is_running(pid_file):
    try:
        return Path("/proc", pid_file.read_text().strip(), "stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_time_runs_out_and_nothing_is_left(tmp_path, monkeypatch, make_graph, make_rasters):
    """A compiler that starts another process and waits: both are gone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "cc.sh").write_text(f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait\n")
    graph = make_graph()
    with pytest.raises(TargetError, match=r"did not end within 2 s; .*give a larger timeout_s"):
        run_c(graph, make_rasters(graph), command=["sh", str(tmp_path / "cc.sh")], timeout_s=2)
    deadline = time.monotonic() + 10  # it was killed, and dies when the machine gets round to it
    while is_running(tmp_path / "pid") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(tmp_path / "pid")
    assert {path.name for path in tmp_path.iterdir()} == {"cc.sh", "pid"}


def test_rasters_are_checked(make_graph):
    graph = make_graph()
    with pytest.raises(DataError, match="hold no sample"):
        run_c(graph, {"x": np.zeros((6, 0, 4), int)})
    with pytest.raises(DataError, match="expected integers 0…1"):
        run_c(graph, {"x": np.full((6, 2, 4), 2)})


@pytest.mark.parametrize(
    ("events", "code", "says"),
    [
        ("", 0, ""),
        ("\n\n\n\n\n\n", 0, ""),
        ("0 3\n\t2 1 \r\n\n0:1\n0:0\n3", 0, ""),
        ("\n", 2, "sample 0, step 1: the input ends within a sample"),
        ("\n" * 6 + "\n4\n", 2, "sample 1, step 1: there is no such line"),
        ("0:2\n", 2, "a value leaves what the input may carry"),
        ("0:-1\n", 2, "a value leaves what the input may carry"),
        ("0:99999\n", 2, "a value is too large"),
        ("1 2 1\n", 2, "a line spikes twice"),
        ("0 1 2 3 0\n", 2, "there are more events than lines"),
        ("x\n", 2, "expected a number"),
        ("1:\n", 2, "expected a number"),
        ("99999999\n", 2, "a number is too large"),
    ],
)
def test_streams_of_events(program, events, code, says):
    ran = subprocess.run([program], input=events, capture_output=True, text=True, check=False)
    assert (ran.returncode, says in ran.stderr, bool(ran.stderr)) == (code, True, bool(says))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c") / "net"
    graph = Graph(
        inputs={"x": Input(shape=(4,))},
        populations={"a": Population(shape=(2,), threshold_mant=1)},
        projections={"p": Dense(source="x", target="a", weight=np.ones((2, 4), int))},
        outputs={"o": Output(population="a")},
        n_steps=6,
    )
    build_c(graph, folder)
    command = [*c_compilers.command("gcc sanitized"), "-std=c99", "main.c", "net.c", "-o", "net"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "net"


CALLS = """
#include "net.h"
#include <stdio.h>
static net_net net, twin;
static net_spike spikes[NET_MAX_SPIKES];
int main(void) {
  const net_event fine[] = {{3, 1}, {0, 1}, {2, 0}, {2, 1}}, far[] = {{0, 1}, {4, 1}}, large[] = {{1, 1}, {2, 2}},
                  twice[] = {{1, 1}, {2, 1}, {1, 1}};
  int step, same = 1;
  net_reset(&net);
  net_reset(&twin);
  for (step = 0; step < NET_N_STEPS; step++) {
    same &= net_step(&net, far, 2, spikes) == NET_NO_SUCH_LINE;
    same &= net_step(&net, large, 2, spikes) == NET_NO_SUCH_VALUE;
    same &= net_step(&net, twice, 3, NULL) == NET_LINE_TWICE;
    same &= net_step(&net, fine, 4, NULL) == 0;
    same &= net_step(&twin, fine, 4, spikes) >= 0;
    same &= net_v(&net, 0, 0) == net_v(&twin, 0, 0) && net_v(&net, 0, 1) == net_v(&twin, 0, 1);
  }
  same &= net_step(&net, fine, 4, spikes) == NET_IS_OVER;
  printf("%d", same);
  return 0;
}
"""


def test_a_refused_step_changes_nothing(tmp_path, make_graph):
    build_c(make_graph(), tmp_path / "net")
    (tmp_path / "net" / "calls.c").write_text(CALLS)
    command = [*c_compilers.command("gcc sanitized"), "-std=c99", "calls.c", "net.c", "-o", "calls"]
    subprocess.run(command, cwd=tmp_path / "net", check=True)
    assert subprocess.run(["./calls"], cwd=tmp_path / "net", check=True, capture_output=True, text=True).stdout == "1"
