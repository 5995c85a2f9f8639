"""A bit-accurate model of Lava's `Conv`; in a file of its own, because `Conv` takes as long to import as all the rest.

Import after `_compat.make_importable`. `build_lava` copies this file into a folder, beside network.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.model.py.type import LavaPyType
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.conv.process import Conv

from spikegraph.export import fixed

__all__ = ["Conv", "ConvModel"]


class ConvModel(PyConvModelFixed):  # type: ignore[misc]
    """Lava's own model of `Conv`, which has a weight exponent but forgets to apply it."""

    # It has 8 bits, and NumPy 2 refuses to divide 128 channels by a number of so many.
    groups: Any = LavaPyType(np.ndarray, np.int32, precision=32)

    def clamp_precision(self, x: Any) -> Any:
        """Shift the sums by the weight exponent."""
        return super().clamp_precision(fixed.shift(x, int(self.weight_exp[0])))
