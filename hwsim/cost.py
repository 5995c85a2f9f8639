"""Counts × figures → energy and time of a run, by operation, by layer and by core. What has no figure is listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import ChipError
from spikegraph.hwsim.counts import Until
from spikegraph.hwsim.profile import CostProfile
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.timing import Timing, timing_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Cost:
    """What a run costs by one profile; energies and counts are means per sample.

    Parameters
    ----------
    profile : CostProfile
    layers : tuple of str (n_places,)
        A place is a core, or a population where nothing was placed; its layer is its population.
    counts : mapping of "window" or "decision" → quantity → ndarray of float64 (n_places,)
    timing : Timing, optional
    run : Run
    """

    profile: CostProfile
    layers: tuple[str, ...]
    counts: Mapping[Until, Mapping[str, Array]]
    timing: Timing | None
    run: Run

    def energy_j(self, until: Until) -> dict[str, Array]:
        """Return the dynamic energy of each priced operation: ndarray of float64 (n_places,)."""
        return {
            o.name: sum((self.counts[until][name] for name in o.counts), np.zeros(len(self.layers)))
            * (o.energy_pj * 1e-12)
            for o in self.profile.operation
            if o.energy_pj is not None
        }

    def seconds(self, until: Until) -> Array | None:
        """Return how long each sample keeps the chip: until its decision, or until the next sample can follow."""
        if self.timing is None:
            return None
        return self.timing.latency_s if until == "decision" else self.timing.period_s

    def static_j(self, until: Until) -> float | None:
        """Return what the chip draws beside, whatever it does; None without a figure for its power or for time."""
        seconds = self.seconds(until)
        if self.profile.static is None or seconds is None:
            return None
        return self.profile.static.power_w * float(seconds.mean())

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; a total stands beside the list of what is not in it."""
        profile = self.profile
        return {
            "profile": profile.name,
            "title": profile.title,
            "samples": len(self.run),
            "energy_per_sample": {_SCOPE[until]: self._energy(until) for until in self.counts},
            "counts_per_sample": {
                _SCOPE[until]: {name: values.tolist() for name, values in counts.items()}
                for until, counts in self.counts.items()
            },
            "places": list(self.layers),
            "time": self._time(),
            "unpriced": [
                {
                    "what": u.what,
                    "why": u.why,
                    "per_sample": {
                        _SCOPE[until]: {name: float(counts[name].sum()) for name in u.counts if name in counts}
                        for until, counts in self.counts.items()
                    },
                }
                for u in profile.unpriced
            ],
            "figures": [o.model_dump(exclude_none=True) for o in profile.operation]
            + [
                {"figure": name, **figure.model_dump(exclude_none=True)}
                for name in ("barrier", "static", "dense_mac")
                if (figure := getattr(profile, name)) is not None
            ],
            "against_dense": self._dense(),
        }

    def _energy(self, until: Until) -> dict[str, Any]:
        energy = self.energy_j(until)
        if not energy:
            return {"priced": False}
        by_place = np.sum(list(energy.values()), axis=0)
        static = self.static_j(until)
        by_layer = {
            layer: float(by_place[np.array(self.layers) == layer].sum()) for layer in dict.fromkeys(self.layers)
        }
        placed = {"by_core_j": by_place.tolist()} if self.run.cores is not None else {}
        return {
            "priced": True,
            "dynamic_j": float(by_place.sum()),
            "static_j": static,
            "by_operation_j": {name: float(values.sum()) for name, values in energy.items()},
            "by_layer_j": by_layer,
            **placed,
        }

    def _time(self) -> dict[str, Any] | None:
        timing, run = self.timing, self.run
        if timing is None or run.cores is None:
            return None
        placement, core = run.cores.placement, int(timing.slowest.argmax())
        throughput = {} if timing.period_s is None else {"samples_per_s": float(1 / timing.period_s.mean())}
        return {
            "step_s": timing.step_s,
            "longest_step_s": timing.longest_step_s,
            "barrier_s": timing.barrier_s,
            "longest_route_s": timing.longest_route_s,
            "latency_steps": float(run.decision_step.mean() + 1 + run.depth),
            "latency_s": float(timing.latency_s.mean()),
            **throughput,
            "bound_by": {
                "core": core,
                "population": placement.population[core],
                "share_of_steps": float(timing.slowest[core]),
                "busy_with": dict(sorted(timing.busy.items(), key=lambda item: -item[1])),
            },
        }

    def _dense(self) -> dict[str, Any]:
        macs, mac = sum(self.run.dense_macs.values()), self.profile.dense_mac
        found: dict[str, Any] = {"dense_macs": macs}
        for until in self.counts:
            sops = self.run.counts.mean("sops", until_decision=until == "decision")
            found[_SCOPE[until]] = {"sops": sops, "macs_per_sop": macs / sops if sops else None}
        if mac is not None:
            found |= {"dense_energy_j": macs * mac.energy_pj * 1e-12, "dense_arithmetic": mac.arithmetic}
        return found


_SCOPE: dict[Until, str] = {"window": "window", "decision": "until_decision"}


def cost_of(run: Run, profile: CostProfile) -> Cost:
    """Price a run.

    Parameters
    ----------
    run : Run
    profile : CostProfile

    Raises
    ------
    ChipError
        The profile is of a chip on which the run was not placed, or the run is of before costs were kept.
    """
    placed_on = run.cores.placement.chip if run.cores is not None else None
    if profile.chip is not None and placed_on != profile.chip:
        on = f"on {placed_on}" if placed_on else "without a chip"
        remedy = f"simulate with --chip {profile.chip}"
        raise ChipError(f"profile {profile.name}", f"prices a run on {profile.chip}, this one ran {on}", remedy)
    scopes: tuple[Until, ...] = ("window", "decision") if run.until == "window" else ("decision",)
    if run.cores is not None and profile.chip is not None:
        cores = run.cores
        return Cost(
            profile=profile,
            layers=cores.placement.population,
            counts={
                until: {name: total / len(run) for name, total in run.core_sums[until].items()} for until in scopes
            },
            timing=timing_of(cores, profile, run.decision_step, run.output, run.until),
            run=run,
        )
    if not run.projections:
        raise ChipError("run", "does not say which projection ends where", "simulate again with this version")
    layers = tuple(run.counts.of(scopes[0])["neuron_updates"])
    counts = {until: _by_layer(run, until, layers) for until in scopes}
    return Cost(profile=profile, layers=layers, counts=counts, timing=None, run=run)


def _by_layer(run: Run, until: Until, layers: tuple[str, ...]) -> dict[str, Array]:
    """Return the counts of populations, and of projections where they end."""
    found = run.counts.of(until)
    total = {
        name: np.array([found[name][layer].mean() for layer in layers])
        for name in ("neuron_updates", "active_updates", "spikes")
    }
    total["inactive_updates"] = total["neuron_updates"] - total["active_updates"]
    for kind in ("sops_dense", "sops_convolution", "sops_sparse"):
        total[kind] = np.zeros(len(layers))
    for name, (kind, target) in run.projections.items():
        total[kind][layers.index(target)] += found["sops"][name].mean()
    return total
