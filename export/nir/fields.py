"""The fields of each type of NIR node, and how each is checked: numbers that are finite, shapes that are not absurd."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import FileFormatError

WRITE_AGAIN = "write the file again with the nir package"
_MOST_NEURONS = 1 << 24  # of a shape that is only declared


def _array(value: Any, where: str) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        what = "is text" if isinstance(value, str | np.ndarray) else "is no array"
        raise FileFormatError(where, f"{what}, expected numbers", WRITE_AGAIN)
    return value


def _numbers(value: Any, where: str, *, infinite: bool = False) -> Array:
    array = _array(value, where)
    array = array.astype(np.float32 if array.dtype in (np.float32, np.float16) else np.float64, copy=False)
    bad = np.isnan(array) if infinite else ~np.isfinite(array)
    if bad.any():
        what = f"holds {array[bad].ravel()[0]} ({int(bad.sum())} of {array.size} numbers)"
        raise FileFormatError(where, what, "look at the training run that made it")
    if array.size == 0:
        raise FileFormatError(where, f"is empty (shape {array.shape})", WRITE_AGAIN)
    array.flags.writeable = False  # so that those who hold it need not copy it
    return array


def _times(value: Any, where: str) -> Array:
    array = _numbers(value, where, infinite=True)
    if (array < 0).any():
        raise FileFormatError(where, f"holds the time {array.min()}", "give times of at least 0")
    return array


def _infinite(value: Any, where: str) -> Array:
    """Return time constants, or what they are divided by: both are infinite where nothing leaks."""
    return _numbers(value, where, infinite=True)


def _integers(value: Any, where: str, lowest: int) -> Shape:
    array = _array(value, where)
    if array.ndim > 1 or not np.isfinite(array).all() or (array != np.rint(array)).any():
        raise FileFormatError(where, f"holds {array.ravel()[:4].tolist()}, expected integers", WRITE_AGAIN)
    if array.size > 8 or (abs(array.astype(np.float64)) > 2**31).any() or (array < lowest).any():
        what = f"holds {array.ravel()[:4].tolist()}, expected integers of at least {lowest}"
        raise FileFormatError(where, what, WRITE_AGAIN)
    return tuple(int(n) for n in array.ravel().tolist())


def _shape(value: Any, where: str) -> Shape:
    shape = _integers(value, where, 1)
    require_declared(shape, where)
    return shape


def require_declared(shape: Shape, where: str) -> None:
    """Refuse a shape that is only declared, and would take more memory than anything that was stored."""
    if prod(shape) > _MOST_NEURONS:
        what = f"declares the shape {shape}, of {prod(shape)} neurons; the limit is {_MOST_NEURONS}"
        raise FileFormatError(where, what, "give a network that a chip could hold")


def _pair(lowest: int) -> Callable[[Any, str], Shape]:
    def pair(value: Any, where: str) -> Shape:
        found = _integers(value, where, lowest)
        if len(found) not in (1, 2):
            raise FileFormatError(where, f"holds {len(found)} numbers, expected one or two", WRITE_AGAIN)
        return found if len(found) == 2 else found * 2

    return pair


def _padding(value: Any, where: str) -> Shape | str:
    if isinstance(value, str):
        if value not in ("same", "valid"):
            raise FileFormatError(where, f"is {value!r}", 'use "same", "valid" or numbers')
        return value
    return _pair(0)(value, where)


def _integer(lowest: int) -> Callable[[Any, str], int]:
    def integer(value: Any, where: str) -> int:
        found = _integers(value, where, lowest)
        if len(found) != 1:
            raise FileFormatError(where, f"holds {len(found)} numbers, expected one", WRITE_AGAIN)
        return found[0]

    return integer


_Parse = Callable[[Any, str], Any]
_CONV: dict[str, _Parse] = {
    "weight": _numbers,
    "bias": _numbers,
    "stride": _pair(1),
    "padding": _padding,
    "dilation": _pair(1),
    "groups": _integer(1),
    "input_shape": _shape,
}
_POOL: dict[str, _Parse] = {"kernel_size": _pair(1), "stride": _pair(1), "padding": _pair(0)}
_CURRENT: dict[str, _Parse] = {
    "tau_syn": _infinite,
    "tau_mem": _infinite,
    "r": _infinite,
    "v_leak": _numbers,
    "w_in": _numbers,
}
_FIRING: dict[str, _Parse] = {"v_threshold": _numbers, "v_reset": _numbers}
FIELDS: dict[str, dict[str, _Parse]] = {
    "Input": {"shape": _shape},
    "Output": {"shape": _shape},
    "Identity": {},
    "Affine": {"weight": _numbers, "bias": _numbers},
    "Linear": {"weight": _numbers},
    "Scale": {"scale": _numbers},
    "Conv1d": _CONV,
    "Conv2d": _CONV,
    "SumPool2d": _POOL,
    "AvgPool2d": _POOL,
    "Flatten": {"start_dim": _integer(-8), "end_dim": _integer(-8), "input_type": _shape},
    "Delay": {"delay": _times},
    "Threshold": {"threshold": _numbers},
    "I": {"r": _infinite},
    "LI": {"tau": _infinite, "r": _infinite, "v_leak": _numbers},
    "IF": {"r": _infinite, **_FIRING},
    "LIF": {"tau": _infinite, "r": _infinite, "v_leak": _numbers, **_FIRING},
    "CubaLI": _CURRENT,
    "CubaLIF": {**_CURRENT, **_FIRING},
}
