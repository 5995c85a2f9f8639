"""Integer arithmetic against second formulas, in exact rational arithmetic, and at both ends of every range."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, trunc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spikegraph.export import fixed
from spikegraph.export.fixed import IntegerFormat

HALF = 2**23
states = st.integers(-HALF, HALF)
decays = st.integers(0, 4096)
steady = settings(deadline=None)  # the first example imports torch


def same_everywhere(function, *arguments):
    """Apply to Python integers, NumPy and torch; return the Python result after comparing all three."""
    expected = function(*arguments)
    array = function(*(np.array([a, a], np.int64) for a in arguments))
    assert array.dtype == np.int64
    assert array.tolist() == [expected, expected]
    torch = pytest.importorskip("torch")
    tensor = function(*(torch.tensor([a, a], dtype=torch.int64) for a in arguments))
    assert tensor.dtype == torch.int64
    assert tensor.tolist() == [expected, expected]
    return expected


@steady
@given(y=states, d=decays)
@example(y=HALF, d=0)
@example(y=-HALF, d=0)
@example(y=HALF, d=1)
@example(y=-HALF, d=1)
@example(y=HALF, d=4096)
@example(y=-HALF, d=4096)
@example(y=-1, d=1)
@example(y=1, d=1)
@example(y=0, d=1)
def test_decay_truncates_the_exact_quotient(y: int, d: int) -> None:
    assert same_everywhere(fixed.decay, y, d) == trunc(Fraction(y * (4096 - d), 4096))


def test_decay_of_a_state_and_of_its_negative_are_opposite() -> None:
    y = np.arange(-5000, 5001)
    for d in (0, 1, 2, 127, 128, 2048, 4095, 4096):
        decayed = fixed.decay(y, np.int64(d))
        assert np.array_equal(decayed, -decayed[::-1])
        assert np.array_equal(decayed, np.sign(y) * ((np.abs(y) * (4096 - d)) >> 12))  # the formula of the page


def test_decay_takes_a_constant_for_each_neuron() -> None:
    y, d = np.array([-64, -64, 64, 64]), np.array([0, 1, 1, 4096])
    assert fixed.decay(y, d).tolist() == [-64, -63, 63, 0]


@steady
@given(y=st.integers(-(2**40), 2**40), exponent=st.integers(-8, 7))
@example(y=-1, exponent=-8)
@example(y=-(2**40), exponent=7)
@example(y=2**40, exponent=-8)
def test_shift_floors_the_exact_product(y: int, exponent: int) -> None:
    expected = floor(Fraction(y) * Fraction(2) ** exponent)
    assert same_everywhere(lambda value: fixed.shift(value, exponent), y) == expected


@steady
@given(y=st.integers(-(2**60), 2**60))
@example(y=HALF)
@example(y=HALF + 1)
@example(y=-HALF)
@example(y=-HALF + 1)
@example(y=-HALF - 1)
@example(y=3 * HALF)
@example(y=3 * HALF + 1)
@example(y=-3 * HALF)
@example(y=0)
def test_wrap24_is_congruent_and_inside(y: int) -> None:
    wrapped = same_everywhere(fixed.wrap24, y)
    assert -HALF < wrapped <= HALF
    assert wrapped == y - 2**24 * ceil(Fraction(y - HALF, 2**24))


def test_wrap24_by_repeated_addition() -> None:
    for y in [*range(-3 * 2**24, 3 * 2**24, 999983), HALF, -HALF, 3 * HALF, -3 * HALF, 5 * HALF, -5 * HALF]:
        slow = y
        while slow > HALF:
            slow -= 2**24
        while slow <= -HALF:
            slow += 2**24
        assert fixed.wrap24(y) == slow


@steady
@given(y=st.integers(-(2**40), 2**40))
@example(y=HALF)
@example(y=HALF - 1)
@example(y=HALF - 2)
@example(y=-HALF)
@example(y=-HALF + 1)
@example(y=-HALF + 2)
def test_saturate24_clips_symmetrically(y: int) -> None:
    assert same_everywhere(fixed.saturate24, y) == sorted([1 - HALF, y, HALF - 1])[1]


formats = st.builds(
    lambda low, width, step: IntegerFormat(minimum=low * step, maximum=(low + width) * step, step=step),
    st.integers(-300, 300),
    st.integers(0, 600),
    st.integers(1, 4),
)


@steady
@given(limit=formats, halves=st.integers(-5000, 5000))
def test_round_goes_to_the_nearest_and_half_to_even(limit: IntegerFormat, halves: int) -> None:
    y = halves / 4  # quarters: exact in float, and full of ties
    exact = round(Fraction(halves, 4) / limit.step)  # Python rounds fractions half to even
    expected = sorted([limit.minimum, exact * limit.step, limit.maximum])[1]
    torch = pytest.importorskip("torch")
    assert limit.round(np.array([y])).tolist() == [expected]
    assert limit.round(np.array([y], np.float32)).tolist() == [expected]
    assert limit.round(torch.tensor([y])).tolist() == [expected]
    assert limit.holds(expected)
    assert limit.round(np.array([y])).dtype == np.float64


def test_round_half_to_even_and_at_the_ends() -> None:
    bits8 = IntegerFormat(minimum=-128, maximum=127)
    y = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 127.4, 127.6, 1e9, -128.5, -1e9, np.inf, -np.inf])
    assert bits8.round(y).tolist() == [0, 2, 2, 0, -2, -2, 127, 127, 127, -128, -128, 127, -128]
    even = IntegerFormat(minimum=-256, maximum=254, step=2)
    assert even.round(np.array([1.0, 3.0, 5.0, -1.0, -3.0, 255.0, 300.0, -257.0])).tolist() == [
        0,
        4,
        4,
        0,
        -4,
        254,
        254,
        -256,
    ]


odd_formats = st.builds(
    lambda low, width, step, offset: IntegerFormat(
        minimum=low * step + offset, maximum=(low + width) * step + offset, step=step, offset=offset
    ),
    st.integers(-300, 300),
    st.integers(0, 600),
    st.integers(2, 5),
    st.integers(1, 4),
)


@steady
@given(limit=odd_formats, quarters=st.integers(-5000, 5000))
@example(limit=IntegerFormat(minimum=-1, maximum=1, step=2, offset=1), quarters=0)
def test_round_with_an_offset_goes_to_the_nearest_and_half_up(limit: IntegerFormat, quarters: int) -> None:
    y, held = quarters / 4, range(limit.minimum, limit.maximum + 1, limit.step)
    expected = min(held, key=lambda n: (abs(Fraction(quarters, 4) - n), -n))
    torch = pytest.importorskip("torch")
    assert limit.round(np.array([y])).tolist() == [expected]
    assert limit.round(np.array([y], np.float32)).tolist() == [expected]
    assert limit.round(torch.tensor([y])).tolist() == [expected]
    assert same_holds(limit, expected)
    assert [n for n in range(limit.minimum - 9, limit.maximum + 9) if limit.holds(n)] == list(held)
    assert limit.round(np.array([y], np.float32)).dtype == np.float32


def test_a_binary_weight_is_the_sign() -> None:
    sign = IntegerFormat(minimum=-1, maximum=1, step=2, offset=1)
    y = np.array([-3e38, -1.5, -1, -1e-38, -0.0, 0.0, 1e-38, 1, 1.5, 3e38], np.float32)
    assert sign.round(y).tolist() == [-1, -1, -1, -1, 1, 1, 1, 1, 1, 1]
    assert sign.holds(np.array([-128, -3, -2, -1, 0, 1, 2, 3, 127], np.int8)).tolist() == [
        *(False, False, False, True, False, True, False, False, False)
    ]


@steady
@given(limit=formats, y=st.integers(-1500, 2800))
def test_holds_is_membership(limit: IntegerFormat, y: int) -> None:
    assert bool(same_holds(limit, y)) == (y in range(limit.minimum, limit.maximum + 1, limit.step))


def same_holds(limit: IntegerFormat, y: int) -> bool:
    torch = pytest.importorskip("torch")
    expected = bool(limit.holds(y))
    assert limit.holds(np.array([y])).tolist() == [expected]
    assert limit.holds(torch.tensor([y])).tolist() == [expected]
    return expected


@steady
@given(limit=formats)
def test_largest_is_representable_with_either_sign(limit: IntegerFormat) -> None:
    if limit.minimum < 0 <= limit.maximum:
        assert limit.holds(limit.largest)
        assert limit.holds(-limit.largest)
        assert not (limit.holds(limit.largest + limit.step) and limit.holds(-limit.largest - limit.step))
    elif limit.minimum >= 0:
        assert limit.largest == limit.maximum


def test_formats_say_what_they_hold() -> None:
    assert str(IntegerFormat(minimum=-256, maximum=254, step=2)) == "-256…254, multiples of 2"
    assert str(fixed.THRESHOLD_MANT) == "1…131071"
    assert str(IntegerFormat(minimum=-1, maximum=1, step=2, offset=1)) == "-1 and 1"
    assert str(IntegerFormat(minimum=-3, maximum=3, step=2, offset=1)) == "-3…3, multiples of 2 plus 1"


@pytest.mark.parametrize(
    ("limit", "low", "high"),
    [
        (fixed.DECAY_U, 1, 4096),
        (fixed.DECAY_V, 0, 4096),
        (fixed.THRESHOLD_MANT, 1, 2**17 - 1),
        (fixed.BIAS_MANT, -4096, 4095),
        (fixed.BIAS_EXP, 0, 7),
        (fixed.WEIGHT, -32768, 32767),
        (fixed.WEIGHT_EXP, -8, 7),
        (fixed.DELAY_STEPS, 0, 1023),
        (fixed.REFRACTORY_STEPS, 1, 2**20),
        (fixed.MAX_SPIKES, 0, 2**20),
        (fixed.N_STEPS, 1, 2**20),
        (fixed.INPUT_VALUE, -32768, 32767),
    ],
)
def test_limits_of_the_page(limit: IntegerFormat, low: int, high: int) -> None:
    """The table in docs/semantics.md."""
    assert (limit.minimum, limit.maximum, limit.step) == (low, high, 1)
    assert limit.holds(low)
    assert limit.holds(high)
    assert not limit.holds(low - 1)
    assert not limit.holds(high + 1)


@pytest.mark.parametrize(
    "limit",
    [
        IntegerFormat(minimum=-256, maximum=254, step=2),
        IntegerFormat(minimum=-3, maximum=3, step=2, offset=1),
        IntegerFormat(minimum=-9, maximum=9, step=3),
        IntegerFormat(minimum=-128, maximum=127),
    ],
)
def test_holds_all_is_holds_of_each(limit: IntegerFormat) -> None:
    for first in range(-300, 300):
        for array in (np.array([first]), np.array([first, limit.maximum], np.int16), np.array(first, np.int64)):
            assert limit.holds_all(array) == bool(np.all(limit.holds(array)))
    assert limit.holds_all(np.zeros(0, np.int8))
