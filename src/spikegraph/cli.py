"""The command line: one command a stage. Exit code 0, or 1 where the answer is no, or 2 for bad input."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from spikegraph import __version__, cost_report, fit_report, stages
from spikegraph.export.errors import OptionError, SpikegraphError
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.fit_report import CheckReport
from spikegraph.hwsim.cost import cost_of
from spikegraph.hwsim.profile import load_profile, profile_names
from spikegraph.targets.builders import BUILDERS
from spikegraph.targets.likeness import Likeness
from spikegraph.targets.places import PLACES
from spikegraph.trainer.memory import keep_freed_memory

_TERMINAL = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
_MESSAGES = Console(stderr=True, highlight=False, soft_wrap=True)
_EXTRAS = {
    "elephant": "distances",
    "neo": "distances",
    "quantities": "distances",
    "torch": "train",
    "safetensors": "train",
    "tomli_w": "train",
    "sklearn": "data",
    "pooch": "data",
    "tonic": "events",
    "tensorboardX": "tensorboard",
    "onnx": "onnx",
    "onnxruntime": "onnx",
}
_LOG_EVERY_S = 10
_CHECK_LOG_EVERY_S = 2
_PROCESS = int(os.environ.get("RANK", 0))  # torchrun numbers the processes that train together
_path = click.Path(path_type=Path)


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Stop, and ask again until the command has stopped.

    Python drops what is raised while it cleans up after a weak reference, which h5py makes it do after each write:
    there a KeyboardInterrupt would be lost, so it waits for a moment.
    """
    lost = frame is not None and frame.f_code.co_filename == weakref.__file__
    signal.setitimer(signal.ITIMER_REAL, 0.02 if lost else 1)
    if not lost:
        raise KeyboardInterrupt


class _Commands(click.Group):
    """Turns an error that the user can mend into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        # A scheduler stops a job with SIGTERM: leave by the way that cleans up, as after Ctrl-C.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGALRM)}
        try:
            return super().invoke(ctx)
        except SpikegraphError as error:
            process = f" (process {_PROCESS})" if _PROCESS else ""
            _MESSAGES.print(f"spikegraph{process}: {error}", markup=False)
            sys.exit(error.exit_code)
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get(str(error.name).partition(".")[0])
            if extra is None:
                raise
            _MESSAGES.print(
                f"spikegraph: {error.name} is not installed; pip install 'spikegraph[{extra}]'", markup=False
            )
            sys.exit(2)
        except KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _MESSAGES.print("spikegraph: stopped")
            sys.exit(130)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _progress(every_s: float = _LOG_EVERY_S) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar on stderr for each thing that is done; in a log file, a line now and then."""
    if not _MESSAGES.is_terminal:
        last = time.monotonic()

        def log(what: str, done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > every_s:
                last = time.monotonic()
                _MESSAGES.print(f"{what}: {done} of {total}", markup=False)

        yield log
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_MESSAGES, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bar.update(task, visible=False)
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield show


def _print_json(content: Any) -> None:
    click.echo(json.dumps(content, indent=2))


def _table(columns: list[str], rows: list[list[str]], *, words: int = 1) -> None:
    """Print a table whose first columns, so many, hold words and the rest numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _TERMINAL.print(table)


_json = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
_data_dir = click.option("--data-dir", type=_path, help="Folder or archive of the data set's files (mnist, …).")
_weight_bits = click.option("--weight-bits", type=int, help="Width of the weights, with --chip generic.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spikegraph")
def main() -> None:
    """Take a spiking network from PyTorch to neuromorphic hardware and prove that nothing changed on the way."""


@main.command()
@click.argument("recipe")
@click.option("--out", required=True, type=_path, help="Folder for the checkpoint, the log and the summary.")
@click.option(
    "--data",
    "--data-dir",
    "data_dir",
    type=_path,
    help="Folder or archive of the data set's files (mnist, …).",
)
@click.option("--seed", type=int, help="In place of the recipe's.")
@click.option("--epochs", type=int, help="In place of the recipe's.")
@click.option("--chip", help="In place of the recipe's: loihi1, loihi2, generic, or none to train in floats.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--tensorboard", is_flag=True, help="Log to OUT/tensorboard as well.")
@_json
def train(recipe: str, out: Path, data_dir: Path | None, as_json: bool, **options: Any) -> None:
    """Train RECIPE (a name, or a TOML file) in the chip's arithmetic."""
    keep_freed_memory()
    if options["resume"] and not _PROCESS and not stages.is_started(out):
        _MESSAGES.print(f"note: {out} holds no checkpoint to go on from; training starts at the first epoch")
    with _progress() as progress:
        summary = stages.train(recipe, out, data=data_dir, progress=progress, **options)
    if _PROCESS:
        return  # the first one speaks for all
    if as_json:
        _print_json(summary)
        return
    click.echo(
        f"{out}: {summary['epochs']} epochs, validation accuracy {summary['validation_accuracy']:.2%}, ", nl=False
    )
    click.echo(f"test accuracy {summary['test_accuracy']:.2%} ({summary['n_test']} samples)")


@main.command()
@click.argument("run", type=_path)
@click.option("-o", "--out", required=True, type=_path, help="Graph file, such as net.h5.")
@click.option(
    "--chip", help="Chip to quantize for; by default the one that it was trained for, or loihi1 if in floats."
)
@_weight_bits
@click.option(
    "--fit-clip/--no-fit-clip",
    default=None,
    help="Clip weights where that makes their error least; by default for weights of up to 4 bits that were not"
    " trained as such.",
)
@_json
def export(run: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Quantize the network of a training RUN and write its spike graph."""
    with _MESSAGES.status(f"export {run}"):
        graph, report = stages.export(run, out, **options)
    if not graph.provenance["training_is_over"]:
        done = f"{graph.provenance['epochs']} of {graph.provenance['epochs_planned']} epochs"
        _MESSAGES.print(f"note: {run} was stopped after {done}; `spikegraph train --resume` goes on")
    if as_json:
        _print_json(report.to_json())
        return
    click.echo(f"{out}: quantized for {report.chip}")
    _table(
        ["projection", "scale", "exponent", "clip", "largest error", "RMS error", "clipped"],
        [
            [
                name,
                f"{p.scale:.3g}",
                str(p.weight_exp),
                "none" if p.clip is None else f"{p.clip:.3g}",
                f"{p.largest_error:.2g}",
                f"{p.rms_error:.2g}",
                f"{p.clipped_share:.2%}",
            ]
            for name, p in report.projections.items()
        ],
    )
    _table(
        ["population", "threshold error", "bias error", "decay_u error", "decay_v error", "rewritten"],
        [
            [
                name,
                f"{p.threshold_error:.2%}",
                f"{p.bias_error:.2%}",
                f"{p.decay_u_error:.1g}",
                f"{p.decay_v_error:.1g}",
                p.rewrite or "nothing",
            ]
            for name, p in report.populations.items()
        ],
    )


@main.command()
@click.argument("graphs", nargs=-1, required=True, type=_path)
@click.option("-o", "--out", required=True, type=_path, help="Graph file, such as joint.h5.")
@click.option("--weights", help="What an output spike of each graph counts for, such as 2,1; without it all are alike.")
@click.option("--names", help="A name for each graph, such as a,b; without it those of the files.")
@_json
def join(graphs: tuple[Path, ...], out: Path, weights: str | None, names: str | None, as_json: bool) -> None:
    """Join GRAPHS that read the same input into one graph whose readouts decide together."""
    counts = _whole_numbers("--weights", weights) if weights else ()
    joint = stages.join(graphs, out, weights=counts, names=names.split(",") if names else ())
    readout = joint.readout
    read = dict(zip(readout.outputs, readout.weights or (1,) * len(readout.outputs), strict=True)) if readout else {}
    if as_json:
        _print_json({"populations": list(joint.populations), "outputs": read, "content": graph_checksum(joint)})
        return
    together = ", ".join(f"{name} (weight {weight})" for name, weight in read.items())
    click.echo(f"{out}: {len(graphs)} graphs, {len(joint.populations)} populations; {together} decide together")


def _whole_numbers(option: str, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise OptionError(option, f"{text!r} is not a list of whole numbers", "write such as 2,1") from error


@main.command()
@click.argument("graph", type=_path)
@_json
def inspect(graph: Path, as_json: bool) -> None:
    """Show the populations and projections of a GRAPH file: bits, ranges, delays."""
    found = stages.inspect(graph)
    if as_json:
        _print_json(found)
        return

    def words(value: Any) -> str:
        return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def span(low_high: list[int]) -> str:
        return str(low_high[0]) if low_high[0] == low_high[1] else f"{low_high[0]}…{low_high[1]}"

    click.echo(f"{graph}: {found['n_steps']} steps, content {found['content'][:16]}")
    for kind in ("coding", "readout"):
        if found[kind]:
            said = {key: value for key, value in found[kind].items() if value != ()}
            click.echo(f"{kind}: " + ", ".join(f"{key} {words(value)}" for key, value in said.items()))
    _table(
        ["population", "shape", "depth", "decay_u", "decay_v", "threshold_mant", "bias_mant", "bias_exp", "reset"],
        [
            [name, "×".join(map(str, p["shape"])), str(p["depth"])]
            + [span(p[key]) for key in ("decay_u", "decay_v", "threshold_mant", "bias_mant", "bias_exp")]
            + [p["reset"]]
            for name, p in found["populations"].items()
        ],
    )
    _table(
        ["projection", "kind", "weights", "nonzero", "range", "step", "bits", "exponent", "delay"],
        [
            [f"{p['source']} → {p['target']}", p["kind"], f"{p['weights']:,}", f"{p['nonzero']:,}", span(p["weight"])]
            + [str(p[key]) for key in ("step", "bits", "weight_exp", "delay_steps")]
            for p in found["projections"].values()
        ],
    )


@main.command()
@click.argument("graph", type=_path)
@click.option("--chip", help="Check against the limits of this chip and its cores as well: loihi1, loihi2, generic.")
@_weight_bits
@click.option("--data", help="Run it on this data, such as digits:test: the largest values seen, beside their bounds.")
@click.option("--samples", type=int, help="Only the first so many.")
@_data_dir
@click.option("--fix", is_flag=True, help="Rewrite, exactly, what the chip lacks, and write the new graph to -o.")
@click.option("-o", "--out", type=_path, help="Graph file of --fix; nothing is written unless it is legal and fits.")
@_json
def check(graph: Path, chip: str | None, as_json: bool, **options: Any) -> None:
    """Tell whether a GRAPH file is legal, fits on a chip, and whether its numbers can overflow; exit 1 if not."""
    with _progress(every_s=_CHECK_LOG_EVERY_S) as progress:
        report = stages.check(graph, chip=chip, progress=progress, **options)
    if as_json:
        _print_json(report.to_json())
    else:
        _print_check(graph, report)
    sys.exit(0 if report.legal else 1)


def _print_check(graph: Path, report: CheckReport) -> None:
    for rewrite in report.rewrites or ():
        click.echo(f"rewritten: {rewrite}")
    for problem in report.problems:
        click.echo(f"{'left' if report.rewrites is not None else 'problem'}: {problem}")
    if report.rewrites is None and report.mendable:
        click.echo(f"--fix -o fixed.h5 mends {report.mendable} of {len(report.problems)} without changing a spike")
    if report.bounds:
        click.echo(f"\nbounds before wrapping and saturation, for {report.bounded_by}")
        _table(*fit_report.bound_rows(report), words=2)
    if report.seen:
        click.echo(f"seen: in a run of {report.seen_in}; times: how many times further the bound is")
    if report.fit is not None:
        columns, rows = fit_report.core_rows(report.fit)
        if rows:
            click.echo("\nuse of a core, the fullest (and on average)")
            _table(columns, rows, words=2)
        for line in (*fit_report.fullest(report.fit), *(f"note: {note}" for note in report.fit.notes)):
            click.echo(line)
    where = f" on {report.chip}" if report.chip else ""
    click.echo(f"{graph}: legal{where}" if report.legal else f"{graph}: not legal{where}")
    if report.written:
        click.echo(f"{report.written}: written, {len(report.rewrites or ())} rewrites")


@main.command()
@click.argument("graph", type=_path)
@click.option("--data", required=True, help="Data set and split, such as digits:test.")
@click.option("-o", "--out", type=_path, help="Run file, such as run.h5.")
@click.option("--engine", default="native", show_default=True, help="Engine to run in: native, or reference.")
@click.option(
    "--until",
    default="window",
    show_default=True,
    help="With decision, a sample ends with the step of its decision, which a first_spike readout may reach early; a"
    " count or membrane readout decides in the last step. Counts over the window are then not reported.",
)
@click.option("--steps", "n_steps", type=int, help="Length of the window, in place of the graph's.")
@click.option("--samples", type=int, help="Only the first so many.")
@click.option(
    "--noise",
    help="Noise on the input, such as salt:0.1: salt or gaussian on the pixels, delete or insert on the spikes.",
)
@click.option("--noise-seed", type=click.IntRange(0, (1 << 64) - 1), default=0, help="Another seed, other noise.")
@click.option("--record", multiple=True, help="Keep u, v and s of this population at every step; may be repeated.")
@click.option("--chip", help="Place the graph on this chip and say what it would pay: loihi1 or loihi2.")
@_data_dir
@_json
def simulate(graph: Path, data: str, chip: str | None, as_json: bool, **options: Any) -> None:
    """Run a GRAPH file on data, bit for bit, and count what it costs."""
    if options["record"] and options["out"] is None:
        _MESSAGES.print("note: what is recorded goes to a run file, and none is named: use -o run.h5")
    with _progress() as progress:
        run = stages.simulate(graph, data, chip=chip, progress=progress, **options)
    summary = run.summary()
    costs = [cost_of(run, load_profile(name)).to_json() for name in profile_names(chip)] if chip else []
    if as_json:
        on_chip = {"placement": run.cores.placement.to_json(), "costs": costs} if run.cores else {}
        _print_json(summary | on_chip)
        return
    click.echo(f"accuracy {run.accuracy:.2%} ({len(run)} samples, {summary['undecided']} undecided)")
    means = summary["per_sample"]
    _table(
        ["per sample", *(name.replace("_", " ") for name in means)],
        [[quantity, *(f"{mean[quantity]:,.1f}" for mean in means.values())] for quantity in means["until_decision"]],
    )
    macs = summary["dense_macs"]
    every = f"{macs['every_step']:,} if it ran in each of {run.n_steps:,} steps"
    click.echo(f"a dense network of this shape: {macs['once']:,} MACs once, {every}")
    if run.cores is not None:
        placement = run.cores.placement
        click.echo(
            f"\nplaced on {chip} (cores: {placement.n_cores}, tiles: {placement.n_tiles}); how full its fullest core is"
        )
        _table(*cost_report.placement_rows(placement))
    for report in costs:
        _print_cost(report)


def _print_cost(report: dict[str, Any]) -> None:
    click.echo(f"\n{report['profile']}: {report['title']}, {report['samples']} samples")
    columns, rows = cost_report.energy_rows(report)
    if rows:
        _table(columns, rows)
    for line in cost_report.lines(report):
        click.echo(line)


@main.command()
@click.argument("run", type=_path)
@click.option(
    "--profile",
    required=True,
    help=f"Figures to price it by: {', '.join(profile_names())}, or a TOML file of your own.",
)
@click.option("--against", type=_path, help="Another run, of a network of the same shape: compare the additions.")
@_json
def cost(run: Path, profile: str, against: Path | None, as_json: bool) -> None:
    """Price a stored RUN without running it again."""
    with _MESSAGES.status(f"cost {run}"):
        report = stages.cost(run, profile).to_json()
        compared = stages.additions(run, against) if against else None
    if as_json:
        _print_json(report | ({"comparison": compared} if compared else {}))
        return
    _print_cost(report)
    for line in cost_report.against_dense(report):
        click.echo(line)
    if compared:
        columns = ["", "samples", "additions until decision", "accuracy", "steps, without pipeline"]
        rows = [
            [
                str(name),
                f"{side['samples']:,}",
                f"{side['sops_until_decision']:,.1f}",
                f"{side['accuracy']:.2%}",
                f"{side['latency_steps']:.1f}",
            ]
            for name, side in ((run, compared["run"]), (against, compared["against"]))
        ]
        _table(columns, rows)
        if not compared["same_samples"]:
            _MESSAGES.print(f"note: {run} and {against} are not of the same samples")
        if compared["sops_ratio"]:
            click.echo(f"{against} takes {compared['sops_ratio']:.2f} × the additions of {run}")


@main.command()
@click.argument("graph", type=_path)
@click.option("--target", required=True, help=f"What to build for: {', '.join(BUILDERS)}.")
@click.option("-o", "--out", required=True, type=_path, help="Folder for what is built.")
@_json
def build(graph: Path, target: str, out: Path, as_json: bool) -> None:
    """Turn a GRAPH file into something that runs elsewhere."""
    with _MESSAGES.status(f"build {out}"):
        report = stages.build(graph, out, target=target)
    if as_json:
        _print_json(report)
    else:
        for line in report.get("summary", ()):
            click.echo(f"{out}: {line}")
        click.echo(f"{out}: built for {target}; see {out / 'README.md'}")


@main.command()
@click.argument("graph", type=_path)
@click.option(
    "--against",
    required=True,
    help=f"What to compare, such as native,lava: {', '.join(PLACES)}, torch (the trained network in the chip's"
    " integers), files of recorded runs (.h5, .npz, .npy), torch-float (in floats: how alike it is).",
)
@click.option("--to", default="reference", show_default=True, help="What to compare with: a place, or a file.")
@click.option("--data", help="Data set and split, such as digits:test; without it the input that a recording holds.")
@click.option("--samples", type=int, help="Only the first so many.")
@click.option("--run", type=_path, help="Folder of the training run, for torch; by default the graph knows it.")
@click.option("--distances/--no-distances", default=True, help="With torch-float: measure distances of spike trains.")
@_data_dir
@_json
def verify(graph: Path, against: str, data: str | None, as_json: bool, **options: Any) -> None:
    """Run a GRAPH file in several places and compare every spike and state; exit 1 at the first difference."""
    with _progress() as progress:
        proof = stages.verify(graph, against.split(","), data, progress=progress, **options)
    if as_json:
        _print_json(proof.to_json())
    else:
        for comparison in proof.verification.comparisons:
            click.echo(str(comparison))
        if proof.likeness is not None:
            _print_likeness(proof.likeness)
    for name, error in proof.verification.refusals.items():
        _MESSAGES.print(f"spikegraph: {name} was not compared: {error}", markup=False)
    sys.exit(2 if proof.verification.refusals else 0 if proof.identical else 1)


def _print_likeness(alike: Likeness) -> None:
    click.echo(f"{alike.place}: {alike.n_samples} samples; it need not be identical to {alike.to}")
    if alike.n_right is not None and alike.n_right_to is not None:
        right, right_to = alike.n_right / alike.n_samples, alike.n_right_to / alike.n_samples
        click.echo(f"accuracy: {alike.to} {right_to:.2%}, {alike.place} {right:.2%}")
    columns = ["population", f"spikes, {alike.to}", alike.place, "in common", "if it alone were integers"]
    _table(
        [*columns, "Victor-Purpura", "van Rossum"],
        [
            [name, f"{p.n_expected:,}", f"{p.n_got:,}", f"{p.in_common:.2%}", f"{p.in_common_alone:.2%}"]
            + [f"{p.distance(total):.3g}" if p.n_measured else "" for total in (p.victor_purpura, p.van_rossum)]
            for name, p in alike.populations.items()
        ],
    )
    if alike.loses_most is not None:
        click.echo(f"{alike.loses_most} loses most")


@main.command()
@click.argument("recipe", required=False)
@click.option("--out", required=True, type=_path, help="Folder for the points, the report and the picture.")
@click.option("--bits", help="Widths of the weights, such as 8,4,2,1, on the chip generic.")
@click.option("--steps", help="Lengths of the window, such as 4,8,16.")
@click.option("--additions-weight", help="Weights of the additions in the loss, such as 0,0.1,1.")
@click.option("--seeds", help="Seeds, such as 0,1,2: accuracy and additions are then means.")
@click.option("--evaluate-only", "run", type=_path, help="In place of RECIPE: a training run, quantized in every way.")
@click.option("--epochs", type=int, help="In place of the recipe's.")
@click.option("--test", "on", flag_value="test", default=None, help="Evaluate on the test split, not on validation.")
@click.option("--samples", type=int, help="Evaluate on the first so many.")
@click.option("--device", default="cpu", show_default=True, help="For training: cpu or cuda.")
@_data_dir
@_json
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
    with _progress() as progress:
        if run is not None:
            report = sweep_trained(run, out, chosen, progress=progress, **shared)
        else:
            report = sweep(str(recipe), out, chosen, epochs=epochs, device=device, progress=progress, **shared)
    if as_json:
        _print_json(report)
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
    _table([*columns, "additions", "latency, steps", "on the Pareto front of"], rows, words=0)
    n_samples = report["points"][0]["samples"]
    click.echo(f"{report['on']}, {n_samples:,} samples; additions and latency until decision, means per sample")


def _draw_sweep(report: dict[str, Any], folder: Path) -> None:
    from spikegraph.sweep.picture import draw

    try:
        paths = draw(report, folder)
    except ModuleNotFoundError:
        _MESSAGES.print("note: for the picture, pip install 'spikegraph[plot]' and run the same command", markup=False)
    else:
        _MESSAGES.print(f"picture: {', '.join(map(str, paths))}", markup=False)


@main.command()
@click.option("--out", required=True, type=_path, help="Folder for the checkpoint, the graph, the run and a summary.")
@click.option("--recipe", default="stl-digits", show_default=True, help="Recipe to train.")
@click.option("--lava-samples", default=50, show_default=True, help="Samples to run in Lava.")
@_json
def demo(out: Path, recipe: str, lava_samples: int, as_json: bool) -> None:
    """Walk the whole path once on real digits: train, export, simulate, run in Lava, verify."""
    from spikegraph.demo import run_demo

    with _progress() as progress:
        summary = run_demo(out, recipe=recipe, lava_samples=lava_samples, progress=progress)
    if as_json:
        _print_json(summary)
    else:
        rows = [[*row["text"], f"{row['seconds']:.1f}"] for row in summary["stages"]]
        _table(["stage", "result", "seconds"], rows, words=2)
        click.echo(f"{out}: checkpoint, graph, run and summary.json")
    sys.exit(0 if summary["identical"] else 1)
