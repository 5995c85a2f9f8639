"""What all commands go through: errors become one message and an exit code, and an interrupt ends what is running."""

from __future__ import annotations

import signal
import sys
import weakref
from types import FrameType
from typing import Any

import click

from spikegraph.cli.output import MESSAGES, PROCESS
from spikegraph.export.errors import SpikegraphError

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


def _interrupt(_: int, frame: FrameType | None) -> None:
    """Stop, and ask again until the command has stopped.

    Python drops what is raised while it cleans up after a weak reference, which h5py makes it do after each write:
    there a KeyboardInterrupt would be lost, so it waits for a moment.
    """
    lost = frame is not None and frame.f_code.co_filename == weakref.__file__
    signal.setitimer(signal.ITIMER_REAL, 0.02 if lost else 1)
    if not lost:
        raise KeyboardInterrupt


class Commands(click.Group):
    """Turns an error that the user can mend into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        # A scheduler stops a job with SIGTERM: leave by the way that cleans up, as after Ctrl-C.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
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
            for number, handler in before.items():
                signal.signal(number, handler)
