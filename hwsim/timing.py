"""Counts of each core → time. A step lasts as long as its slowest core, plus the barrier.

Within a core, the neurons' stage and the synapses' stage work side by side. A message's way across the mesh is not in a
step's time: the longest is given beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.hwsim.core_counts import CoreCounts
from spikegraph.hwsim.counts import Until
from spikegraph.hwsim.placement import Placement
from spikegraph.hwsim.profile import CostProfile, Operation


@dataclass(frozen=True, kw_only=True, eq=False)
class Timing:
    """Times of a run on a chip.

    Parameters
    ----------
    latency_s : ndarray of float64 (N,)
        From the first step of a sample to the end of the step of its decision, an empty pipeline before it. What
        earlier layers do meanwhile beyond their own step of the decision is not in it: a run may have stopped there.
    period_s : ndarray of float64 (N,), or None
        From one sample to the next where samples of its kind follow each other without a gap; None if the run stopped
        at its decisions.
    step_s, longest_step_s : float
        Mean and longest step.
    slowest : ndarray of float64 (n_cores,)
        Share of the steps in which a core was the slowest.
    busy : mapping of operation → float
        What the slowest cores were busy with: share of their time, both stages.
    barrier_s, longest_route_s : float
    """

    latency_s: Array
    period_s: Array | None
    step_s: float
    longest_step_s: float
    slowest: Array
    busy: dict[str, float]
    barrier_s: float
    longest_route_s: float


def timing_of(
    cores: CoreCounts, profile: CostProfile, decision_step: Array, output: str, until: Until
) -> Timing | None:
    """Time a run; None if the profile has no times.

    Parameters
    ----------
    cores : CoreCounts
    profile : CostProfile
    decision_step : ndarray of int64 (N,)
    output : str
        The population that was read.
    until : "window" or "decision"
        What was counted.
    """
    timed = [operation for operation in profile.operation if operation.time_ns]
    if profile.barrier is None or not timed:
        return None
    placement, barrier_s = cores.placement, profile.barrier.seconds(cores.placement.n_tiles)
    start = placement.start_step
    decided_in = decision_step + start[placement.population.index(output)]
    latency, period = np.empty(len(cores)), np.empty(len(cores))
    slowest, busy = np.zeros(placement.n_cores), np.zeros(len(timed))
    total_s, longest_s, n_counted = 0.0, 0.0, 0
    for part, quantities in cores.pieces():
        each = np.stack([_seconds(operation, quantities) for operation in timed])  # (operation, sample, step, core)
        awaited = each * (np.arange(each.shape[2])[:, None] <= decision_step[part, None, None])
        on_chip = np.zeros((*each.shape[:2], each.shape[2] + int(start.max()), each.shape[3]))
        for core, first in enumerate(start):
            on_chip[:, :, first : first + each.shape[2], core] = awaited[..., core]
        samples, n_chip = np.arange(on_chip.shape[1]), on_chip.shape[2]
        by_core = _by_core(on_chip, timed)
        steps = by_core.max(axis=2) + barrier_s
        latency[part] = steps.cumsum(axis=1)[samples, decided_in[part]]
        counted = np.arange(n_chip) <= (decided_in[part, None] if until == "decision" else n_chip)
        if until == "window":  # the sample before and the one after fill the pipeline
            on_chip = np.stack([np.roll(each[..., core], first, axis=2) for core, first in enumerate(start)], axis=-1)
            by_core = _by_core(on_chip, timed)
            steps = by_core.max(axis=2) + barrier_s
            period[part] = steps.sum(axis=1)
            counted = np.ones(steps.shape, bool)
        at = by_core.argmax(axis=2)
        slowest += np.bincount(at[counted], minlength=placement.n_cores)
        busy += np.take_along_axis(on_chip, at[None, ..., None], axis=3)[..., 0][:, counted].sum(axis=1)
        total_s, longest_s = total_s + float(steps[counted].sum()), max(longest_s, float(steps[counted].max()))
        n_counted += int(counted.sum())
    return Timing(
        latency_s=latency,
        period_s=period if until == "window" else None,
        step_s=total_s / n_counted,
        longest_step_s=longest_s,
        slowest=slowest / n_counted,
        busy={o.name: float(b / max(busy.sum(), 1e-30)) for o, b in zip(timed, busy, strict=True)},
        barrier_s=barrier_s,
        longest_route_s=_longest_route(placement, profile),
    )


def _seconds(operation: Operation, quantities: dict[str, Array]) -> Array:
    return np.asarray(sum(quantities[name] for name in operation.counts) * ((operation.time_ns or 0) * 1e-9))


def _by_core(each: Array, timed: list[Operation]) -> Array:
    """Return how long each core takes: the longer of its two stages."""
    stages = [np.array([o.stage == stage for o in timed], float) for stage in ("neurons", "synapses")]
    return np.maximum(*(np.tensordot(stage, each, axes=1) for stage in stages))


def _longest_route(placement: Placement, profile: CostProfile) -> float:
    """Return the time of the longest way that a message takes, between cores that do exchange some."""
    transit = {name: o.transit_ns or 0.0 for o in profile.operation for name in o.counts}
    source, target = np.nonzero(placement.traffic)
    way = np.abs(placement.tiles[source] - placement.tiles[target])
    if not len(way):
        return 0.0
    inside = np.where(way.sum(axis=1) == 0, transit.get("tile_messages", 0.0), 0.0)
    route = way[:, 0] * transit.get("hops_east_west", 0.0) + way[:, 1] * transit.get("hops_north_south", 0.0) + inside
    return float(route.max()) * 1e-9
