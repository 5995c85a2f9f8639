"""What commands share: what they print, how they tell how far they are, and options that several have."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

TERMINAL = Console(highlight=False, emoji=False, markup=False, width=None if sys.stdout.isatty() else 160)
MESSAGES = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
PROCESS = int(os.environ.get("RANK", 0))  # torchrun numbers the processes that train together
PATH = click.Path(path_type=Path)
_LOG_EVERY_S = 10

json_option = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
data_dir = click.option("--data-dir", type=PATH, help="Folder or archive of the data set's files (mnist, …).")
weight_bits = click.option("--weight-bits", type=int, help="Width of the weights, with --chip generic.")


@contextmanager
def showing_progress(every_s: float = _LOG_EVERY_S) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on stderr for each thing that is done; in a log file, a line now and then."""
    if not MESSAGES.is_terminal:
        last = time.monotonic()

        def log(what: str, done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > every_s:
                last = time.monotonic()
                MESSAGES.print(f"{what}: {done} of {total}", markup=False)

        yield log
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=MESSAGES, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield show


def print_json(content: Any) -> None:
    """Print a report as JSON."""
    click.echo(json.dumps(content, indent=2))


def table(columns: list[str], rows: list[list[str]], *, words: int = 1) -> None:
    """Print a table whose first columns, so many, hold words and the rest numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    TERMINAL.print(table)
