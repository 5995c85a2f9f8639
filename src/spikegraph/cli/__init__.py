"""The command line: one command a stage. Exit code 0, or 1 where the answer is no, or 2 for bad input."""

from __future__ import annotations

import click

from spikegraph import __version__
from spikegraph.cli.group import Commands

COMMANDS = {  # and the modules that they are in
    "train": "training",
    "sweep": "training",
    "export": "graphs",
    "join": "graphs",
    "convert": "interchange",
    "diff": "interchange",
    "inspect": "graphs",
    "check": "graphs",
    "simulate": "runs",
    "cost": "runs",
    "build": "elsewhere",
    "encode": "elsewhere",
    "verify": "elsewhere",
    "demo": "tour",
}


@click.group(cls=Commands, modules=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spikegraph")
def main() -> None:
    """Take a spiking network from PyTorch to neuromorphic hardware and prove that nothing changed on the way."""
