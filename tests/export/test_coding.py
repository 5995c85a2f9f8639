"""Codes and decisions: reproducible bits from a second generator, rates, and every way to be undecided."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.errors import OptionError

MASK = 2**64 - 1


def philox_4x64_10(key: tuple[int, int], counter: int) -> list[int]:
    """Return four words, as in Salmon et al., SC 2011: written from the paper, in Python integers."""
    c = [counter & MASK, counter >> 64, 0, 0]
    k = list(key)
    for _ in range(10):
        low, high = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [(high >> 64) ^ c[1] ^ k[0], high & MASK, (low >> 64) ^ c[3] ^ k[1], low & MASK]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def rate_by_hand(x: np.ndarray, index: int, n_steps: int, seed: int) -> np.ndarray:
    pieces: list[int] = []
    counter = 1
    while len(pieces) < n_steps * x.size:
        for word in philox_4x64_10((seed, index), counter):
            pieces += [word >> 16 * i & 0xFFFF for i in range(4)]
        counter += 1
    chances = [round(float(value) * 65536) for value in x.ravel()]
    spikes = [[int(pieces[t * x.size + i] < chance) for i, chance in enumerate(chances)] for t in range(n_steps)]
    return np.array(spikes).reshape(n_steps, *x.shape)


def encode(kind: str, x: object, n_steps: int, index: object = None, **options: int) -> np.ndarray:
    x = np.asarray(x, np.float32)
    return InputCoding(kind=kind, **options).encode(x, np.arange(len(x)) if index is None else index, n_steps)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, MASK),
    index=st.integers(0, 2**63 - 1),
    shape=st.sampled_from([(1,), (3,), (1, 2, 2)]),
    n_steps=st.integers(1, 5),
)
def test_rate_draws_the_bits_of_philox(seed: int, index: int, shape: tuple[int, ...], n_steps: int) -> None:
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    got = encode("rate", x[None], n_steps, [index], seed=seed)
    assert got.dtype == np.uint8
    assert np.array_equal(got[:, 0], rate_by_hand(x, index, n_steps, seed))


def test_golden_bits() -> None:
    """Must never change: stored results depend on them."""
    half = np.full((2, 3), 0.5)
    assert encode("rate", half, 4, [0, 5], seed=7).reshape(4, -1).tolist() == [
        [0, 1, 1, 0, 1, 1],
        [0, 1, 0, 1, 0, 1],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 1, 1, 1],
    ]
    assert encode("rate", half, 2, [0, 5], seed=MASK).reshape(2, -1).tolist() == [
        [1, 0, 1, 1, 1, 0],
        [1, 1, 0, 1, 1, 1],
    ]


def test_large_seeds_are_not_rounded() -> None:
    """2^63 and 2^63 + 1 are one number in float64."""
    x = np.full((1, 200), 0.5)
    runs = [encode("rate", x, 2, seed=seed) for seed in (2**63, 2**63 + 1, MASK, MASK - 1)]
    for i, first in enumerate(runs):
        for second in runs[i + 1 :]:
            assert not np.array_equal(first, second)


def test_rate_depends_on_the_sample_alone() -> None:
    x = np.random.default_rng(1).random((6, 2, 3, 3)).astype(np.float32)
    index = np.array([40, 3, 7, 1000000, 5, 8])
    together = encode("rate", x, 9, index, seed=3)
    order = [4, 2, 0, 5, 1, 3]
    assert np.array_equal(encode("rate", x[order], 9, index[order], seed=3), together[:, order])
    for b in range(6):
        assert np.array_equal(encode("rate", x[[b]], 9, index[[b]], seed=3)[:, 0], together[:, b])
    # A longer window begins with the shorter one; another seed or index gives other spikes.
    assert np.array_equal(encode("rate", x, 20, index, seed=3)[:9], together)
    assert not np.array_equal(encode("rate", x, 9, index, seed=4), together)
    assert not np.array_equal(encode("rate", x, 9, index + 1, seed=3), together)


def test_rates() -> None:
    x = np.linspace(0, 1, 11)
    n = 20000
    rates = encode("rate", x[None], n, seed=11)[:, 0].mean(axis=0)
    # Five standard deviations of a binomial share.
    assert (np.abs(rates - x) <= 5 * np.sqrt(x * (1 - x) / n) + 2**-16).all()
    assert rates[0] == 0
    assert rates[-1] == 1


def test_steps_and_lines_are_independent() -> None:
    spikes = encode("rate", np.full((2, 3), 0.5), 20000, seed=5).reshape(20000, 6) * 2.0 - 1
    correlation = spikes.T @ spikes / 20000 - np.eye(6)
    assert np.abs(correlation).max() < 0.04
    assert abs((spikes[1:] * spikes[:-1]).mean()) < 0.02


def test_the_smallest_chance_is_one_in_65536_and_halves_go_to_even() -> None:
    x = np.array([0.49, 0.5, 0.51, 1.5, 2.5]) / 65536  # chances 0, 0, 1, 2, 2
    n = 4 * 65536
    spikes = encode("rate", x[None], n, seed=2)[:, 0].sum(axis=0)
    assert spikes[:2].tolist() == [0, 0]
    assert 0 < spikes[2] < 20  # 4 expected
    by_hand = rate_by_hand(np.asarray(x, np.float32), 0, 300, 2)
    assert np.array_equal(encode("rate", x[None], 300, seed=2)[:, 0], by_hand)


def test_direct() -> None:
    spikes = encode("direct", [[0.0, 0.25, 0.5, 1.0]], 3, max_value=10)
    # 2.5 → 2, half to even
    assert spikes.tolist() == [[[0, 2, 5, 10]]] * 3
    assert spikes.dtype == np.int16
    assert encode("direct", [[0.75]], 1, max_value=10).tolist() == [[[8]]]  # 7.5 → 8
    assert encode("direct", [[1.0, 0.5]], 1, max_value=32767).tolist() == [[[32767, 16384]]]
    assert encode("direct", [[1.0]], 1, max_value=-5).tolist() == [[[-5]]]
    spikes[0] = 0
    assert spikes[1].any()  # each step has a memory of its own


def test_first_spike() -> None:
    # (1 - x) · 4: 0, 1, 2, 3, 4; 0 is silent. 0.875 → 0.5 → 0 and 0.625 → 1.5 → 2, half to even.
    x = [[1.0, 0.75, 0.5, 0.25, 1e-6, 0.0, 0.875, 0.625]]
    spikes = encode("first_spike", x, 5)
    assert spikes.dtype == np.uint8
    assert spikes.sum(axis=0).tolist() == [[1, 1, 1, 1, 1, 0, 1, 1]]
    assert spikes[:, 0].argmax(axis=0).tolist() == [0, 1, 2, 3, 4, 0, 0, 2]
    assert encode("first_spike", [[1.0, 0.3, 0.0]], 1).tolist() == [[[1, 1, 0]]]
    assert encode("first_spike", np.full((2, 1, 2, 2), 0.5), 3).shape == (3, 2, 1, 2, 2)


@pytest.mark.parametrize("kind", ["rate", "direct", "first_spike"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1e-6, 1.0001])
def test_values_outside_0_to_1_are_refused(kind: str, value: float) -> None:
    with pytest.raises(OptionError, match=r"input: holds values outside 0…1 \(or NaN\); scale the data to 0…1 first"):
        encode(kind, [[0.5, value]], 3)
    assert encode(kind, [[0.0, 1.0]], 3).shape == (3, 1, 2)
    assert encode(kind, np.zeros((0, 2)), 3).shape == (3, 0, 2)


# Decisions


def raster(text: str) -> np.ndarray:
    """Read spikes of one sample: a word for each step, a digit for each neuron."""
    return np.array([[int(digit) for digit in word] for word in text.split()], bool)[:, None]


def decide(kind: str, s: str, v: list[list[int]] | None = None, dtype: type = np.int32) -> tuple[int, bool, int]:
    spikes = raster(s)
    potentials = np.zeros(spikes.shape, dtype) if v is None else np.array(v, dtype)[:, None]
    decision = Readout(kind=kind, output="out").decide(spikes, potentials)
    assert decision.predicted.shape == decision.decided.shape == decision.step.shape == (1,)
    return int(decision.predicted[0]), bool(decision.decided[0]), int(decision.step[0])


@pytest.mark.parametrize(
    ("s", "v", "expected"),
    [
        ("100 010 010", None, (1, True, 2)),
        ("000 000 001", None, (2, True, 2)),
        # A tie that the potential of the last step breaks, and not that of another step.
        ("100 010 000", [[9, 0, 0], [9, 0, 0], [1, 2, 0]], (1, True, 2)),
        ("100 010 000", [[0, 9, 0], [0, 9, 0], [-1, -2, 0]], (0, True, 2)),
        # Potentials of neurons that are not tied do not matter.
        ("110 000 000", [[0, 0, 0], [0, 0, 0], [1, 2, 99]], (1, True, 2)),
        # A tie that nothing breaks: the lower index, undecided.
        ("011 000 000", None, (1, False, 2)),
        ("011 100 000", [[0, 0, 0], [0, 0, 0], [3, 7, 7]], (1, False, 2)),
        # Silence: undecided, even where the potential has a winner.
        ("000 000 000", [[0, 0, 0], [0, 0, 0], [1, 5, 2]], (1, False, 2)),
        ("000 000 000", None, (0, False, 2)),
    ],
)
def test_count(s: str, v: list[list[int]] | None, expected: tuple[int, bool, int]) -> None:
    assert decide("count", s, v) == decide("count", s, v, np.int64) == expected


@pytest.mark.parametrize(
    ("v", "expected"),
    [
        ([[9, 0, 0], [1, 2, 3]], (2, True, 1)),
        ([[9, 0, 0], [-3, -2, -5]], (1, True, 1)),
        ([[9, 0, 0], [4, 7, 7]], (1, False, 1)),
        ([[9, 0, 0], [0, 0, 0]], (0, False, 1)),
        ([[0, 0, 0], [-(2**23) + 1, 2**23 - 1, 2**23 - 2]], (1, True, 1)),
    ],
)
def test_membrane(v: list[list[int]], expected: tuple[int, bool, int]) -> None:
    # Spikes do not matter, silence neither.
    assert decide("membrane", "000 000", v) == decide("membrane", "100 100", v) == expected


@pytest.mark.parametrize(
    ("s", "v", "expected"),
    [
        ("000 010 111", None, (1, True, 1)),
        ("001 110 110", None, (2, True, 0)),
        # A tie in the step of the first spikes, broken by the potential of that step.
        ("000 011 100", [[0, 9, 0], [9, 1, 2], [0, 9, 0]], (2, True, 1)),
        ("000 011 100", [[0, 0, 9], [9, 2, 2], [0, 9, 0]], (1, False, 1)),
        # Silence: the last step, undecided.
        ("000 000 000", [[9, 0, 0], [9, 0, 0], [0, 0, 4]], (2, False, 2)),
        ("000 000 001", None, (2, True, 2)),
    ],
)
def test_first_spike_readout(s: str, v: list[list[int]] | None, expected: tuple[int, bool, int]) -> None:
    assert decide("first_spike", s, v) == decide("first_spike", s, v, np.int64) == expected


# Of two neurons a class, in one output or in two.
PAIRS = Readout(kind="count", output="a", neurons_per_class=2)
JOINT = Readout(kind="count", output="a", joined=("b",))
HEAVY = Readout(kind="count", output="a", joined=("b",), weights=(3, 1))


@pytest.mark.parametrize(
    ("readout", "s", "v", "expected"),
    [
        # 1 + 1 spikes against 1 + 0.
        (PAIRS, ["1000 0110"], None, (0, True, 1)),
        (PAIRS, ["1000 0011"], None, (1, True, 1)),
        # 2 against 2: the potentials of the last step are 1 + 2 and 4 + 0.
        (PAIRS, ["1100 0011"], [[[9, 9, 0, 0], [1, 2, 4, 0]]], (1, True, 1)),
        (PAIRS, ["1100 0011"], [[[9, 9, 0, 0], [1, 3, 4, 0]]], (0, False, 1)),
        # 1 + 0 against 0 + 2; with weights 3 and 1, 3 against 2.
        (JOINT, ["10 00", "01 01"], None, (1, True, 1)),
        (HEAVY, ["10 00", "01 01"], None, (0, True, 1)),
        # A tie: the first output's potential, and where that is alike, the second's.
        (JOINT, ["10 00", "01 00"], [[[9, 0], [3, 4]], [[9, 0], [9, 0]]], (1, True, 1)),
        (JOINT, ["10 00", "01 00"], [[[9, 0], [4, 4]], [[0, 9], [9, 0]]], (0, True, 1)),
        (JOINT, ["10 00", "01 00"], None, (0, False, 1)),
        (JOINT, ["00 00", "00 00"], [[[9, 0], [4, 5]], [[0, 9], [9, 0]]], (1, False, 1)),
        # The second output may have several neurons a class of the first's.
        (JOINT, ["10 00", "0001 0011"], None, (1, True, 1)),
        (replace(PAIRS, kind="membrane"), ["0000 1111"], [[[9, 9, 0, 0], [1, 2, 4, 0]]], (1, True, 1)),
        (replace(PAIRS, kind="membrane"), ["0000 1111"], [[[9, 9, 0, 0], [1, 3, 4, 0]]], (0, False, 1)),
        # The earliest over all outputs; in that step 1 spike against 2, or 3 · 1 against 2 · 1.
        (replace(JOINT, kind="first_spike"), ["00 10", "01 00"], None, (1, True, 0)),
        (replace(PAIRS, kind="first_spike"), ["0000 1011"], None, (1, True, 1)),
        (replace(JOINT, kind="first_spike"), ["10 00", "0011 1100"], None, (1, True, 0)),
        (replace(HEAVY, kind="first_spike"), ["10 00", "0011 1100"], None, (0, True, 0)),
        (replace(JOINT, kind="first_spike"), ["10 00", "01 00"], [[[4, 5], [9, 0]], [[9, 0], [9, 0]]], (1, True, 0)),
        (replace(JOINT, kind="first_spike"), ["00 00", "00 00"], None, (0, False, 1)),
    ],
)
def test_several_neurons_a_class_and_several_outputs(
    readout: Readout, s: list[str], v: list[list[list[int]]] | None, expected: tuple[int, bool, int]
) -> None:
    spikes = [raster(one) for one in s]
    potentials = [np.zeros(one.shape, np.int32) for one in spikes]
    if v is not None:
        potentials = [np.array(one, np.int32)[:, None] for one in v]
    for dtype in (np.int32, np.int64, np.float32):
        decision = readout.decide(spikes, [one.astype(dtype) for one in potentials])
        assert (int(decision.predicted[0]), bool(decision.decided[0]), int(decision.step[0])) == expected


def test_potentials_of_many_neurons_add_up_exactly() -> None:
    v = np.full((1, 1, 20), 2**23 - 1, np.float32)
    v[..., 19] -= 1
    s = np.zeros(v.shape, bool)
    decision = Readout(kind="membrane", output="out", neurons_per_class=10).decide(s, v)
    assert (decision.predicted.tolist(), decision.decided.tolist()) == ([0], [True])
    assert Readout(kind="count", output="out", neurons_per_class=10).decide(s[:, :0], v[:, :0]).step.shape == (0,)


def test_an_undecided_sample_is_wrong_whatever_its_label() -> None:
    # Silence, a tie, a decision, for each of three labels.
    s = np.concatenate([raster("000 000"), raster("011 000"), raster("001 000")], axis=1)
    for kind, predicted in (("count", [0, 1, 2]), ("first_spike", [0, 1, 2])):
        decision = Readout(kind=kind, output="out").decide(s, np.zeros(s.shape, np.int32))
        assert decision.predicted.tolist() == predicted
        assert decision.decided.tolist() == [False, False, True]
        for label in range(3):
            assert decision.correct(np.full(3, label)).tolist() == [False, False, label == 2]
        assert decision.correct(decision.predicted).tolist() == [False, False, True]


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["count", "membrane", "first_spike"]),
    each=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    weighted=st.booleans(),
)
def test_a_batch_is_decided_sample_by_sample(seed: int, kind: str, each: list[int], weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    each = each[:1] if kind == "membrane" else each
    weights = tuple(int(w) for w in rng.integers(1, 4, len(each))) if weighted else ()
    s = [rng.random((4, 5, 3 * m)) < 0.2 / m for m in each]
    v = [rng.integers(-2, 3, (4, 5, 3 * m)) for m in each]
    joined = tuple(f"out{k}" for k in range(1, len(each)))
    readout = Readout(kind=kind, output="out", neurons_per_class=each[0], joined=joined, weights=weights)
    batch = readout.decide(s, v)
    for b in range(5):
        # A second definition: rank the classes by (score, potential in each output), and see whether two are best.
        fired = [t for t in range(4) if any(one[t, b].any() for one in s)]
        t = fired[0] if kind == "first_spike" and fired else 3
        steps = {"count": range(4), "first_spike": [t], "membrane": []}[kind]

        def rank(c: int, steps: Any = steps, t: int = t, b: int = b) -> list[int]:
            score, potentials = 0, []
            for k, m in enumerate(each):
                neurons = [i for i in range(3 * m) if i // m == c]
                score += (weights[k] if weights else 1) * sum(int(s[k][t, b, i]) for t in steps for i in neurons)
                potentials.append(sum(int(v[k][t, b, i]) for i in neurons))
            return [score, *potentials]

        ranks = [rank(c) for c in range(3)]
        best = [c for c in range(3) if ranks[c] == max(ranks)]
        assert batch.step[b] == t
        assert batch.predicted[b] == best[0]
        assert batch.decided[b] == (len(best) == 1 and (kind == "membrane" or bool(fired)))
