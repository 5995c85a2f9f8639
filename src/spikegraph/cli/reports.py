"""Reports that several commands print: what a file format lost, what quantization changed."""

from __future__ import annotations

import click

from spikegraph.cli.output import table
from spikegraph.export.loss import LossReport
from spikegraph.export.quantize import QuantizationReport


def print_losses(report: LossReport) -> None:
    """Print what was assumed, and attribute by attribute what was lost."""
    for fact in report.facts:
        click.echo(f"{report.step}: {fact}")
    if report.losses:
        rows = [[loss.node, loss.attribute, loss.effect, loss.what] for loss in report.losses]
        table([report.step, "attribute", "effect on spikes", "what became of it"], rows, words=4)
    else:
        click.echo(f"{report.step}: nothing lost")


def print_quantization(report: QuantizationReport) -> None:
    """Print the errors of every projection and population."""
    table(
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
    table(
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
