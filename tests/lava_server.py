"""Run many small networks in Lava: a process that has Lava imported forks one for each, so none waits for the import.

What runs them is the runner of a built folder; only how it is started differs from `run_lava`.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spikegraph.targets.lava import plan_lava
from spikegraph.targets.lava.files import save_inputs
from spikegraph.targets.lava.folder import write_folder
from spikegraph.targets.lava.run import recorded

LIMIT_S = 120


class LavaServer:
    """Call it as a place of `verify`; close it."""

    def __init__(self):
        command = [sys.executable, "-W", "ignore", __file__]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, graph, rasters):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_folder(plan_lava(graph), folder)
            save_inputs(folder / "inputs.h5", rasters)
            print(folder, file=self.process.stdin, flush=True)
            assert self.process.stdout.readline() == "0\n"
            return recorded(folder / "recording.h5", list(graph.populations))

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def serve():
    from spikegraph.targets.lava import _compat, runner, session

    _compat.make_importable()
    from spikegraph.targets.lava import convolution, network  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        folder, server = Path(line.strip()), os.getpid()
        child = os.fork()
        if child == 0:
            os.setsid()
            leader = session.Leader(server, folder)
            runner.work(folder, folder / "inputs.h5", folder / "recording.h5", leader)
        deadline = time.monotonic() + LIMIT_S
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < deadline:
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, 15)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


if __name__ == "__main__":
    serve()
