"""Files of a built network: its plan, the spikes it is given, and the recording of what it computed.

Needs nothing but NumPy and h5py; `build_lava` copies this file into a folder, beside run.py.

A recording is an HDF5 file: `/inputs/NAME` holds the spikes of an input, int16 (T, B, *shape); `/recording/NAME` the
datasets s (uint8), u and v (int32) of a population, (T, B, *shape) in its own time, v after reset. Attributes of the
file: `spikegraph_recording` = 1, `graph` the content checksum of the graph, `place` = "lava". The spikes that a network
is given lie in `/inputs` as well, so that a recording can be run again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
RECORDING_VERSION = 1
COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


class RunError(Exception):
    """The run cannot start, failed, or ran out of time."""


def save_plan(folder: Path, plan: Mapping[str, Any], arrays: Arrays) -> None:
    """Write what is connected how, for people to read as well, and the arrays by name."""
    with whole_file(folder / "plan.json") as file:
        file.write((json.dumps(plan, indent=1) + "\n").encode())
    with whole_file(folder / "plan.h5") as file, h5py.File(file, "w") as stored:
        for name, array in arrays.items():
            stored.create_dataset(name, data=array)


def load_plan(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read what `save_plan` wrote."""
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    arrays: dict[str, Array] = {}
    with h5py.File(folder / "plan.h5") as stored:
        stored.visititems(lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return plan, arrays


def save_inputs(path: Path, rasters: Arrays) -> None:
    """Write the spikes of inputs."""
    with whole_file(path) as file, h5py.File(file, "w") as stored:
        _write_inputs(stored, rasters)


def load_inputs(path: Path, plan: Mapping[str, Any]) -> dict[str, Array]:
    """Read the spikes of inputs; raise `RunError` if they are not what the plan expects."""
    try:
        with h5py.File(path) as stored:
            group = stored.get("inputs")
            found = dict(group.items()) if isinstance(group, h5py.Group) else {}
            arrays = {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
            _check_shapes(plan, arrays)  # before anything is read
            rasters = {name: item[()] for name, item in arrays.items()}
    except (OSError, RuntimeError, KeyError) as error:
        raise RunError(f"{path} is no HDF5 file that can be read ({error})") from error
    checked_samples(plan, rasters)
    return rasters


def checked_samples(plan: Mapping[str, Any], rasters: Arrays) -> int:
    """Return the number of samples in the rasters; raise `RunError` if they are not what the plan expects."""
    n_samples = _check_shapes(plan, rasters)
    for name, node in plan["inputs"].items():
        raster = rasters[name]
        if raster.min(initial=0) < node["min"] or raster.max(initial=0) > node["max"]:
            raise RunError(f"raster {name} does not hold integers {node['min']}…{node['max']} ({raster.dtype})")
    return n_samples


def _check_shapes(plan: Mapping[str, Any], rasters: Mapping[str, Any]) -> int:
    if set(rasters) != set(plan["inputs"]):
        raise RunError(f"the rasters are named {sorted(rasters)}, expected {sorted(plan['inputs'])}")
    n_samples = 0
    for name, node in plan["inputs"].items():
        raster, expected = rasters[name], (plan["n_steps"], n_samples or "samples", *node["shape"])
        if raster.ndim != len(expected) or any(
            isinstance(n, int) and n != found for n, found in zip(expected, raster.shape, strict=True)
        ):
            raise RunError(f"raster {name} has shape {raster.shape}, expected ({', '.join(map(str, expected))})")
        if raster.dtype.kind not in "iub":
            raise RunError(f"raster {name} does not hold integers {node['min']}…{node['max']} ({raster.dtype})")
        n_samples = int(raster.shape[1])
    if n_samples == 0:
        raise RunError("the rasters hold no sample")
    return n_samples


def save_recording(
    path: Path, plan: Mapping[str, Any], rasters: Arrays, traces: Mapping[str, Mapping[str, Array]]
) -> None:
    """Write a recording, whole or not at all."""
    with whole_file(path) as file, h5py.File(file, "w") as stored:
        stored.attrs["spikegraph_recording"] = RECORDING_VERSION
        stored.attrs["graph"] = plan["graph"]
        stored.attrs["place"] = "lava"
        _write_inputs(stored, rasters)
        for name, variables in traces.items():
            for variable, array in variables.items():
                stored.create_dataset(f"recording/{name}/{variable}", data=array, **COMPRESSED)


def _write_inputs(stored: h5py.File, rasters: Arrays) -> None:
    for name, raster in rasters.items():
        stored.create_dataset(f"inputs/{name}", data=np.asarray(raster, np.int16), **COMPRESSED)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name once it is whole; whoever writes it may be killed at any moment."""
    try:
        unnamed = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o666)  # so there is nothing that could stay behind
    except OSError:  # not every file system has such files
        with _renamed(path) as file:
            yield file
        return
    with os.fdopen(unnamed, "w+b") as file:
        yield file
        file.flush()
        try:
            _name(unnamed, path)
        except FileExistsError:
            new = path.with_name(f".{path.name}.{os.getpid()}")
            _name(unnamed, new)
            new.replace(path)


def _name(unnamed: int, path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)  # without it, os.link would not follow the link in /proc
    try:
        os.link(f"/proc/self/fd/{unnamed}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _renamed(path: Path) -> Iterator[IO[bytes]]:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w+b") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
