"""Commands that take a graph elsewhere, and prove that it computes the same there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from spikegraph import stages
from spikegraph.cli.output import (
    MESSAGES,
    PATH,
    data_dir,
    json_option,
    print_json,
    showing_progress,
    table,
)
from spikegraph.targets.builders import BUILDERS
from spikegraph.targets.likeness import Likeness
from spikegraph.targets.places import PLACES


@click.command()
@click.argument("graph", type=PATH)
@click.option("--target", required=True, help=f"What to build for: {', '.join(BUILDERS)}.")
@click.option("-o", "--out", required=True, type=PATH, help="Folder for what is built.")
@json_option
def build(graph: Path, target: str, out: Path, as_json: bool) -> None:
    """Turn a GRAPH file into something that runs elsewhere."""
    with MESSAGES.status(f"build {out}"):
        report = stages.build(graph, out, target=target)
    if as_json:
        print_json(report)
    else:
        for line in report.get("summary", ()):
            click.echo(f"{out}: {line}")
        click.echo(f"{out}: built for {target}; see {out / 'README.md'}")


@click.command()
@click.argument("graph", type=PATH)
@click.option("--data", required=True, help="Data set and split, such as digits:test.")
@click.option("-o", "--out", required=True, type=PATH, help=".h5 for a Lava folder, .npz for NumPy, .txt for C.")
@click.option("--samples", type=int, help="Only the first so many.")
@data_dir
def encode(graph: Path, data: str, out: Path, **options: Any) -> None:
    """Write the spikes that a GRAPH file's code makes of data, for what was built from it."""
    with showing_progress() as progress:
        n = stages.encode(graph, data, out, progress=progress, **options)
    click.echo(f"{out}: {n} samples of {data}")


@click.command()
@click.argument("graph", type=PATH)
@click.option(
    "--against",
    required=True,
    help=f"What to compare, such as native,lava: {', '.join(PLACES)}, torch (the trained network in the chip's"
    " integers), files of recorded runs (.h5, .npz, .npy), torch-float (in floats: how alike it is).",
)
@click.option("--to", default="reference", show_default=True, help="What to compare with: a place, or a file.")
@click.option("--data", help="Data set and split, such as digits:test; without it the input that a recording holds.")
@click.option("--samples", type=int, help="Only the first so many.")
@click.option("--run", type=PATH, help="Folder of the training run, for torch; by default the graph knows it.")
@click.option("--distances/--no-distances", default=True, help="With torch-float: measure distances of spike trains.")
@data_dir
@json_option
def verify(graph: Path, against: str, data: str | None, as_json: bool, **options: Any) -> None:
    """Run a GRAPH file in several places and compare every spike and state; exit 1 at the first difference."""
    with showing_progress() as progress:
        proof = stages.verify(graph, against.split(","), data, progress=progress, **options)
    if as_json:
        print_json(proof.to_json())
    else:
        for comparison in proof.verification.comparisons:
            click.echo(str(comparison))
        if proof.likeness is not None:
            _print_likeness(proof.likeness)
    for name, error in proof.verification.refusals.items():
        MESSAGES.print(f"spikegraph: {name} was not compared: {error}", markup=False)
    sys.exit(2 if proof.verification.refusals else 0 if proof.identical else 1)


def _print_likeness(alike: Likeness) -> None:
    click.echo(f"{alike.place}: {alike.n_samples} samples; it need not be identical to {alike.to}")
    if alike.n_right is not None and alike.n_right_to is not None:
        right, right_to = alike.n_right / alike.n_samples, alike.n_right_to / alike.n_samples
        click.echo(f"accuracy: {alike.to} {right_to:.2%}, {alike.place} {right:.2%}")
    columns = ["population", f"spikes, {alike.to}", alike.place, "in common", "if it alone were integers"]
    rows = [
        [name, f"{p.n_expected:,}", f"{p.n_got:,}", f"{p.in_common:.2%}", f"{p.in_common_alone:.2%}"]
        for name, p in alike.populations.items()
    ]
    if any(p.n_measured for p in alike.populations.values()):
        columns += ["Victor-Purpura", "van Rossum"]
        for row, p in zip(rows, alike.populations.values(), strict=True):
            row += [f"{p.distance(total):.3g}" for total in (p.victor_purpura, p.van_rossum)]
    table(columns, rows)
    if alike.loses_most is not None:
        click.echo(f"{alike.loses_most} loses most")
