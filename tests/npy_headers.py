"""Headers of .npy files that NumPy stumbles over, each in another way."""

from __future__ import annotations

import io

import numpy as np

SPOILT = (
    "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3)",  # a tokenizer's error
    "{1: 2, 'a': 3}",
    "{'descr': '''",
    "(((((",
    " \t 1\n  2",  # an error of indentation
    "0x",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 3)}",
    f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({1 << 70},)}}",
    f"{{'descr': '<U{1 << 40}', 'fortran_order': False, 'shape': (4,)}}",
    "{'descr': [('a', '<f4')] * 9, 'fortran_order': False, 'shape': (1,)}",
)


def with_header(header: str) -> bytes:
    """Return an .npy file of this header, and a few numbers."""
    line = header.encode()
    line += b" " * (63 - (10 + len(line)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(48)


def as_npy(array: np.ndarray) -> bytes:
    """Return an array as an .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
