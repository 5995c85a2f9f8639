"""The command line: one command a stage. Exit code 0, or 1 where the answer is no, or 2 for bad input."""

from __future__ import annotations

import click

from spikegraph import __version__
from spikegraph.cli.elsewhere import build, encode, verify
from spikegraph.cli.graphs import check, export, inspect, join
from spikegraph.cli.group import Commands
from spikegraph.cli.runs import cost, simulate
from spikegraph.cli.tour import demo
from spikegraph.cli.training import sweep, train


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spikegraph")
def main() -> None:
    """Take a spiking network from PyTorch to neuromorphic hardware and prove that nothing changed on the way."""


for command in (train, sweep, export, join, inspect, check, simulate, cost, build, encode, verify, demo):
    main.add_command(command)
