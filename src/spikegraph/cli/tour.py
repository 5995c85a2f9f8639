"""The whole path in one command."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from spikegraph.cli.output import (
    PATH,
    json_option,
    print_json,
    showing_progress,
    table,
)


@click.command()
@click.option("--out", required=True, type=PATH, help="Folder for the checkpoint, the graph, the run and a summary.")
@click.option("--recipe", default="stl-digits", show_default=True, help="Recipe to train.")
@click.option("--lava-samples", default=50, show_default=True, help="Samples to run in Lava.")
@json_option
def demo(out: Path, recipe: str, lava_samples: int, as_json: bool) -> None:
    """Walk the whole path once on real digits: train, export, simulate, run in Lava, verify."""
    from spikegraph.demo import run_demo

    with showing_progress() as progress:
        summary = run_demo(out, recipe=recipe, lava_samples=lava_samples, progress=progress)
    if as_json:
        print_json(summary)
    else:
        rows = [[*row["text"], f"{row['seconds']:.1f}"] for row in summary["stages"]]
        table(["stage", "result", "seconds"], rows, words=2)
        click.echo(f"{out}: checkpoint, graph, run and summary.json")
    sys.exit(0 if summary["identical"] else 1)
