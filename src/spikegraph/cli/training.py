"""Commands that train: a recipe, or many settings of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from spikegraph import stages
from spikegraph.cli.output import (
    MESSAGES,
    PATH,
    PROCESS,
    data_dir,
    json_option,
    print_json,
    showing_progress,
    table,
)
from spikegraph.export.errors import OptionError
from spikegraph.trainer.memory import keep_freed_memory


@click.command()
@click.argument("recipe")
@click.option("--out", required=True, type=PATH, help="Folder for the checkpoint, the log and the summary.")
@click.option(
    "--data",
    "--data-dir",
    "data_dir",
    type=PATH,
    help="Folder or archive of the data set's files (mnist, …).",
)
@click.option("--seed", type=int, help="In place of the recipe's.")
@click.option("--epochs", type=int, help="In place of the recipe's.")
@click.option("--chip", help="In place of the recipe's: loihi1, loihi2, generic, or none to train in floats.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--tensorboard", is_flag=True, help="Log to OUT/tensorboard as well.")
@json_option
def train(recipe: str, out: Path, data_dir: Path | None, as_json: bool, **options: Any) -> None:
    """Train RECIPE (a name, or a TOML file) in the chip's arithmetic."""
    keep_freed_memory()
    if options["resume"] and not PROCESS and not stages.is_started(out):
        MESSAGES.print(f"note: {out} holds no checkpoint to go on from; training starts at the first epoch")
    with showing_progress() as progress:
        summary = stages.train(recipe, out, data=data_dir, progress=progress, **options)
    if PROCESS:
        return  # the first one speaks for all
    if as_json:
        print_json(summary)
        return
    click.echo(
        f"{out}: {summary['epochs']} epochs, validation accuracy {summary['validation_accuracy']:.2%}, ", nl=False
    )
    click.echo(f"test accuracy {summary['test_accuracy']:.2%} ({summary['n_test']} samples)")


@click.command()
@click.argument("recipe", required=False)
@click.option("--out", required=True, type=PATH, help="Folder for the points, the report and the picture.")
@click.option("--bits", help="Widths of the weights, such as 8,4,2,1, on the chip generic.")
@click.option("--steps", help="Lengths of the window, such as 4,8,16.")
@click.option("--additions-weight", help="Weights of the additions in the loss, such as 0,0.1,1.")
@click.option("--seeds", help="Seeds, such as 0,1,2: accuracy and additions are then means.")
@click.option("--evaluate-only", "run", type=PATH, help="In place of RECIPE: a training run, quantized in every way.")
@click.option("--epochs", type=int, help="In place of the recipe's.")
@click.option("--test", "on", flag_value="test", default=None, help="Evaluate on the test split, not on validation.")
@click.option("--samples", type=int, help="Evaluate on the first so many.")
@click.option("--device", default="cpu", show_default=True, help="For training: cpu or cuda.")
@data_dir
@json_option
def sweep(
    recipe: str | None,
    out: Path,
    run: Path | None,
    on: str | None,
    data_dir: Path | None,
    as_json: bool,
    epochs: int | None,
    device: str,
    samples: int | None,
    **axes: str | None,
) -> None:
    """Train RECIPE in every combination of settings, and weigh accuracy against additions and latency.

    A sweep that was stopped goes on where it was. Without an option, that setting stays as the recipe has it.
    """
    from spikegraph.sweep.points import Axes, sweep, sweep_trained

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise OptionError("sweep", "runs in one process, and torchrun started several", "start it without torchrun")
    if (recipe is None) == (run is None):
        raise OptionError("sweep", "needs either a RECIPE to train or a run to evaluate", "give one of the two")
    if run is not None and epochs is not None:
        raise OptionError("--epochs", "is for training, and --evaluate-only does not train", "leave out one of the two")
    chosen = Axes(
        bits=_numbers("--bits", axes["bits"], int),
        n_steps=_numbers("--steps", axes["steps"], int),
        additions_weight=_numbers("--additions-weight", axes["additions_weight"], float),
        seed=_numbers("--seeds", axes["seeds"], int),
    )
    shared: dict[str, Any] = {"data": data_dir, "on": on or "validation", "samples": samples}
    with showing_progress() as progress:
        if run is not None:
            report = sweep_trained(run, out, chosen, progress=progress, **shared)
        else:
            report = sweep(str(recipe), out, chosen, epochs=epochs, device=device, progress=progress, **shared)
    if as_json:
        print_json(report)
    else:
        _print_sweep(report)
    _draw_sweep(report, out)


def _numbers(option: str, text: str | None, kind: type[int] | type[float]) -> list[Any]:
    """Read numbers with commas between them."""
    try:
        return [kind(part) for part in text.split(",")] if text is not None else []
    except ValueError as error:
        what = f"{text!r} are not {'whole ' if kind is int else ''}numbers with commas between them"
        raise OptionError(option, what, "write them like 8,4,2") from error


def _print_sweep(report: dict[str, Any]) -> None:
    several = any(len(row["seeds"]) > 1 for row in report["settings"])
    columns = ["bits", "steps", "additions weight", "accuracy", *(["lowest", "highest"] if several else [])]
    rows = []
    for row in report["settings"]:
        spread = [f"{row['accuracy_lowest']:.2%}", f"{row['accuracy_highest']:.2%}"] if several else []
        fronts = {"additions": row["best_by_additions"], "latency": row["best_by_latency"]}
        rows.append(
            [
                "-" if row["bits"] is None else str(row["bits"]),
                str(row["n_steps"]),
                f"{row['additions_weight']:g}",
                f"{row['accuracy']:.2%}",
                *spread,
                f"{row['additions']:,.0f}",
                f"{row['latency_steps']:.1f}",
                ", ".join(name for name, is_on in fronts.items() if is_on),
            ]
        )
    table([*columns, "additions", "latency, steps", "on the Pareto front of"], rows, words=0)
    n_samples = report["points"][0]["samples"]
    click.echo(f"{report['on']}, {n_samples:,} samples; additions and latency until decision, means per sample")


def _draw_sweep(report: dict[str, Any], folder: Path) -> None:
    from spikegraph.sweep.picture import draw

    try:
        paths = draw(report, folder)
    except ModuleNotFoundError:
        MESSAGES.print("note: for the picture, pip install 'spikegraph[plot]' and run the same command", markup=False)
    else:
        MESSAGES.print(f"picture: {', '.join(map(str, paths))}", markup=False)
