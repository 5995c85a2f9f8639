"""Run a graph in Lava: build its folder in a temporary place and run that, as a user would."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import h5py

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError, TargetError
from spikegraph.export.graph import Graph
from spikegraph.targets.lava._compat import LavaUnavailableError, check_version
from spikegraph.targets.lava.build import plan_lava
from spikegraph.targets.lava.files import RunError, checked_samples, save_inputs
from spikegraph.targets.lava.folder import write_folder
from spikegraph.targets.lava.runner import leading, time_limit
from spikegraph.targets.lava.session import SessionError, supervised


def require_lava() -> None:
    """Raise `TargetError`, with the command to install it, unless lava-nc 0.10.0 is there."""
    try:
        check_version()
    except LavaUnavailableError as error:
        raise TargetError("lava-nc", error.what, error.remedy) from None


def run_lava(
    graph: Graph, rasters: Mapping[str, Array], *, timeout_s: float | None = None
) -> dict[str, dict[str, Array]]:
    """Run a batch in Lava.

    Parameters
    ----------
    graph : Graph
        Not pipelined.
    rasters : mapping of input name → ndarray of int (T, B, *shape)
    timeout_s : float, optional
        Seconds after which the run is stopped; by default a generous limit that grows with steps and processes.

    Returns
    -------
    dict of population → {"s": bool, "u": int32, "v": int32}
        Each (T, B, *shape) in the population's own time; v after reset.

    Raises
    ------
    TargetError
        lava-nc is missing, cannot express the graph, failed, or ran out of time. No process is left behind.
    DataError
        The rasters are not what the graph's inputs are.
    """
    require_lava()
    plan = plan_lava(graph)
    try:
        n_samples = checked_samples(plan.network, rasters)
    except RunError as error:
        raise DataError("rasters", str(error), "give one raster for each input of the graph") from None
    limit_s = time_limit(plan.network, n_samples) if timeout_s is None else timeout_s
    with tempfile.TemporaryDirectory(prefix="spikegraph-lava-") as temporary:
        folder = Path(temporary)
        inputs, recording = folder / "inputs.h5", folder / "recording.h5"

        def prepare() -> None:
            write_folder(plan, folder)
            save_inputs(inputs, rasters)

        try:
            supervised(leading(folder, inputs, recording, folder), limit_s, folder, prepare)
        except SessionError as error:
            raise TargetError("Lava", str(error), "run fewer samples at once, or give a larger timeout_s") from None
        return recorded(recording, list(graph.populations))


def recorded(recording: Path, populations: list[str]) -> dict[str, dict[str, Array]]:
    """Read s, u and v of populations from a recording."""
    with h5py.File(recording) as stored:
        traces = {name: {v: stored[f"recording/{name}/{v}"][()] for v in ("s", "u", "v")} for name in populations}
    return {name: {**variables, "s": variables["s"].astype(bool)} for name, variables in traces.items()}
