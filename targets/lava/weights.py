"""Which weights Lava's `Dense` takes as they are, and the exact rewrites that bring others among them.

`clip_weights` and `truncate_weights` of lava-nc 0.10.0 change what does not fit a matrix's sign mode, in silence. A
matrix of one sign holds magnitudes 0…255; a mixed one has a bit less for the magnitude: even numbers -256…254.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.fixed import IntegerFormat

SIGN_MODES = {
    "EXCITATORY": IntegerFormat(minimum=0, maximum=255),
    "INHIBITORY": IntegerFormat(minimum=-255, maximum=0),
    "MIXED": IntegerFormat(minimum=-256, maximum=254, step=2),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedWeight:
    """A weight matrix that Lava leaves unchanged.

    Parameters
    ----------
    weight : ndarray of int32 (out, in)
    weight_exp : int
    sign_mode : str
        A name of lava's `SignMode`.
    rewrite : str
        What was done to the matrix, "" if nothing.
    """

    weight: Array
    weight_exp: int
    sign_mode: str
    rewrite: str = ""


def fitted(weight: Array, weight_exp: int) -> FittedWeight | None:
    """Bring a matrix into a sign mode of Lava without changing what it computes; None if there is no way.

    The sum y of a projection becomes `shift(y, weight_exp)`. Doubling every weight and lowering the exponent by one, or
    halving even weights and raising it by one, leaves that number as it is at any exponent, rounding included: 2y is
    shifted right by one more, and nothing but a zero is shifted out.
    """
    weight = weight.astype(np.int32)
    for halvings in (0, *range(1, 9), -1):
        # Python's shifts floor, so that weights with a bit to lose do not come back.
        scaled = weight >> halvings if halvings >= 0 else weight << -halvings
        if halvings > 0 and not np.array_equal(scaled << halvings, weight):
            continue
        for sign_mode, holds in SIGN_MODES.items():
            if holds.holds(scaled).all():
                exponent = weight_exp + halvings
                rewrite = ""
                if halvings:
                    times = "doubled" if halvings < 0 else f"divided by {1 << halvings}"
                    rewrite = f"weights {times}, weight_exp {weight_exp} → {exponent} (exact)"
                return FittedWeight(weight=scaled, weight_exp=exponent, sign_mode=sign_mode, rewrite=rewrite)
    return None
