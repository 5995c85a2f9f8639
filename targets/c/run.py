"""Run a graph in C: write its files in a temporary place, compile them with the machine's compiler, and run that."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError, TargetError
from spikegraph.export.graph import Graph
from spikegraph.hwsim.rasters import checked_samples, raster_of
from spikegraph.targets.c.folder import write_files
from spikegraph.targets.c.layout import Layout, lay_out
from spikegraph.targets.c.source import sources_of

_RECORD = 3  # s, u and v of a neuron in a step, as main.c writes them


def compiler() -> list[str]:
    """Return the machine's C compiler, as the variable CC names it; `TargetError` says what to do without one."""
    command = shlex.split(os.environ.get("CC", "cc"))
    if not command or shutil.which(command[0]) is None:
        what = f"CC is {' '.join(command)!r}, which is not on this machine" if command else "CC is empty"
        raise TargetError("C compiler", what, "install one, such as gcc or clang, or name it in the variable CC")
    return command


def run_c(
    graph: Graph,
    rasters: Mapping[str, Array],
    *,
    command: Sequence[str] | None = None,
    timeout_s: float | None = None,
) -> dict[str, dict[str, Array]]:
    """Compile a graph and run a batch.

    Parameters
    ----------
    graph : Graph
        Not pipelined.
    rasters : mapping of input name → ndarray of int (T, B, *shape)
    command : sequence of str, optional
        The compiler and its options, in place of `cc -O2`.
    timeout_s : float, optional
        Seconds after which compiler and run are each stopped; by default a generous limit that grows with the work.

    Returns
    -------
    dict of population → {"s": bool, "u": int32, "v": int32}
        Each (T, B, *shape); v after reset.

    Raises
    ------
    GraphError, TargetError
        The graph is not legal, C does not take it, there is no compiler, or it or the run failed or took too long.
    DataError
        The rasters are not what the graph's inputs are.
    """
    layout = lay_out(graph)
    n_samples = checked_samples(graph, rasters)
    if n_samples == 0:
        raise DataError("rasters", "hold no sample", "give at least one")
    cc = [*compiler(), "-O2"] if command is None else list(command)
    with tempfile.TemporaryDirectory(prefix="spikegraph-c-") as temporary:
        folder = Path(temporary)
        write_files(sources_of(graph, layout, "net"), folder)
        (folder / "events").write_text(events_text(graph, rasters), encoding="ascii")
        compile_limit, run_limit = _time_limits(graph, layout, n_samples)
        program = folder / "net"
        files = [str(folder / file) for file in ("main.c", "net.c")]
        _finish([*cc, "-std=c99", "-DSG_TRACE", *files, "-o", str(program)], folder, timeout_s or compile_limit)
        _finish([str(program), str(folder / "trace")], folder, timeout_s or run_limit)
        return read_trace(graph, layout, folder / "trace", n_samples)


def events_text(graph: Graph, rasters: Mapping[str, Array]) -> str:
    """Return samples as main.c reads them: a line of text for each step, the steps of a sample after each other."""
    steps, lines, values, first = [], [], [], 0
    for name, node in graph.inputs.items():
        raster = raster_of(rasters[name])
        n_steps, n_samples = raster.shape[:2]
        t, sample, line = np.nonzero(raster.reshape(n_steps, n_samples, node.n))
        steps.append(sample * n_steps + t)
        lines.append(first + line)
        values.append(raster.reshape(n_steps, n_samples, node.n)[t, sample, line])
        first += node.n
    order = np.argsort(np.concatenate(steps), kind="stable")
    step, line, value = (np.concatenate(parts)[order] for parts in (steps, lines, values))
    texts = [f"{i}" if v == 1 else f"{i}:{v}" for i, v in zip(line.tolist(), value.tolist(), strict=True)]
    ends = np.searchsorted(step, np.arange(n_steps * n_samples), side="right").tolist()
    return "".join(f"{' '.join(texts[begin:end])}\n" for begin, end in zip([0, *ends], ends, strict=False))


def read_trace(graph: Graph, layout: Layout, path: Path, n_samples: int) -> dict[str, dict[str, Array]]:
    """Read what a program compiled with SG_TRACE wrote: s, u and v of each neuron (T, B, *shape)."""
    shapes = {name: graph.populations[name].shape for name in layout.populations}
    n_neurons = sum(map(prod, shapes.values()))
    records = np.fromfile(path, "<i4")
    expected = n_samples * graph.n_steps * n_neurons * _RECORD
    if records.size != expected:
        what = f"wrote {records.size:,} numbers into its trace, expected {expected:,}"
        raise TargetError("C", what, "is the disk full?")
    traces = records.reshape(n_samples, graph.n_steps, n_neurons, _RECORD).swapaxes(0, 1)
    execution, first = {}, 0
    for name, shape in shapes.items():
        part = traces[:, :, first : first + prod(shape)]
        first += prod(shape)
        s, u, v = (np.ascontiguousarray(part[..., k]).reshape(*part.shape[:2], *shape) for k in range(_RECORD))
        execution[name] = {"s": s.astype(bool), "u": u, "v": v}
    return execution


def _time_limits(graph: Graph, layout: Layout, n_samples: int) -> tuple[float, float]:
    """Return seconds that neither compiler nor run needs, ten times and more what a slow machine takes."""
    n_constants = sum(a.size for _, a in layout.tables.values())
    per_step = sum(p.n for p in graph.populations.values())
    for p in graph.projections.values():
        per_step += int(p.fan_out(p.stored(), graph.shape_of(p.source), graph.shape_of(p.target)).sum())
    return 120 + n_constants / 20_000, 60 + n_samples * graph.n_steps * per_step / 2_000_000


def _finish(command: Sequence[str], folder: Path, limit_s: float) -> None:
    """Run a command in a session of its own to its end; nothing of it is left behind, however it ends."""
    own_temporary = {**os.environ, "TMPDIR": str(folder)}  # so that a compiler that is stopped leaves nothing either
    with (
        (folder / "events").open("rb") as events,
        (folder / "output").open("wb") as output,
        (folder / "errors").open("wb") as errors,
        subprocess.Popen(
            command, stdin=events, stdout=output, stderr=errors, start_new_session=True, env=own_temporary
        ) as process,
    ):
        name = Path(command[0]).name
        try:
            code = process.wait(limit_s)
        except BaseException as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                what = f"{name} did not end within {limit_s:.0f} s"
                raise TargetError("C", what, "run fewer samples at once, or give a larger timeout_s") from None
            raise
    if code:
        says = (folder / "errors").read_text(encoding="utf-8", errors="replace").strip()[-2000:]
        raise TargetError("C", f"{name} ended with {code}: {says}", "see whether the compiler knows C99")
