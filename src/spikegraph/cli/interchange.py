"""Commands for graphs that come from elsewhere or go there: convert, diff."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from spikegraph import stages
from spikegraph.cli.output import PATH, data_dir, json_option, print_json, showing_progress, table, weight_bits
from spikegraph.cli.reports import print_losses, print_quantization
from spikegraph.conversion import CALIBRATION_SAMPLES, Conversion
from spikegraph.export.assumptions import AssumedReset, Assumptions
from spikegraph.export.coding import CodingKind, InputCoding, ReadoutKind
from spikegraph.export.errors import OptionError
from spikegraph.export.formats import FORMATS
from spikegraph.export.nir.conventions import CONVENTIONS

_ASSUMED = ("input_range", "dt", "convention", "reset", "n_steps", "max_value")


def _two_numbers(ctx: click.Context, option: click.Parameter, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        raise OptionError("--input-range", f"{text!r} is not two numbers", "write such as -1,1") from error
    return low, high


def assumptions(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for what a format leaves open."""
    for option in (
        click.option(
            "--input-range",
            metavar="LOW,HIGH",
            callback=_two_numbers,
            help="What 0 and 1 of the data were in training, such as -1,1; for .net files whose input has neurons.",
        ),
        click.option(
            "--max-value",
            type=click.IntRange(min=1),
            help="The largest integer that an input spike carries; 1: binary.",
        ),
        click.option("--n-steps", type=int, help="Length of a sample in steps."),
        click.option("--reset", type=click.Choice(get_args(AssumedReset)), help="What a spike does to the potential."),
        click.option("--convention", help=f"Whose steps of continuous time: {', '.join(CONVENTIONS)} (docs/nir.md)."),
        click.option("--dt", type=float, help="Seconds per step, where the file does not say."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="IN", type=PATH)
@click.argument("out", type=PATH)
@click.option("--chip", help="Quantize for this chip: loihi1, loihi2, generic.")
@weight_bits
@assumptions
@click.option("--calibrate", metavar="DATA", help="Keep the spikes on this data, such as mnist:train.")
@click.option("--samples", type=int, help=f"How many to calibrate on, the first; {CALIBRATION_SAMPLES} unless said.")
@data_dir
@click.option("--coding", type=click.Choice(get_args(CodingKind)), help="How data become input spikes.")
@click.option("--step-us", type=int, default=0, help="With --coding events: length of a step in µs.")
@click.option("--seed", type=int, default=0, help="With --coding rate: fixes the spikes.")
@click.option("--readout", type=click.Choice(get_args(ReadoutKind)), help="How the output becomes a decision.")
@click.option("--strict", is_flag=True, help="Write nothing if a format loses anything; exit 1.")
@json_option
def convert(source: Path, out: Path, coding: Any, step_us: int, seed: int, as_json: bool, **options: Any) -> None:
    """Convert a graph file IN to the format of OUT's suffix, and tell what was lost."""
    assumed = Assumptions(**{name: options.pop(name) for name in _ASSUMED})
    code = None
    if coding is not None:
        code = InputCoding(kind=coding, seed=seed, max_value=assumed.max_value or 1, step_us=step_us)
    for option, given, of in (("--step-us", step_us, "events"), ("--seed", seed, "rate")):
        if given and coding != of:
            raise OptionError(option, f"is of the code {of}", f"add --coding {of}, or leave it out")
    with showing_progress() as progress:
        done = stages.convert(source, out, assumed=assumed, coding=code, progress=progress, **options)
    if as_json:
        print_json(done.to_json())
    else:
        _print_conversion(out, done)
    sys.exit(0 if done.written else 1)


convert.help = f"{convert.help}\n\nFormats: {', '.join(FORMATS)}."


def _print_conversion(out: Path, done: Conversion) -> None:
    print_losses(done.reading)
    if done.quantization is not None:
        click.echo(f"quantized for {done.quantization.chip}")
        print_quantization(done.quantization)
    for line in done.calibration.lines() if done.calibration else ():
        click.echo(line)
    print_losses(done.writing)
    if done.written:
        click.echo(f"{out}: written")
    else:
        click.echo(f"{out}: nothing written, because something is lost (effect not none), and --strict was said")


@click.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@assumptions
@json_option
def diff(a: Path, b: Path, as_json: bool, **options: Any) -> None:
    """Compare two graph files A and B of any format, node by node; exit 1 if they differ."""
    found = stages.diff(a, b, Assumptions(**options))
    if as_json:
        print_json([one.to_json() for one in found])
    elif found:
        rows = [[one.node, one.attribute, "same" if one.same_meaning else "other", one.what] for one in found]
        table(["node", "attribute", "meaning", f"{a}, {b}"], rows, words=4)
    else:
        click.echo(f"{a}, {b}: identical but for their provenance")
    sys.exit(1 if any(not one.same_meaning for one in found) else 0)
