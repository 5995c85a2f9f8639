"""Which framework's steps a file was written for, and how long they are, as far as the file shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import numpy.typing as npt
from scipy.special import lambertw

from spikegraph.export.assumptions import AssumedReset, Assumptions
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError
from spikegraph.export.graph import RESETS
from spikegraph.export.nir.conventions import CONVENTIONS, Convention, convention_named
from spikegraph.export.nir.nodes import NirGraph


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How a file is stepped through.

    Parameters
    ----------
    convention : Convention
    dt : float
        Seconds per step, as the file counts time.
    facts : tuple of str
        What was chosen, and why.
    """

    convention: Convention
    dt: float
    facts: tuple[str, ...]

    @property
    def unit(self) -> float:
        """What a step is in the file's unit of time."""
        return 1.0 if self.convention.in_steps else self.dt


def steps_of(graph: NirGraph, assumed: Assumptions) -> Steps:
    """Choose convention and dt: as assumed, else as the file shows, else the most neutral.

    Raises
    ------
    OptionError
        There is no such convention, or dt is not above 0.
    """
    step, rockpool, narrow = _scaled_step(graph), _rockpool_step(graph), _narrow(graph)
    if assumed.convention is not None:
        convention, why = convention_named(assumed.convention), "as asked for"
    else:
        convention, why = _likely(graph, step, rockpool, narrow=narrow)
    if assumed.dt is not None:
        dt, dt_why = assumed.dt, "as asked for"
    elif convention.in_steps:
        dt, dt_why = convention.dt, f"{convention.title} counts time in steps, and their length is assumed"
    elif convention.name == "rockpool" and rockpool is not None:
        dt, dt_why = rockpool, "its neurons have r = tau · exp(-dt / tau) / dt"
    elif step is not None and step != 1:
        dt, dt_why = step, "its neurons have r = tau / dt"
    else:
        dt, dt_why = convention.dt, f"the default of {convention.name}, for the file does not say"
    convention, reset = _with_reset(convention, assumed)
    if not (np.isfinite(dt) and dt > 0):
        raise OptionError("dt", f"is {dt}", "give seconds per step, above 0")
    facts = (
        f"convention {convention.name} ({convention.title}): {why}",
        f"dt = {dt:g} s: {dt_why}",
        *reset,
    )
    return Steps(convention=convention, dt=float(dt), facts=facts)


def _with_reset(convention: Convention, assumed: Assumptions) -> tuple[Convention, list[str]]:
    if assumed.reset is None:
        return convention, []
    mode, _, at_once = assumed.reset.partition("-")
    if mode not in RESETS or at_once not in ("", "at-once"):
        raise OptionError("reset", f"is {assumed.reset!r}", f"use one of {', '.join(get_args(AssumedReset))}")
    late = convention.delayed_reset and not at_once
    return replace(convention, reset=mode, delayed_reset=late), [f"reset {assumed.reset}: as asked for"]


def _stages(graph: NirGraph) -> Iterator[tuple[Array, Array | None]]:
    """Yield r and τ of each stage of each node; None where it does not leak."""
    for node in graph.nodes.values():
        if node.type in ("I", "IF"):
            yield node["r"], None
        elif node.type in ("LI", "LIF"):
            yield node["r"], node["tau"]
        elif node.type in ("CubaLI", "CubaLIF"):
            yield node["r"], node["tau_mem"]
            if "w_in" in node.fields:
                yield node["w_in"], node["tau_syn"]


def _scaled_step(graph: NirGraph) -> float | None:
    """Return the dt with which no stage scales its input, r · dt / τ = 1, if there is one for all whose r is not 1."""
    found = []
    for r, tau in _stages(graph):
        if (r == 1).all():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.asarray(1 / r if tau is None else tau.astype(np.float64) / r, np.float64)
        found.append(step[np.isfinite(step)].ravel())  # infinite over infinite: snnTorch's neurons without a leak
    return _round(found)


def _rockpool_step(graph: NirGraph) -> float | None:
    """Return the dt with which r = τ · exp(-dt / τ) / dt, if there is one for all whose r is not 1."""
    found = []
    for r, tau in _stages(graph):
        if (r == 1).all():
            continue
        if tau is None or not (np.isfinite(r).all() and (r > 0).all()):
            return None
        over: npt.NDArray[np.float64] = 1 / r.astype(np.float64)
        found.append(np.asarray(tau * lambertw(over, 0).real).ravel())
    return _round(found)


def _round(found: list[Array]) -> float | None:
    """Return the step that all are, if it is a round one."""
    steps = np.concatenate(found) if found else np.zeros(0)
    if not steps.size or steps.min() <= 0 or np.ptp(steps) > 1e-4 * steps.min():
        return None
    dt = float(f"{np.median(steps):.5g}")  # what float32 blurs
    return dt if abs(float(f"{dt:.2g}") - dt) <= 1e-4 * dt else None  # what somebody chose is a round number


def _narrow(graph: NirGraph) -> bool:
    """Whether some parameters are float32: SpikingJelly's are float64, snnTorch's only those of recurrent neurons."""
    return any(r.dtype == np.float32 for r, _ in _stages(graph)) or any(name.endswith(".w_rec") for name in graph.nodes)


def _batched(graph: NirGraph) -> bool:
    """Whether an input declares the batch's dimension in front of a matrix, as Norse does."""
    matrices = {name for name, node in graph.nodes.items() if node.type in ("Affine", "Linear")}
    fed = {source for source, target in graph.edges if target in matrices and graph.nodes[source].type == "Input"}
    return any(len(graph.nodes[name]["shape"]) == 2 and graph.nodes[name]["shape"][0] == 1 for name in fed)


def _likely(graph: NirGraph, step: float | None, rockpool: float | None, *, narrow: bool) -> tuple[Convention, str]:
    stages = list(_stages(graph))
    taus = np.concatenate([tau.ravel() for _, tau in stages if tau is not None] or [np.zeros(0)])
    plain = bool(stages) and all((r == 1).all() for r, _ in stages)
    integrators = plain and not taus.size
    if integrators and _batched(graph):
        return CONVENTIONS["norse"], "nothing leaks, r is 1, and an input has the batch's dimension, as Norse writes it"
    if integrators or (plain and (taus >= 1).all()):
        what = "nothing in the file leaks, and r is 1" if integrators else "r is 1, and time constants are 1 or more"
        return CONVENTIONS["sinabs"], f"{what}, as Sinabs writes it"
    if any(np.isinf(r).any() for r, _ in stages):
        return CONVENTIONS["snntorch"], "r is infinite where nothing leaks, as snnTorch writes it"
    if step is not None and step < 1 and not plain and ((taus < 0) | (taus >= step * (1 - 1e-4))).all():
        if narrow:  # there, a share beyond 1 makes a time constant below 0
            return CONVENTIONS["snntorch"], "r = tau / dt in float32, as snnTorch writes it"
        return CONVENTIONS["spikingjelly"], "r = tau / dt in float64, as SpikingJelly writes it"
    if plain and taus.max() < 1e-4:
        return CONVENTIONS["norse"], "r is 1, and time constants are below 0.1 ms, as Norse writes them"
    if plain and not narrow and taus.min() > 1e-4 and taus.max() < 1e-3:
        what = "r is 1 and time constants are some 0.1 ms in float64, as SpikingJelly writes them"
        return CONVENTIONS["spikingjelly"], what
    if rockpool is not None:
        return CONVENTIONS["rockpool"], "r = tau · exp(-dt / tau) / dt, as Rockpool writes it"
    return CONVENTIONS["exact"], "the file does not show what wrote it (give --convention)"
