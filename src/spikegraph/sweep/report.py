"""The report of a sweep: means over seeds, and which settings no other beats."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikegraph.export.files import write_whole

TABLE, REPORT = "sweep.csv", "sweep.json"
FIGURES = ("accuracy", "additions", "latency_steps")
_CHANGED = ("bits", "n_steps", "additions_weight")
_COSTS = {"additions": "best_by_additions", "latency_steps": "best_by_latency"}


def pareto(costs: Sequence[float], accuracies: Sequence[float]) -> list[bool]:
    """Tell for each point whether no other beats it: is as cheap and as accurate at least, and better in one."""
    points = list(zip(costs, accuracies, strict=True))
    return [
        not any((c <= cost and a >= accuracy) and (c < cost or a > accuracy) for c, a in points)
        for cost, accuracy in points
    ]


def write_report(folder: Path, told: dict[str, Any], points: list[dict[str, Any]]) -> dict[str, Any]:
    """Write sweep.json and sweep.csv; return the report.

    Parameters
    ----------
    told : dict
        What the sweep was of: plain JSON.
    points : list of dict
        One for each setting and seed: what it changed, and its figures.
    """
    settings = _over_seeds(points)
    accuracies = [row["accuracy"] for row in settings]
    for cost, mark in _COSTS.items():
        for row, best in zip(settings, pareto([row[cost] for row in settings], accuracies), strict=True):
            row[mark] = best
    report = told | {"settings": settings, "points": points}
    write_whole(folder / REPORT, json.dumps(report, indent=2) + "\n")
    write_whole(folder / TABLE, _as_csv([point | _marks(point, settings) for point in points]))
    return report


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _CHANGED)


def _over_seeds(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each setting, with the means over its seeds."""
    settings = []
    for key in dict.fromkeys(map(_key, points)):
        same = [point for point in points if _key(point) == key]
        means = {name: sum(point[name] for point in same) / len(same) for name in FIGURES}
        accuracies = [point["accuracy"] for point in same]
        spread = {"accuracy_lowest": min(accuracies), "accuracy_highest": max(accuracies)}
        seeds = {"seeds": [point["seed"] for point in same]}
        settings.append(dict(zip(_CHANGED, key, strict=True)) | seeds | means | spread)
    return settings


def _marks(point: dict[str, Any], settings: list[dict[str, Any]]) -> dict[str, bool]:
    """Return the marks of a point's setting."""
    row = next(row for row in settings if _key(row) == _key(point))
    return {mark: row[mark] for mark in _COSTS.values()}


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
