"""What `spikegraph check` found: problems, bounds, what a run reached, cores, rewrites; as JSON and as rows of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikegraph.cost_report import RESOURCES, Rows
from spikegraph.export.bounds import Bounds
from spikegraph.export.errors import Problem
from spikegraph.export.mend import Rewrite
from spikegraph.hwsim.extremes import Seen
from spikegraph.hwsim.fit import Fit

_FULLEST = 5


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Whether a graph is legal and fits, and what its numbers can reach.

    Parameters
    ----------
    chip : str, optional
    problems : tuple of Problem
        Of the graph as it is; after `--fix`, those that are left.
    bounds : mapping of population → Bounds
    bounded_by : str
        What inputs the bounds hold for.
    seen : mapping of population → Seen
        What a run reached; empty without one.
    seen_in : str
        The data of that run.
    fit : Fit, optional
    mendable : int
        How many problems of the graph as it is `--fix` mends.
    rewrites : tuple of Rewrite, optional
        What `--fix` did; None without it.
    written : str, optional
        The file that holds the rewritten graph.
    """

    chip: str | None
    problems: tuple[Problem, ...]
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    bounded_by: str = ""
    seen: Mapping[str, Seen] = field(default_factory=dict)
    seen_in: str = ""
    fit: Fit | None = None
    mendable: int = 0
    rewrites: tuple[Rewrite, ...] | None = None
    written: str | None = None

    @property
    def legal(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        report: dict[str, Any] = {
            "legal": self.legal,
            "chip": self.chip,
            "problems": [vars(problem) for problem in self.problems],
            "mendable": self.mendable,
            "bounds": {
                name: {"x": b.x, "u": b.u, "v": b.v, "certificate": b.certificate} for name, b in self.bounds.items()
            },
            "bounds_hold_for": self.bounded_by,
        }
        if self.seen:
            report["seen"] = {"data": self.seen_in, **{name: vars(seen) for name, seen in self.seen.items()}}
        if self.fit is not None:
            report["fit"] = self.fit.to_json()
        if self.rewrites is not None:
            report["rewrites"] = [vars(rewrite) for rewrite in self.rewrites]
            report["written"] = self.written
        return report


def bound_rows(report: CheckReport) -> tuple[list[str], Rows]:
    """Return a table of how far x, u and v can reach, beside how far they went, and how many times further it is."""
    columns = ["population", "overflow", *(f"{name} {what}" for name in "xuv" for what in _ENDS[bool(report.seen)])]
    rows = []
    for name, bound in report.bounds.items():
        row = [name, bound.verdict]
        for variable in "xuv":
            reach = getattr(bound, variable)
            row.append(_span(reach))
            if report.seen:
                seen = getattr(report.seen[name], variable)
                furthest = max(abs(end) for end in seen)
                times = max(abs(end) for end in reach) / furthest if furthest else 0
                row += [_span(seen), f"{times:.1f}" if times else "-"]
        rows.append(row)
    return columns, rows


_ENDS = {False: ("bound",), True: ("bound", "seen", "times")}


def _span(ends: tuple[int, int]) -> str:
    return f"{ends[0]:,}…{ends[1]:,}"


def core_rows(fit: Fit) -> tuple[list[str], Rows]:
    """Return a table of the cores that each population takes, and of the fullest and the average use of each limit."""
    assignment = fit.assignment
    if assignment is None:
        return [], []
    limits = {name: limit for name, limit in fit.limits.items() if name in assignment.loads}
    columns = ["population", "cut for", "cores", *(RESOURCES[name] for name in limits)]
    owner = np.array(assignment.population)
    rows = []
    for name, cut in assignment.cuts.items():
        loads = {r: assignment.loads[r][owner == name] / limit for r, limit in limits.items()}
        shares = [f"{load.max():.0%} ({load.mean():.0%})" for load in loads.values()]
        rows.append([name, RESOURCES[cut.binding] if cut.n_groups > 1 else "", str(cut.n_groups), *shares])
    cores = fit.chip.core.mesh.cores if fit.chip.core else 0
    rows.append(["limit", "", str(cores), *(f"{limit:,}" for limit in limits.values())])
    return columns, rows


def fullest(fit: Fit) -> list[str]:
    """Return a line for each of the fullest cores: its population, and the limit that it is closest to."""
    a = fit.assignment
    if a is None or not a.population:
        return []
    shares = {r: a.loads[r] / limit for r, limit in fit.limits.items() if r in a.loads}
    share = np.max(list(shares.values()), axis=0)
    lines = []
    for core in np.argsort(-share, kind="stable")[:_FULLEST]:
        resource = max(shares, key=lambda r: shares[r][core])
        used = f"{int(a.loads[resource][core]):,} of {fit.limits[resource]:,}"
        lines.append(f"core {core} ({a.population[core]}): {RESOURCES[resource]} {used}, {share[core]:.0%}")
    return lines
