"""Integer arithmetic of the chip: decay, shift, wrap, saturate, and the integer formats.

This is the only place in Python where these rules exist. Each function takes Python integers, NumPy integer arrays and
torch integer tensors alike (int64, so that the products of the decay fit): the reference engine and the
quantization-aware training run this very code. docs/semantics.md is the law behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

STATE_BITS = 24
STATE_HALF = 1 << (STATE_BITS - 1)  # 2^23
STATE_MAX = STATE_HALF - 1  # saturation end of v
DECAY_BITS = 12
DECAY_ONE = 1 << DECAY_BITS  # 4096: forgets everything in one step
ALIGN_BITS = 6  # x and the threshold mantissa are shifted left by this


def decay(y: Any, d: Any) -> Any:
    """Multiply by (4096 - d) / 4096 and round toward zero.

    Parameters
    ----------
    y : int, ndarray or Tensor of int64
        State, |y| <= 2^23.
    d : int, ndarray or Tensor of int64
        Decay constant in units of 1/4096, 0…4096.

    Notes
    -----
    An arithmetic shift floors; adding 4095 to negative products first turns that into rounding toward zero.
    """
    product = y * (DECAY_ONE - d)
    return (product + (product < 0) * (DECAY_ONE - 1)) >> DECAY_BITS


def shift(y: Any, exponent: int) -> Any:
    """Return y · 2^exponent; a negative exponent floors (arithmetic shift right)."""
    return y << exponent if exponent >= 0 else y >> -exponent


def wrap24(y: Any) -> Any:
    """Bring y into (-2^23, 2^23] by adding or subtracting multiples of 2^24."""
    return STATE_HALF - ((STATE_HALF - y) & ((1 << STATE_BITS) - 1))


def saturate24(y: Any) -> Any:
    """Clip y to ±(2^23 - 1)."""
    return y.clip(-STATE_MAX, STATE_MAX) if hasattr(y, "clip") else max(-STATE_MAX, min(y, STATE_MAX))


@dataclass(frozen=True, kw_only=True)
class IntegerFormat:
    """The numbers `offset` + k · `step` from `minimum` to `maximum`: what a field of a chip can hold.

    With offset 0 the multiples of `step`; with step 2 and offset 1 the odd numbers, such as the two of a binary weight.
    Both ends are such numbers.
    """

    minimum: int
    maximum: int
    step: int = 1
    offset: int = 0

    @property
    def largest(self) -> int:
        """The largest magnitude that is representable with either sign (the smaller end)."""
        return min(self.maximum, -self.minimum) if self.minimum < 0 else self.maximum

    def round(self, y: Any) -> Any:
        """Return the nearest representable value, clipped; float array or tensor in and out.

        Halves go to the even multiple of `step`, and with an offset up: 0 becomes the 1 of -1 and 1.
        """
        if self.offset:
            half_up = self.step / 2 - self.offset  # 0 where it can be: what is just below 0 must not be rounded to it
            return (y.clip(self.minimum, self.maximum) + half_up) // self.step * self.step + self.offset
        return (y / self.step).round().clip(-(-self.minimum // self.step), self.maximum // self.step) * self.step

    def holds(self, y: Any) -> Any:
        """Tell element by element whether the integers `y` are representable."""
        return (y >= self.minimum) & (y <= self.maximum) & (y % self.step == self.offset % self.step)

    def holds_all(self, y: Any) -> bool:
        """Tell whether every element of an array of integers is representable, without a list of which are."""
        if y.size and not (self.minimum <= y.min() and y.max() <= self.maximum):
            return False
        mask = self.step - 1
        if self.step & mask:
            return bool((y % self.step == self.offset % self.step).all())
        return mask == 0 or not ((y - self.offset if self.offset else y) & mask).any()

    def __str__(self) -> str:
        if self.maximum - self.minimum == self.step > 1:
            return f"{self.minimum} and {self.maximum}"
        beyond = f" plus {self.offset}" if self.offset else ""
        every = f", multiples of {self.step}{beyond}" if self.step > 1 else ""
        return f"{self.minimum}…{self.maximum}{every}"


DECAY_U = IntegerFormat(minimum=1, maximum=DECAY_ONE)
DECAY_V = IntegerFormat(minimum=0, maximum=DECAY_ONE)
THRESHOLD_MANT = IntegerFormat(minimum=1, maximum=(1 << 17) - 1)
BIAS_MANT = IntegerFormat(minimum=-(1 << 12), maximum=(1 << 12) - 1)
BIAS_EXP = IntegerFormat(minimum=0, maximum=7)
WEIGHT = IntegerFormat(minimum=-(1 << 15), maximum=(1 << 15) - 1)
WEIGHT_EXP = IntegerFormat(minimum=-8, maximum=7)
DELAY_STEPS = IntegerFormat(minimum=0, maximum=1023)
REFRACTORY_STEPS = IntegerFormat(minimum=1, maximum=(1 << 20))
MAX_SPIKES = IntegerFormat(minimum=0, maximum=(1 << 20))
N_STEPS = IntegerFormat(minimum=1, maximum=(1 << 20))
INPUT_VALUE = IntegerFormat(minimum=-(1 << 15), maximum=(1 << 15) - 1)
