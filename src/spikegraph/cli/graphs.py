"""Commands on graph files: export, join, inspect, check."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from spikegraph import fit_report, stages
from spikegraph.cli.output import (
    MESSAGES,
    PATH,
    data_dir,
    json_option,
    print_json,
    showing_progress,
    table,
    weight_bits,
)
from spikegraph.cli.reports import print_losses, print_quantization
from spikegraph.export.errors import OptionError
from spikegraph.export.graph import Population
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.fit_report import CheckReport

_CHECK_LOG_EVERY_S = 2


@click.command()
@click.argument("run", type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="Graph file, such as net.h5.")
@click.option(
    "--chip",
    help="Chip to quantize for; by default the one that it was trained for, or loihi1. none: floats.",
)
@weight_bits
@click.option(
    "--fit-clip/--no-fit-clip",
    default=None,
    help="Clip weights where that makes their error least; by default for weights of up to 4 bits that were not"
    " trained as such.",
)
@json_option
def export(run: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Quantize the network of a training RUN and write its spike graph; with --chip none in floats."""
    with MESSAGES.status(f"export {run}"):
        done = stages.export(run, out, **options)
    provenance = done.graph.provenance
    if not provenance["training_is_over"]:
        epochs = f"{provenance['epochs']} of {provenance['epochs_planned']} epochs"
        MESSAGES.print(f"note: {run} was stopped after {epochs}; `spikegraph train --resume` goes on")
    if as_json:
        print_json(done.quantization.to_json() if done.quantization else {"writing": done.writing.to_json()})
        return
    if done.writing.facts or done.writing.losses:
        print_losses(done.writing)
    click.echo(f"{out}: quantized for {done.quantization.chip}" if done.quantization else f"{out}: a float graph")
    if done.quantization is not None:
        print_quantization(done.quantization)


@click.command()
@click.argument("graphs", nargs=-1, required=True, type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="Graph file, such as joint.h5.")
@click.option("--weights", help="What an output spike of each graph counts for, such as 2,1; without it all are alike.")
@click.option("--names", help="A name for each graph, such as a,b; without it those of the files.")
@json_option
def join(graphs: tuple[Path, ...], out: Path, weights: str | None, names: str | None, as_json: bool) -> None:
    """Join GRAPHS that read the same input into one graph whose readouts decide together."""
    counts = _whole_numbers("--weights", weights) if weights else ()
    joint = stages.join(graphs, out, weights=counts, names=names.split(",") if names else ())
    readout = joint.readout
    read = dict(zip(readout.outputs, readout.weights or (1,) * len(readout.outputs), strict=True)) if readout else {}
    if as_json:
        print_json({"populations": list(joint.populations), "outputs": read, "content": graph_checksum(joint)})
        return
    together = ", ".join(f"{name} (weight {weight})" for name, weight in read.items())
    click.echo(f"{out}: {len(graphs)} graphs, {len(joint.populations)} populations; {together} decide together")


def _whole_numbers(option: str, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise OptionError(option, f"{text!r} is not a list of whole numbers", "write such as 2,1") from error


@click.command()
@click.argument("graph", type=PATH)
@json_option
def inspect(graph: Path, as_json: bool) -> None:
    """Show the populations and projections of a GRAPH file: bits, ranges, delays."""
    found = stages.inspect(graph)
    if as_json:
        print_json(found)
        return

    def words(value: Any) -> str:
        return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def span(low_high: list[Any]) -> str:
        low, high = (f"{end:.4g}" if isinstance(end, float) else str(end) for end in low_high)
        return low if low_high[0] == low_high[1] else f"{low}…{high}"

    floats = found["kind"] == "float-graph"
    steps = f"{found['n_steps']} steps" + (f" of {found['dt']:g} s, floats" if floats else "")
    click.echo(f"{graph}: {steps}, content {found['content'][:16]}")
    for kind in ("coding", "readout"):
        if found[kind]:
            said = {key: value for key, value in found[kind].items() if value != ()}
            click.echo(f"{kind}: " + ", ".join(f"{key} {words(value)}" for key, value in said.items()))
    parameters = ["tau_syn", "tau_mem", "v_threshold", "bias"] if floats else list(Population.PARAMETERS)
    numbers = [] if floats else ["step", "bits", "weight_exp"]
    table(
        ["population", "shape", "depth", *parameters, "reset"],
        [
            [name, "×".join(map(str, p["shape"])), str(p["depth"])]
            + [span(p[key]) for key in parameters]
            + [p["reset"]]
            for name, p in found["populations"].items()
        ],
    )
    table(
        ["projection", "kind", "weights", "nonzero", "range", *numbers, "delay"],
        [
            [f"{p['source']} → {p['target']}", p["kind"], f"{p['weights']:,}", f"{p['nonzero']:,}", span(p["weight"])]
            + [str(p[key]) for key in (*numbers, "delay_steps")]
            for p in found["projections"].values()
        ],
    )


@click.command()
@click.argument("graph", type=PATH)
@click.option("--chip", help="Check against the limits of this chip and its cores as well: loihi1, loihi2, generic.")
@weight_bits
@click.option("--data", help="Run it on this data, such as digits:test: the largest values seen, beside their bounds.")
@click.option("--samples", type=int, help="Only the first so many.")
@data_dir
@click.option("--fix", is_flag=True, help="Rewrite, exactly, what the chip lacks, and write the new graph to -o.")
@click.option("--per-core", is_flag=True, help="With --fix: split what lies on several cores, one population for each.")
@click.option("-o", "--out", type=PATH, help="Graph file of --fix; nothing is written unless it is legal and fits.")
@json_option
def check(graph: Path, chip: str | None, as_json: bool, **options: Any) -> None:
    """Tell whether a GRAPH file is legal, fits on a chip, and whether its numbers can overflow; exit 1 if not."""
    with showing_progress(every_s=_CHECK_LOG_EVERY_S) as progress:
        report = stages.check(graph, chip=chip, progress=progress, **options)
    if as_json:
        print_json(report.to_json())
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
        table(*fit_report.bound_rows(report), words=2)
    if report.seen:
        click.echo(f"seen: in a run of {report.seen_in}; times: how many times further the bound is")
    if report.fit is not None:
        columns, rows = fit_report.core_rows(report.fit)
        if rows:
            click.echo("\nuse of a core, the fullest (and on average)")
            table(columns, rows, words=2)
        for line in (*fit_report.fullest(report.fit), *(f"note: {note}" for note in report.fit.notes)):
            click.echo(line)
    where = f" on {report.chip}" if report.chip else ""
    if report.rewrites is None:
        click.echo(f"{graph}: legal{where}" if report.legal else f"{graph}: not legal{where}")
    elif report.written:
        click.echo(f"{report.written}: written, {len(report.rewrites)} rewrites; legal{where}")
    else:
        click.echo(f"nothing written: {graph} as rewritten, which all of this is of, is not legal{where}")
