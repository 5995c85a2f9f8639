"""The compiled parts of training. Where one was not built, torch stands in, slower, and a warning says so."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Sequence
from importlib import import_module


def load(
    module: str, layout: type[ctypes.Structure], size: str, *, returns: Sequence[str] = (), without: str
) -> ctypes.CDLL | None:
    """Load a compiled part; None, with a warning, where there is none or one of another version.

    Parameters
    ----------
    module : str
        Name of the extension module.
    layout : type of ctypes.Structure
        The structure that is handed to it.
    size : str
        Its function that returns the size of that structure.
    returns : sequence of str
        Its other functions that return an int64.
    without : str
        What the warning says first: what is slower, and what is missing.
    """
    remedy = "install a C compiler, then `pip install --force-reinstall --no-deps` this package again"
    try:
        path = import_module(module).__file__
        compiled = ctypes.CDLL(str(path))
        for name in (size, *returns):
            getattr(compiled, name).restype = ctypes.c_int64
        if getattr(compiled, size)() == ctypes.sizeof(layout):
            return compiled
        reason = f"{path} is from another version"
    except (ImportError, AttributeError) as error:
        reason = str(error)
    warnings.warn(f"{without} is missing ({reason}); {remedy}", RuntimeWarning, stacklevel=3)
    return None
