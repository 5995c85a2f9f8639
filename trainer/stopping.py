"""When training ends, and which epoch's weights are kept: both follow from the history, and nothing else is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spikegraph.trainer.sections import TrainingSection

History = Sequence[dict[str, Any]]


def best_epoch(settings: TrainingSection, history: History) -> int:
    """Return the index of the epoch of the highest validation accuracy; of equals, the first.

    Epochs in floats before those in a chip's integers are not compared with these: another network was judged there.
    """
    first = settings.float_epochs if len(history) > settings.float_epochs else 0
    accuracies = [epoch["validation_accuracy"] for epoch in history[first:]]
    return first + accuracies.index(max(accuracies))


def kept_epoch(settings: TrainingSection, history: History) -> int:
    """Return the index of the epoch whose weights are tested and exported."""
    return best_epoch(settings, history) if settings.keep == "best" else len(history) - 1


def is_over(settings: TrainingSection, history: History) -> bool:
    """Tell whether all epochs are done, or `patience` of them since the best."""
    if len(history) >= settings.epochs:
        return True
    if settings.patience is None or len(history) <= settings.float_epochs:
        return False
    return len(history) - 1 - best_epoch(settings, history) >= settings.patience
