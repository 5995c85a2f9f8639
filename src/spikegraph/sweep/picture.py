"""The picture of a sweep: accuracy against additions and against latency, with both Pareto fronts. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spikegraph.export.files import whole_file

PICTURES = ("sweep.svg", "sweep.png")
_AXES = (
    ("additions", "best_by_additions", "synaptic additions until decision, per sample"),
    ("latency_steps", "best_by_latency", "steps until decision"),
)


def draw(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the report of a sweep into sweep.svg and sweep.png; return their paths.

    Raises
    ------
    ModuleNotFoundError
        matplotlib is not installed.
    FileFormatError
        A picture cannot be written.
    """
    import matplotlib
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (cost, mark, title) in zip(figure.subplots(1, 2, sharey=True), _AXES, strict=True):
        rows = sorted(report["settings"], key=lambda row: (row[cost], row["accuracy"]))
        best = [row for row in rows if row[mark]]
        axes.plot([row[cost] for row in rows], [100 * row["accuracy"] for row in rows], "o", color="0.8")
        axes.plot([row[cost] for row in best], [100 * row["accuracy"] for row in best], color="0.4", zorder=1)
        for row, color in zip(best, colormaps["viridis"](np.linspace(0, 0.9, len(best))), strict=True):
            axes.plot(row[cost], 100 * row["accuracy"], "o", color=color, label=_label(row))
        axes.legend(loc="lower right", fontsize="small")  # words beside the points would cover each other
        axes.set_xlabel(title)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(visible=True, alpha=0.3)
    figure.axes[0].set_ylabel(f"accuracy on {report['on']}, %")
    paths = [folder / name for name in PICTURES]
    with matplotlib.rc_context({"svg.hashsalt": "spikegraph"}):  # the same report, the same bytes
        for path in paths:
            with whole_file(path) as part:
                kind = path.suffix.removeprefix(".")
                figure.savefig(part, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return paths


def _label(row: dict[str, Any]) -> str:
    bits = "" if row["bits"] is None else f"{row['bits']} bits, "
    weight = f", additions weight {row['additions_weight']:g}" if row["additions_weight"] else ""
    return f"{bits}{row['n_steps']} step{'' if row['n_steps'] == 1 else 's'}{weight}"
