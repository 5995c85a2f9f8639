"""Memory that a training step frees is kept for the next step."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let the C library keep what this process frees, from now on; return whether it could be told (glibc only).

    By default it hands large blocks back to the system, which then clears every page of the next step's tensors anew:
    a fifth of a training step of a convolutional network (docs/performance.md). The process keeps its peak of memory
    until it ends, so this is a decision of the program that trains, not of a library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))
