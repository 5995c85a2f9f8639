"""A batch of CIFAR-10's python form, read out of its pickle without calling anything that the pickle names.

A pickle is a program: it says which functions to import and what to call them with. Comparing the file's MD5 with the
published one would do for the authors' own files, but would refuse the same pictures pickled again, and leave a plain
unpickler one oversight away from a hostile file. So the four names that such a batch needs stand for lists of what they
would have been called with, any other name ends the reading, and what is then looked for is plain: bytes and numbers.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError

_MOST_MEMO = 1 << 20  # an unpickler makes room for the largest number that it meets
_MOST_TUPLES = 1000  # one within the other, and used as a key, they would exhaust the stack


class _Inert:
    """What a pickle asked for, and with what; nothing is done about it."""

    def __init__(self, *asked: object) -> None:
        self.asked = asked
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Encoded(_Inert):
    """Python 3 writes bytes as text and how to encode it."""


_NAMES: dict[tuple[str, str], type[_Inert]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Inert,
    ("numpy._core.multiarray", "_reconstruct"): _Inert,
    ("numpy", "ndarray"): _Inert,
    ("numpy", "dtype"): _Inert,
    ("_codecs", "encode"): _Encoded,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Inert]:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which CIFAR-10 does not need")
        return _NAMES[module, name]


def read_batch(content: bytes, where: str, n_pixels: int) -> bytes:
    """Read a pickled dict with "data", uint8 (n, n_pixels), and "labels", and return it as records of the binary form.

    Parameters
    ----------
    content : bytes
        The file.
    where : str
        Its name, for messages.
    n_pixels : int
        Bytes of a picture.

    Raises
    ------
    DataError
        It is no such pickle, or asks for anything else.
    """
    try:
        _require_modest(content)
        # What Python 2 called text is bytes: latin1 keeps each as it is.
        batch = _Reader(io.BytesIO(content), encoding="latin1").load()
        data, labels = _array(batch["data"], n_pixels), batch["labels"]
        if not isinstance(labels, list) or len(labels) != len(data):
            raise ValueError(f"it has no list of {len(data)} labels")
        if not all(type(label) is int and 0 <= label < 10 for label in labels):
            raise ValueError("it has labels that are not 0…9")
    except Exception as error:
        # Whatever it is that a spoilt file runs into: an unpickler can end in nearly any exception.
        what = f"is no batch of CIFAR-10's python form ({type(error).__name__}: {' '.join(str(error).split())})"
        raise DataError(where, what, "fetch the file again, or the binary form") from error
    return np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1).tobytes()


def _require_modest(content: bytes) -> None:
    """Walk over the pickle's instructions, without following them: those that could take memory or stack are few."""
    n_tuples = 0
    for opcode, argument, _ in pickletools.genops(content):
        n_tuples += "TUPLE" in opcode.name or "FROZENSET" in opcode.name
        if n_tuples > _MOST_TUPLES or ("PUT" in opcode.name and int(argument or 0) > _MOST_MEMO):
            raise pickle.UnpicklingError(f"it has {opcode.name} {argument or n_tuples}, beyond what CIFAR-10 needs")


def _array(asked: object, n_pixels: int) -> Array:
    """Make the array that was asked for: of bytes, (n, n_pixels), in C or Fortran order."""
    if not isinstance(asked, _Inert) or not isinstance(asked.state, tuple):
        raise ValueError("its data are no array")
    _, shape, dtype, is_fortran, raw = asked.state
    if isinstance(raw, _Encoded):
        raw = raw.asked[0]
    if isinstance(raw, str):
        raw = raw.encode("latin1")
    expected = (len(raw) // n_pixels, n_pixels)
    if dtype.asked[0] not in ("u1", "|u1") or len(raw) % n_pixels or shape != expected:
        raise ValueError(f"its data are {dtype.asked[0]} {shape}, expected bytes (n, {n_pixels})")
    return np.frombuffer(raw, np.uint8).reshape(expected, order="F" if is_fortran is True else "C")
