"""The log of a training run: a line for each epoch in a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikegraph.export.files import write_whole


class CsvLog:
    """A CSV file with the history of a run, and the seconds that each epoch took.

    The seconds stand in the log alone, and not in the checkpoint: they are no part of what the same seed repeats.

    Parameters
    ----------
    path : Path
    resume : bool
        Keep the seconds that stand in it; those of an epoch that cannot be read stay empty.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        self.seconds: dict[int, str] = _read_seconds(path) if resume else {}

    def write(self, history: Sequence[dict[str, Any]]) -> None:
        """Write the file anew: at any moment it is whole or absent."""
        text = io.StringIO()
        columns = dict.fromkeys(name for epoch in history for name in epoch)
        writer = csv.DictWriter(text, fieldnames=[*columns, "seconds"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(epoch | {"seconds": self.seconds.get(epoch["epoch"], "")} for epoch in history)
        write_whole(self.path, text.getvalue())


def _read_seconds(path: Path) -> dict[int, str]:
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return {int(row["epoch"]): str(float(row["seconds"])) for row in rows if row["seconds"]}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError):
        return {}
