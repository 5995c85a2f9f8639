"""Commands that run a graph and say what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from spikegraph import cost_report, stages
from spikegraph.cli.output import (
    MESSAGES,
    PATH,
    data_dir,
    json_option,
    print_json,
    showing_progress,
    table,
)
from spikegraph.export.errors import OptionError
from spikegraph.export.formats import is_float
from spikegraph.hwsim.cost import cost_of
from spikegraph.hwsim.profile import load_profile, profile_names


@click.command()
@click.argument("graph", type=PATH)
@click.option("--data", required=True, help="Data set and split, such as digits:test.")
@click.option("-o", "--out", type=PATH, help="Run file, such as run.h5.")
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
@data_dir
@json_option
def simulate(graph: Path, data: str, chip: str | None, as_json: bool, **options: Any) -> None:
    """Run a GRAPH file on data, bit for bit, and count what it costs. Of a float graph: its accuracy."""
    if graph.is_file() and is_float(graph):
        _simulate_floats(graph, data, as_json, options)
        return
    options["record"] = [name for names in options["record"] for name in names.split(",")]
    if options["record"] and options["out"] is None:
        MESSAGES.print("note: what is recorded goes to a run file, and none is named: use -o run.h5")
    with showing_progress() as progress:
        run = stages.simulate(graph, data, chip=chip, progress=progress, **options)
    summary = run.summary()
    costs = [cost_of(run, load_profile(name)).to_json() for name in profile_names(chip)] if chip else []
    if as_json:
        on_chip = {"placement": run.cores.placement.to_json(), "costs": costs} if run.cores else {}
        print_json(summary | on_chip)
        return
    click.echo(f"accuracy {run.accuracy:.2%} ({len(run)} samples, {summary['undecided']} undecided)")
    means = summary["per_sample"]
    table(
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
        table(*cost_report.placement_rows(placement))
    for report in costs:
        _print_cost(report)


def _simulate_floats(graph: Path, data: str, as_json: bool, options: dict[str, Any]) -> None:
    taken = {name: options.pop(name) for name in ("data_dir", "n_steps", "samples")}
    source = click.get_current_context().get_parameter_source
    given = [name for name in ("chip", *options) if source(name) is not ParameterSource.DEFAULT]
    if given:
        what = "is of integer graphs, and this graph is in floats"
        raise OptionError(f"--{given[0].replace('_', '-')}", what, "quantize it first: spikegraph convert --chip")
    with showing_progress() as progress:
        right, n = stages.accuracy(graph, data, progress=progress, **taken)
    if as_json:
        print_json({"accuracy": right / n if n else None, "samples": n, "kind": "float-graph"})
    else:
        click.echo(f"accuracy {right / n:.2%} ({n} samples), in floats")


def _print_cost(report: dict[str, Any]) -> None:
    click.echo(f"\n{report['profile']}: {report['title']}, {report['samples']} samples")
    columns, rows = cost_report.energy_rows(report)
    if rows:
        table(columns, rows)
    for line in cost_report.lines(report):
        click.echo(line)


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--profile",
    required=True,
    help=f"Figures to price it by: {', '.join(profile_names())}, or a TOML file of your own.",
)
@click.option("--against", type=PATH, help="Another run, of a network of the same shape: compare the additions.")
@json_option
def cost(run: Path, profile: str, against: Path | None, as_json: bool) -> None:
    """Price a stored RUN without running it again."""
    with MESSAGES.status(f"cost {run}"):
        report = stages.cost(run, profile).to_json()
        compared = stages.additions(run, against) if against else None
    if as_json:
        print_json(report | ({"comparison": compared} if compared else {}))
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
        table(columns, rows)
        if not compared["same_samples"]:
            MESSAGES.print(f"note: {run} and {against} are not of the same samples")
        if compared["sops_ratio"]:
            click.echo(f"{against} takes {compared['sops_ratio']:.2f} × the additions of {run}")
