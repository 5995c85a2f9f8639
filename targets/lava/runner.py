"""Run a planned network in Lava: rasters in, spikes and states out. Needs nothing but lava-nc 0.10.0 and NumPy.

`build_lava` copies this file into a folder as run.py, beside network.py, _compat.py and the plan (plan.json, plan.npz).
`run_lava` runs such a folder, so what is verified is what is shipped.

    python run.py rasters.npz result.npz [--states] [--timeout SECONDS]

rasters.npz holds one integer array (n_steps, samples, *shape) for each input, by name; result.npz one array of the same
form for each population, `NAME/s`, and with --states also `NAME/u` and `NAME/v`, in the population's own time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
START_S, STEP_S, SYNAPSE_S = 60.0, 0.02, 2e-7  # a generous limit: some ten times what a loaded machine took
GRACE_S = 3.0  # Python's tracker of shared memory needs a moment to remove what stopped processes left


class RunError(Exception):
    """The run cannot start, failed, or ran out of time."""


def load_plan(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read the plan: what is connected how, and the arrays by name."""
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return plan, load_arrays(folder / "plan.npz")


def load_arrays(path: Path) -> dict[str, Array]:
    """Read every array of an .npz file; never unpickles."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (AttributeError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        # NumPy would advise to unpickle a file that is merely broken.
        raise RunError(f"{path} is no .npz file of plain arrays ({type(error).__name__})") from error


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write an .npz file, whole or not at all. Unlike `np.savez` it takes any name."""
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(part, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
    part.replace(path)


def checked_samples(plan: Mapping[str, Any], rasters: Arrays) -> int:
    """Return the number of samples in the rasters; raise `RunError` if they are not what the plan expects."""
    if set(rasters) != set(plan["inputs"]):
        raise RunError(f"the rasters are named {sorted(rasters)}, expected {sorted(plan['inputs'])}")
    n_samples = 0
    for name, node in plan["inputs"].items():
        raster, expected = rasters[name], (plan["n_steps"], n_samples or "samples", *node["shape"])
        if raster.ndim != len(expected) or any(
            isinstance(n, int) and n != found for n, found in zip(expected, raster.shape, strict=True)
        ):
            raise RunError(f"raster {name} has shape {raster.shape}, expected {expected}")
        if raster.dtype.kind not in "iub" or raster.min(initial=0) < node["min"] or raster.max(initial=0) > node["max"]:
            raise RunError(f"raster {name} does not hold integers {node['min']}…{node['max']} ({raster.dtype})")
        n_samples = raster.shape[1]
    if n_samples == 0:
        raise RunError("the rasters hold no sample")
    return n_samples


def time_limit(plan: Mapping[str, Any], n_samples: int) -> float:
    """Seconds after which a run has certainly hung."""
    n_total = plan["period"] * n_samples + plan["depth"]
    n_processes = len(plan["inputs"]) + len(plan["projections"]) + 4 * len(plan["populations"])
    synapses = sum(p["synapses"] * p["delay_steps"] for p in plan["projections"].values())
    return START_S + float(n_total * (STEP_S * n_processes + SYNAPSE_S * synapses))


def worker_command(folder: Path, rasters: Path, result: Path, *, states: bool) -> list[str]:
    """Return the command that runs a built folder without further ado, for `supervised`."""
    command = [sys.executable, "-W", "ignore", str(folder / "run.py"), str(rasters), str(result), "--worker"]
    return command + ["--states"] * states


def supervised(command: Sequence[str], timeout_s: float) -> None:
    """Run a command in a session of its own; whatever happens, none of its processes outlives the call.

    Raises
    ------
    RunError
        The command failed, or did not end within `timeout_s` seconds.
    """
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        ) as process,
    ):
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise RunError(f"did not end within {timeout_s:g} s, so its processes were stopped") from None
        finally:
            _end_session(process)
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            raise RunError(lines[-1] if lines else f"exit status {process.returncode}")


def _end_session(leader: subprocess.Popen[bytes]) -> None:
    # SIGTERM spares Python's tracker of shared memory, which removes what is left once the others are gone. All of them
    # hold the other end of the pipe, so it closes with the last. (Asking for the group would find unreaped zombies.)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while leader.stdout and select.select([leader.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not os.read(leader.stdout.fileno(), 1 << 16):
                break
        os.killpg(leader.pid, signal.SIGKILL)


def work(folder: Path, rasters: Path, result: Path, *, states: bool) -> None:
    """Do the run itself; in a process of its own, because Lava changes its process for good (fork, logging)."""
    sys.stdout = sys.stderr  # what Lava prints; our own output is the pipe that `supervised` watches
    importlib.import_module("_compat").make_importable()  # by string: beside this file once it is in its folder
    network = importlib.import_module("network")
    logging.disable(logging.CRITICAL)
    plan, arrays = load_plan(folder)
    try:
        save_arrays(result, network.simulate(plan, arrays, load_arrays(rasters), states=states))
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)  # a proper end would wait for Lava's processes, which may wait for us; `supervised` stops them


def main() -> int:
    """Run the folder that this file lies in."""
    parser = argparse.ArgumentParser(description="Run this network in Lava.")
    parser.add_argument("rasters", type=Path, help=".npz: for each input, integers (n_steps, samples, *shape)")
    parser.add_argument("result", type=Path, help=".npz to write: NAME/s, and with --states NAME/u and NAME/v")
    parser.add_argument("--states", action="store_true", help="record u and v as well (slower)")
    parser.add_argument("--timeout", type=float, help="seconds after which the run is stopped")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(__file__).resolve().parent
    try:
        if options.worker:
            work(folder, options.rasters, options.result, states=options.states)
            return 0
        plan, _ = load_plan(folder)
        n_samples = checked_samples(plan, load_arrays(options.rasters))
        command = worker_command(folder, options.rasters, options.result, states=options.states)
        supervised(command, options.timeout or time_limit(plan, n_samples))
    except (RunError, ImportError, OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
