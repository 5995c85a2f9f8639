"""Whether a graph fits on the cores of a chip: what each core would hold, and everything that is short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spikegraph.export.chips import Chip
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Graph
from spikegraph.export.passes import clocked
from spikegraph.export.relays import late_projections
from spikegraph.hwsim.assignment import Assignment, assign
from spikegraph.hwsim.cuts import REMEDIES, limits_of
from spikegraph.progress import Progress

_FAR_TOO_MANY = 4  # times the chip's cores: beyond that, how many a population needs is not sought


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """What a graph takes of a chip's cores.

    Parameters
    ----------
    chip : Chip
    problems : tuple of Problem
        Of delays on the chip's clock, of cores and of the chip as a whole.
    assignment : Assignment, optional
        None if the graph has no pipeline, or the chip has no cores.
    notes : tuple of str
        What is not known, or assumed.
    """

    chip: Chip
    problems: tuple[Problem, ...]
    assignment: Assignment | None
    notes: tuple[str, ...]

    @property
    def limits(self) -> Mapping[str, int]:
        """What a core may hold, by resource; a resource whose limit is not published is absent."""
        return limits_of(self.chip) if self.chip.core else {}

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: each core's population and loads, with their shares of the limits."""
        found: dict[str, Any] = {"limits": dict(self.limits), "notes": list(self.notes)}
        if self.assignment is None or self.chip.core is None:
            return found
        a = self.assignment
        found["cores_of_the_chip"] = self.chip.core.mesh.cores
        found["populations"] = {
            name: {"cores": c.n_groups, "cut_for": c.binding if c.n_groups > 1 else None} for name, c in a.cuts.items()
        }
        found["cores"] = [
            {
                "core": core,
                "population": name,
                "loads": {r: int(load[core]) for r, load in a.loads.items()},
                "utilization": {r: int(a.loads[r][core]) / n for r, n in self.limits.items() if r in a.loads},
            }
            for core, name in enumerate(a.population)
        ]
        return found


def fit(graph: Graph, chip: Chip, progress: Progress | None = None) -> Fit:
    """Find out what a graph would take of a chip, and everything that keeps it from fitting.

    Parameters
    ----------
    graph : Graph
        Legal by the law; it need not be on the chip. What is placed is the pipelined graph.
    chip : Chip
    progress : callable(what, done, total), optional
    """
    try:
        on_clock = clocked(graph)
    except GraphError as error:
        return Fit(chip=chip, problems=error.problems, assignment=None, notes=())
    problems = [
        _too_late(name, delay, chip)
        for name, delay in late_projections(on_clock, chip).items()
        if graph.projections[name].delay_steps <= chip.delay_steps.maximum  # else the chip's own limit says it
    ]
    if chip.core is None:
        notes = (f"{chip.title} has no cores: nothing is said of neurons, memory and axons",)
        return Fit(chip=chip, problems=tuple(problems), assignment=None, notes=notes)
    found = assign(on_clock, chip, at_most=_FAR_TOO_MANY * chip.core.mesh.cores, progress=progress)
    return Fit(chip=chip, problems=(*problems, *found.problems), assignment=found, notes=_notes(graph, chip))


def _too_late(name: str, delay: int, chip: Chip) -> Problem:
    limit = chip.delay_steps.maximum
    what = f"needs a delay of {delay} beyond the step of delivery where paths meet, {chip.title} has {limit}"
    return Problem(where=name, what=what, remedy="put populations on the shorter path", found=delay, limit=limit)


def _notes(graph: Graph, chip: Chip) -> tuple[str, ...]:
    if chip.core is None:
        return ()
    notes = []
    unknown = [name for name in REMEDIES if getattr(chip.core, name) is None]
    if unknown:
        notes.append(f"not published, so not checked: {', '.join(unknown)}")
    parts = {"mesh": chip.core.mesh, "packing": chip.core.packing}
    parts |= {name: getattr(chip.core, name) for name in REMEDIES if name not in unknown}
    assumed = [name for name, part in parts.items() if part.grade == "assumed"]
    if assumed:
        notes.append(f"assumed, not published: {', '.join(assumed)}")
    wide = [name for name, p in graph.projections.items() if not chip.weight.format.holds_all(p.weight)]
    if wide:
        bits = max(chip.core.packing.weight_bits)
        notes.append(f"memory is counted with weights of at most {bits} bits, also for {', '.join(wide)}")
    return tuple(notes)
