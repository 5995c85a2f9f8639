"""Run a planned network in Lava: spikes in, recording out. Needs lava-nc 0.10.0, NumPy, SciPy and h5py.

`build_lava` copies this file into a folder as run.py, beside the plan (plan.json, plan.h5) and what runs it.
`run_lava` runs such a folder, so what is verified is what is shipped.

    python run.py inputs.h5 recording.h5 [--timeout SECONDS]

The files are described in files.py.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikegraph.targets.lava import _compat, files, session

START_S, STEP_S, SYNAPSE_S, CONV_S = 60.0, 0.02, 2e-7, 1e-4  # generous: some ten times what a loaded machine took


def time_limit(plan: Mapping[str, Any], n_samples: int) -> float:
    """Seconds after which a run has certainly hung."""
    n_total = plan["period"] * n_samples + plan["depth"]
    n_processes = len(plan["inputs"]) + len(plan["projections"]) + len(plan["populations"])
    synapses = sum(p["synapses"] * p["delay_steps"] for p in plan["projections"].values())
    # Lava's Conv convolves each pair of channels by itself.
    convolved = sum(p["synapses"] for p in plan["projections"].values() if p["process"] == "Conv")
    return START_S + float(n_total * (STEP_S * n_processes + SYNAPSE_S * synapses + CONV_S * convolved))


def leading(folder: Path, inputs: Path, recording: Path, temporary: Path) -> list[str]:
    """Return the script, with its arguments, that leads the session in which a built folder runs."""
    files = [str(path) for path in (folder / "run.py", inputs, recording)]
    return [*files, "--for", str(os.getpid()), "--temporary", str(temporary)]


def work(folder: Path, inputs: Path, recording: Path, leader: session.Leader) -> None:
    """Do the run itself; in a process of its own, because Lava changes its process for good (fork, logging)."""
    sys.stdout = sys.stderr  # what Lava prints; our own output is the pipe that `supervised` watches
    try:
        plan, arrays = files.load_plan(folder)
        rasters = files.load_inputs(inputs, plan)
        _compat.make_importable()
        from spikegraph.targets.lava import network

        logging.disable(logging.CRITICAL)
        traces = network.simulate(plan, arrays, rasters, leader)
        files.save_recording(recording, plan, rasters, traces)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        leader.exit(1)
    leader.exit(0)


def main() -> int:
    """Run the folder that this file lies in."""
    parser = argparse.ArgumentParser(description="Run this network in Lava.")
    parser.add_argument(
        "inputs", type=Path, help="HDF5: for each input, integers (n_steps, samples, *shape) in /inputs"
    )
    parser.add_argument("recording", type=Path, help="HDF5 to write: s, u and v of each population")
    parser.add_argument("--timeout", type=float, help="seconds after which the run is stopped")
    parser.add_argument("--for", dest="starter", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--temporary", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    if options.starter:
        inputs, recording = options.inputs.resolve(), options.recording.resolve()
        work(folder, inputs, recording, session.Leader(options.starter, options.temporary))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the session is ended
    try:
        if options.timeout is not None and options.timeout <= 0:
            raise files.RunError(f"--timeout is {options.timeout:g}; give it more than 0 seconds")
        if not os.access(options.recording.resolve().parent, os.W_OK):
            raise files.RunError(f"{options.recording} cannot be written; name a file in a folder that takes files")
        _compat.check_version()
        plan, _ = files.load_plan(folder)
        n_samples = files.checked_samples(plan, files.load_inputs(options.inputs, plan))
        timeout_s = options.timeout or time_limit(plan, n_samples)
        with tempfile.TemporaryDirectory(prefix="spikegraph-lava-") as temporary:
            script = leading(folder, options.inputs, options.recording, Path(temporary))
            session.supervised(script, timeout_s, Path(temporary))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)  # noqa: T201
        return 128 + signal.SIGINT
    except (files.RunError, session.SessionError, ImportError, OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
