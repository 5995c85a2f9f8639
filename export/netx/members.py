"""What a `.net` file holds, member by member: each is what it should be, or is refused by its name."""

from __future__ import annotations

from collections.abc import Mapping, Set
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import FileFormatError
from spikegraph.export.graph import integer_array

MAX_NEURONS = 1 << 26  # of a layer, some sixty times those of the largest chip
_MAX_DIMENSION = 1 << 31
_EXPORT_AGAIN = "export the network again with lava-dl"


class Members:
    """The members of one group; `where` is what messages call it, such as "net.net: layer/3"."""

    def __init__(self, tree: Mapping[str, Any], where: str) -> None:
        self.tree, self.where = tree, where

    def __contains__(self, name: str) -> bool:
        return name in self.tree

    def refusal(self, name: str, what: str, remedy: str = _EXPORT_AGAIN) -> FileFormatError:
        """Return the error that refuses a member."""
        return FileFormatError(f"{self.where}/{name}", what, remedy)

    def group(self, name: str) -> Members:
        """Return a group below; raises `FileFormatError` if there is none."""
        value = self._value(name)
        if not isinstance(value, dict):
            raise self.refusal(name, "is no group")
        return Members(value, f"{self.where}/{name}")

    def text(self, name: str) -> str:
        """Return a text, which may be the only element of an array."""
        value = self._value(name)
        if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
            value = value.ravel()[0]
        if not isinstance(value, str):
            raise self.refusal(name, "is no text")
        return value

    def integers(self, name: str) -> Array:
        """Return whole numbers of any shape in the narrowest type that holds them, however the file stores them."""
        value = self._value(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            found = "a group" if isinstance(value, dict) else "text"
            raise self.refusal(name, f"is {found}, expected numbers")
        if not value.size:
            raise self.refusal(name, f"is empty (shape {value.shape})")
        return integer_array(value.astype(np.int8) if value.dtype.kind == "b" else value, f"{self.where}/{name}")

    def integer(self, name: str, default: int | None = None) -> int:
        """Return one whole number, which may be the only element of an array."""
        if default is not None and name not in self:
            return default
        value = self.integers(name)
        if value.size != 1:
            raise self.refusal(name, f"has shape {value.shape}, expected one number")
        return int(value.ravel()[0])

    def pair(self, name: str, default: int, least: int) -> tuple[int, int]:
        """Return (height, width); one number stands for both."""
        if name not in self:
            return default, default
        value = self.integers(name).ravel()
        if value.size not in (1, 2) or not ((value >= least) & (value < _MAX_DIMENSION)).all():
            raise self.refusal(name, f"is {value[:8].tolist()}, expected one or two numbers of at least {least}")
        return int(value[0]), int(value[-1])

    def shape(self) -> Shape:
        """Return the layer's shape: (n,), (h, w) or (c, h, w)."""
        value = self.integers("shape").ravel()
        if value.size > 3 or not ((value >= 1) & (value <= MAX_NEURONS)).all():
            raise self.refusal("shape", f"is {value[:8].tolist()}, expected (n,), (h, w) or (c, h, w), each at least 1")
        shape = tuple(int(n) for n in value)
        if prod(shape) > MAX_NEURONS:
            raise self.refusal("shape", f"makes {prod(shape)} neurons, the limit is {MAX_NEURONS}")
        return shape

    def others(self, known: Set[str]) -> list[str]:
        """Names of members that nobody asks for."""
        return sorted(set(self.tree) - known)

    def _value(self, name: str) -> Any:
        if name not in self.tree:
            raise self.refusal(name, "is missing")
        return self.tree[name]
