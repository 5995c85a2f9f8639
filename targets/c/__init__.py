"""Spike graphs as portable C99, and the machine's C compiler as a place to run them in."""

from spikegraph.targets.c.folder import build_c
from spikegraph.targets.c.limits import CRefusalError
from spikegraph.targets.c.run import run_c

__all__ = ["CRefusalError", "build_c", "run_c"]
