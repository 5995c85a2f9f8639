"""Where the suite runs: the places of this project, and one of your own (docs/conformance.md)."""

from __future__ import annotations

import importlib
import os

from spikegraph.targets.places import PLACES, Place

EMULATOR = "CONFORMANCE_EMULATOR"


def places() -> dict[str, Place]:
    """Return all of `PLACES`; or, where the variable CONFORMANCE_EMULATOR names `module:function`, that one alone."""
    named = os.environ.get(EMULATOR)
    if not named:
        return dict(PLACES)
    module, colon, function = named.partition(":")
    if not colon:
        raise ValueError(f"{EMULATOR}={named} is not module:function")
    return {named: getattr(importlib.import_module(module), function)}
