"""The log of a training run: a line for each epoch in a CSV file, and curves for TensorBoard where they are wanted."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikegraph.export.files import write_whole

CURVES = "tensorboard"


class CsvLog:
    """A CSV file with the history of a run, and the seconds that each epoch took.

    The seconds stand in the log alone, and not in the checkpoint: they are no part of what the same seed repeats.

    Parameters
    ----------
    path : Path
    resume : bool
        Keep the seconds that stand in it; those of an epoch that cannot be read stay empty.
    tensorboard : bool
        Write curves for TensorBoard into a folder beside it as well.
    """

    def __init__(self, path: Path, *, resume: bool = False, tensorboard: bool = False) -> None:
        self.path = path
        self.curves = TensorBoardLog(path.parent / CURVES) if tensorboard else None
        self.n_drawn = 0  # epochs that are in the curves
        self.seconds: dict[int, str] = _read_seconds(path) if resume else {}

    def write(self, history: Sequence[dict[str, Any]]) -> None:
        """Write the file anew: at any moment it is whole or absent."""
        text = io.StringIO()
        columns = dict.fromkeys(name for epoch in history for name in epoch)
        writer = csv.DictWriter(text, fieldnames=[*columns, "seconds"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(epoch | {"seconds": self.seconds.get(epoch["epoch"], "")} for epoch in history)
        write_whole(self.path, text.getvalue())
        if self.curves is not None:
            for epoch in history[self.n_drawn :]:
                self.curves.write(epoch)
            self.n_drawn = len(history)

    def close(self) -> None:
        """Write what is still on its way to TensorBoard's file."""
        if self.curves is not None:
            self.curves.close()


def _read_seconds(path: Path) -> dict[int, str]:
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return {int(row["epoch"]): str(float(row["seconds"])) for row in rows if row["seconds"]}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError):
        return {}


class TensorBoardLog:
    """The same history as curves for TensorBoard: an event file in a folder of its own, written by tensorboardX.

    Parameters
    ----------
    folder : Path
        What an earlier part of the run left there is written anew.

    Raises
    ------
    ModuleNotFoundError
        tensorboardX is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter  # an extra

        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = SummaryWriter(str(folder))

    def write(self, epoch: dict[str, Any]) -> None:
        """Add the figures of an epoch."""
        for name, value in epoch.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch["epoch"])

    def close(self) -> None:
        """Let the thread that writes come to its end."""
        self._writer.close()
