"""What all commands go through: errors become one message and an exit code, and an interrupt ends what is running."""

from __future__ import annotations

import logging
import signal
import sys
import weakref
from collections.abc import Mapping
from importlib import import_module
from types import FrameType
from typing import Any

import click

from spikegraph.cli.output import MESSAGES, PROCESS
from spikegraph.export.errors import SpikegraphError
from spikegraph.export.log import LOG

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
    "nir": "nir",
}


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Stop, and ask again until the command has stopped.

    Python drops what is raised while it cleans up after a weak reference, which h5py makes it do after each write:
    there a KeyboardInterrupt would be lost, so it waits for a moment.
    """
    lost = frame is not None and frame.f_code.co_filename == weakref.__file__
    signal.setitimer(signal.ITIMER_REAL, 0.02 if lost else 1)
    if not lost:
        raise KeyboardInterrupt


class _Notes(logging.Handler):
    """What the log says, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        MESSAGES.print(f"note: {record.getMessage()}", markup=False)


class Commands(click.Group):
    """Commands, imported when they are called; an error that the user can mend becomes one message, exit code 2.

    Importing takes a second or two. So it happens inside `invoke`, where an interrupt is heard.

    Parameters
    ----------
    modules : mapping of command → module of this package
    """

    def __init__(self, *, modules: Mapping[str, str], **options: Any) -> None:
        super().__init__(**options)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the path."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is no such."""
        if cmd_name not in self._modules:
            return None
        command: click.Command = getattr(import_module(f"spikegraph.cli.{self._modules[cmd_name]}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        # A scheduler stops a job with SIGTERM: leave by the way that cleans up, as after Ctrl-C.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        notes = _Notes()
        LOG.addHandler(notes)
        before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGALRM)}
        try:
            return super().invoke(ctx)
        except SpikegraphError as error:
            process = f" (process {PROCESS})" if PROCESS else ""
            MESSAGES.print(f"spikegraph{process}: {error}", markup=False)
            sys.exit(error.exit_code)
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get(str(error.name).partition(".")[0])
            if extra is None:
                raise
            MESSAGES.print(
                f"spikegraph: {error.name} is not installed; pip install 'spikegraph[{extra}]'", markup=False
            )
            sys.exit(2)
        except KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
            MESSAGES.print("spikegraph: stopped")
            sys.exit(130)
        finally:
            LOG.removeHandler(notes)
            for number, handler in before.items():
                signal.signal(number, handler)
