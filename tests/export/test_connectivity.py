"""Sums and fan-outs of every kind of projection against explicit ones: loops over synapses, and torch's conv2d."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikegraph.export import connectivity
from spikegraph.export.connectivity import Shape, per_neuron
from spikegraph.export.graph import Conv2d, Dense, OneToOne, Sparse, SumPool2d

ENDS = {"source": "a", "target": "b"}


def explicit_window(p: Conv2d | SumPool2d, source: Shape, target: Shape) -> list[tuple[tuple, tuple, tuple]]:
    """List (source index, target index, weight index) of every tap that lands inside, by walking over the outputs."""
    conv = isinstance(p, Conv2d)
    kernel = p.weight.shape[2:] if conv else p.kernel_size
    dilation = p.dilation if conv else (1, 1)
    per_in, per_out = (p.weight.shape[1], target[0] // p.groups) if conv else (1, 1)
    found = []
    for o, y, x in product(*map(range, target)):
        for i, r, c in product(range(per_in), range(kernel[0]), range(kernel[1])):
            channel = (o // per_out) * per_in + i if conv else o
            row = y * p.stride[0] - p.padding[0] + r * dilation[0]
            column = x * p.stride[1] - p.padding[1] + c * dilation[1]
            if row in range(source[1]) and column in range(source[2]):
                found.append(((channel, row, column), (o, y, x), (o, i, r, c) if conv else ()))
    return found


def by_loops(synapses: list[tuple[tuple, tuple, tuple]], weight: np.ndarray, s: np.ndarray, target: Shape) -> Any:
    x = np.zeros((len(s), *target), object)
    for b in range(len(s)):
        for j, i, w in synapses:
            x[(b, *i)] += int(weight[w]) * int(s[(b, *j)])
    return x.tolist()


def check_against(p: Any, synapses: list[tuple[tuple, tuple, tuple]], source: Shape, target: Shape, rng: Any) -> None:
    assert p.shape_problem(source, target) is None
    s = rng.integers(-3, 4, (2, *source))
    x = p.weighted_sum(p.weight, s, target)
    assert x.dtype == np.int64
    assert x.shape == (2, *target)
    assert x.tolist() == by_loops(synapses, p.weight, s, target)
    for ends, of in zip(p.reach(source, target), (np.minimum(p.weight, 0), np.maximum(p.weight, 0)), strict=True):
        assert ends.dtype == np.int64
        assert ends.tolist() == by_loops(synapses, np.asarray(of), np.ones((1, *source), int), target)[0]
    for counted in (p.stored(), p.weight != 0, p.weight):
        fan_out = p.fan_out(counted, source, target)
        expected = np.zeros(source, np.int64)
        for j, _, w in synapses:
            expected[j] += bool(np.asarray(counted)[w])
        assert fan_out.dtype == np.int64
        assert fan_out.shape == source
        assert fan_out.tolist() == expected.tolist()
    flat = [
        (
            np.ravel_multi_index(j, source),
            np.ravel_multi_index(i, target),
            np.ravel_multi_index(w, p.weight.shape) if w else 0,
        )
        for j, i, w in synapses
    ]
    listed = p.synapses(source, target)
    assert [array.dtype for array in listed] == [np.int64] * 3
    assert sorted(zip(*(array.tolist() for array in listed), strict=True)) == sorted(flat)
    if p.kind != "Sparse":
        assert p.dense_macs(source, target) == len(synapses)


sizes = st.integers(1, 4)
shapes = st.one_of(st.tuples(st.integers(1, 8)), st.tuples(st.integers(1, 3), sizes, sizes))
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
quick = settings(deadline=None, max_examples=60)


def sparse_ish(rng: Any, shape: Shape) -> np.ndarray:
    return np.asarray(rng.integers(-9, 10, shape) * (rng.random(shape) < 0.7))


@quick
@given(source=shapes, target=shapes, rng=seeds)
def test_dense(source: Shape, target: Shape, rng: Any) -> None:
    weight = sparse_ish(rng, (int(np.prod(target)), int(np.prod(source))))
    synapses = [
        (j, i, (int(np.ravel_multi_index(i, target)), int(np.ravel_multi_index(j, source))))
        for i in np.ndindex(*target)
        for j in np.ndindex(*source)
    ]
    check_against(Dense(weight=weight, **ENDS), synapses, source, target, rng)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Conv2d, Shape, Shape]:
    rng = draw(seeds)
    groups, per_in, per_out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    geometry: dict[str, list[int]] = {"stride": [], "padding": [], "dilation": []}
    kernel, size, out = [], [], []
    for _ in "hw":
        k, d, s = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
        p = draw(st.integers(0, d * (k - 1)))
        n = draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), d * (k - 1) + 6))
        kernel.append(k)
        size.append(n)
        out.append((n + 2 * p - d * (k - 1) - 1) // s + 1)
        for name, value in (("stride", s), ("padding", p), ("dilation", d)):
            geometry[name].append(value)
    weight = sparse_ish(rng, (groups * per_out, per_in, *kernel))
    pairs = {name: tuple(values) for name, values in geometry.items()}
    return (
        Conv2d(weight=weight, groups=groups, **pairs, **ENDS),
        (groups * per_in, *size),
        (groups * per_out, *out),
    )


@quick
@given(case=convolutions(), rng=seeds)
def test_convolution_by_loops(case: tuple[Conv2d, Shape, Shape], rng: Any) -> None:
    p, source, target = case
    check_against(p, explicit_window(p, source, target), source, target, rng)


@quick
@given(case=convolutions(), rng=seeds)
def test_convolution_is_torchs(case: tuple[Conv2d, Shape, Shape], rng: Any) -> None:
    torch = pytest.importorskip("torch")
    p, source, target = case
    s = rng.integers(-3, 4, (3, *source))
    geometry = {name: getattr(p, name) for name in ("stride", "padding", "dilation", "groups")}
    ones = torch.ones(source, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.conv2d(torch.tensor(s * 1.0), torch.tensor(p.weight * 1.0), **geometry)
    assert np.array_equal(p.weighted_sum(p.weight, s, target), expected.numpy())
    # The gradient of the sum of all outputs with weights of 1 is the fan-out.
    torch.nn.functional.conv2d(ones[None], torch.ones(p.weight.shape, dtype=torch.float64), **geometry).sum().backward()
    assert np.array_equal(p.fan_out(np.ones(p.weight.shape, bool), source, target), ones.grad.numpy())


@st.composite
def pools(draw: st.DrawFn) -> tuple[SumPool2d, Shape, Shape]:
    kernel, stride, padding, size, out = [], [], [], [], []
    for _ in "hw":
        k, s = draw(st.integers(1, 3)), draw(st.integers(1, 4))
        p = draw(st.integers(0, k - 1))
        n = draw(st.integers(max(1, k - 2 * p), 7))
        kernel.append(k)
        stride.append(s)
        padding.append(p)
        size.append(n)
        out.append((n + 2 * p - k) // s + 1)
    channels = draw(st.integers(1, 3))
    weight = draw(st.sampled_from([1, -7, 0, 300]))
    windows = {"kernel_size": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding)}
    return SumPool2d(weight=weight, **windows, **ENDS), (channels, *size), (channels, *out)


@quick
@given(case=pools(), rng=seeds)
def test_sum_pooling(case: tuple[SumPool2d, Shape, Shape], rng: Any) -> None:
    p, source, target = case
    check_against(p, explicit_window(p, source, target), source, target, rng)


@quick
@given(case=pools(), rng=seeds)
def test_sum_pooling_is_torchs_average_times_its_size(case: tuple[SumPool2d, Shape, Shape], rng: Any) -> None:
    torch = pytest.importorskip("torch")
    p, source, target = case
    s = rng.integers(0, 2, (2, *source))
    padded = np.pad(s, ((0, 0), (0, 0), *((pad, pad) for pad in p.padding)))
    expected = torch.nn.functional.avg_pool2d(
        torch.tensor(padded * 1.0), p.kernel_size, p.stride, divisor_override=1
    ).numpy()
    assert np.array_equal(p.weighted_sum(p.weight, s, target), expected * int(p.weight))


@pytest.mark.parametrize("piece", [1, 3, connectivity._PIECE])
@quick
@given(source=shapes, target=shapes, rng=seeds)
def test_sparse(piece: int, source: Shape, target: Shape, rng: Any) -> None:
    n_source, n_target = int(np.prod(source)), int(np.prod(target))
    fan_out = rng.integers(0, n_target + 2, n_source)
    indptr = np.concatenate([[0], np.cumsum(fan_out)])
    indices = rng.integers(0, n_target, indptr[-1])  # not sorted, and some twice
    weight = sparse_ish(rng, indices.shape)
    p = Sparse(indptr=indptr, indices=indices, weight=weight, **ENDS)
    synapses = [
        (
            tuple(int(n) for n in np.unravel_index(j, source)),
            tuple(int(n) for n in np.unravel_index(indices[k], target)),
            (k,),
        )
        for j in range(n_source)
        for k in range(indptr[j], indptr[j + 1])
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connectivity, "_PIECE", piece)
        check_against(p, synapses, source, target, rng)
    assert p.dense_macs(source, target) == n_source * n_target


@quick
@given(shape=shapes, rng=seeds, granularity=st.sampled_from(["one", "channel", "neuron"]))
def test_one_to_one(shape: Shape, rng: Any, granularity: str) -> None:
    weight = sparse_ish(rng, {"one": (), "channel": shape[:1], "neuron": shape}[granularity])
    synapses = [(i, i, i[: weight.ndim]) for i in np.ndindex(*shape)]
    check_against(OneToOne(weight=weight, **ENDS), synapses, shape, shape, rng)


def test_sums_are_exact_beyond_float32_and_32_bits() -> None:
    s = np.full((1, 4000), 32767)
    p = Dense(weight=np.full((1, 4000), 32767), **ENDS)
    assert p.weighted_sum(p.weight, s, (1,)).tolist() == [[4000 * 32767**2]]
    p = Conv2d(weight=np.full((1, 1000, 2, 2), -32767), **ENDS)
    assert p.weighted_sum(p.weight, s.reshape(1, 1000, 2, 2), (1, 1, 1)).item() == -4000 * 32767**2
    p = Sparse(indptr=np.arange(4001), indices=np.zeros(4000, int), weight=np.full(4000, 32767), **ENDS)
    assert p.weighted_sum(p.weight, s, (1,)).tolist() == [[4000 * 32767**2]]
    p = SumPool2d(weight=32767, kernel_size=(40, 100), **ENDS)
    assert p.weighted_sum(p.weight, s.reshape(1, 1, 40, 100), (1, 1, 1)).item() == 4000 * 32767**2


def test_spikes_may_be_bool_or_small_integers() -> None:
    # Two spikes of 100 times a weight of 100 leave int8 and uint8 by far.
    for dtype in (bool, np.uint8, np.int8, np.int16):
        value = 1 if dtype is bool else 100
        s = np.full((1, 1, 1, 2), value).astype(dtype)
        projections = [
            (Dense(weight=[[100, 100]], **ENDS), (1,), 200),
            (Conv2d(weight=[[[[100, 100]]]], **ENDS), (1, 1, 1), 200),
            (SumPool2d(weight=100, kernel_size=(1, 2), **ENDS), (1, 1, 1), 200),
            (Sparse(weight=[100, 100], indptr=[0, 1, 2], indices=[0, 0], **ENDS), (1,), 200),
            (OneToOne(weight=100, **ENDS), (1, 1, 2), 100),
        ]
        for p, target, expected in projections:
            x = p.weighted_sum(p.weight, s, target)
            assert x.dtype == np.int64
            assert (x == expected * value).all(), (p.kind, dtype)


def test_one_number_stands_for_a_pair_and_a_pools_stride_for_its_kernel() -> None:
    p = Conv2d(weight=np.zeros((1, 1, 2, 2)), stride=2, padding=np.int64(1), dilation=[1, 2], **ENDS)
    assert (p.stride, p.padding, p.dilation) == ((2, 2), (1, 1), (1, 2))
    pool = SumPool2d(kernel_size=(2, 3), **ENDS)
    assert (pool.kernel_size, pool.stride, pool.padding, pool.weight.item()) == ((2, 3), (2, 3), (0, 0), 1)


def conv(shape: Shape = (2, 1, 3, 3), **geometry: Any) -> Conv2d:
    return Conv2d(weight=np.zeros(shape), **geometry, **ENDS)


def sparse(indptr: Any = (0, 1, 2), indices: Any = (0, 1), weight: Any = (1, 1)) -> Sparse:
    return Sparse(indptr=indptr, indices=indices, weight=weight, **ENDS)


IMAGE = (1, 5, 5)


@pytest.mark.parametrize(
    ("p", "source", "target", "says"),
    [
        (Dense(weight=np.zeros((3, 2)), **ENDS), (3,), (2,), r"weight has shape \(3, 2\), expected \(2, 3\)"),
        (Dense(weight=np.zeros((3, 8)), **ENDS), (2, 2, 3), (3,), r"weight has shape \(3, 8\), expected \(3, 12\)"),
        (conv((2, 3, 3)), IMAGE, (2, 3, 3), r"weight has shape \(2, 3, 3\), expected \(out, in / groups"),
        (conv((3, 1, 3, 3), groups=2), (2, 5, 5), (3, 3, 3), "3 output channels do not divide into 2 groups"),
        (conv(groups=0), IMAGE, (2, 3, 3), "2 output channels do not divide into 0 groups"),
        (conv(), (3, 5, 5), (2, 3, 3), "weight reads 1 channels, the source has 3"),
        (conv(groups=2), IMAGE, (2, 3, 3), "weight reads 2 channels, the source has 1"),
        (conv(), (25,), (2, 3, 3), r"needs \(c, h, w\) on both sides, got \(25,\) and \(2, 3, 3\)"),
        (conv(), IMAGE, (18,), r"needs \(c, h, w\) on both sides"),
        (conv(stride=0), IMAGE, (2, 3, 3), r"stride \(0, 0\) and dilation \(1, 1\) must be at least 1"),
        (conv(dilation=0), IMAGE, (2, 3, 3), r"dilation \(0, 0\) must be at least 1"),
        (conv((2, 1, 0, 3)), IMAGE, (2, 3, 3), r"kernel \(0, 3\), stride"),
        (conv(padding=-1), IMAGE, (2, 3, 3), r"padding \(-1, -1\) at least 0"),
        (conv(padding=3), IMAGE, (2, 9, 9), r"padding \(3, 3\) is wider than the kernel \(3, 3\) reaches"),
        (conv(stride=(1, 1, 1)), IMAGE, (2, 3, 3), r"stride \(1, 1, 1\) must be one number or two"),
        (conv(padding=(1,)), IMAGE, (2, 3, 3), r"padding \(1,\) must be one number or two"),
        (conv((2, 1, 6, 3)), IMAGE, (2, 1, 3), r"kernel \(6, 3\) is larger than the padded input \(1, 5, 5\)"),
        (conv(stride=2), IMAGE, (2, 3, 3), r"target has shape \(2, 3, 3\), expected \(2, 2, 2\)"),
        (conv(), IMAGE, (1, 3, 3), r"target has shape \(1, 3, 3\), expected \(2, 3, 3\)"),
        (SumPool2d(weight=[1, 2], **ENDS), IMAGE, (1, 2, 2), r"weight has shape \(2,\), expected one number"),
        (SumPool2d(**ENDS), IMAGE, (1, 3, 3), r"target has shape \(1, 3, 3\), expected \(1, 2, 2\)"),
        (SumPool2d(**ENDS), (2, 4, 4), (1, 2, 2), r"expected \(2, 2, 2\)"),
        (SumPool2d(**ENDS), (16,), (4,), r"needs \(c, h, w\) on both sides"),
        (SumPool2d(**ENDS), (), (4,), r"needs \(c, h, w\) on both sides, got \(\)"),
        (SumPool2d(kernel_size=(2, 2, 2), **ENDS), IMAGE, (1, 2, 2), r"kernel \(2, 2, 2\) must be one number or two"),
        (sparse(weight=[[1, 1]]), (2,), (2,), r"weight \(1, 2\) and indices \(2,\) must be one list of synapses"),
        (sparse(weight=[1]), (2,), (2,), r"weight \(1,\) and indices \(2,\) must be one list"),
        (sparse(), (3,), (2,), r"indptr has shape \(3,\), expected \(4,\)"),
        (sparse(indptr=[0, 1, 1]), (2,), (2,), "indptr must rise from 0 to 2"),
        (sparse(indptr=[1, 1, 2]), (2,), (2,), "indptr must rise from 0 to 2"),
        (sparse(indptr=[0, 3, 2]), (2,), (2,), "indptr must rise from 0 to 2"),
        (sparse(indices=[0, 2]), (2,), (2,), r"indices 0…2 leave the target's 0…1"),
        (sparse(indices=[-1, 1]), (2,), (2,), r"indices -1…1 leave the target's 0…1"),
        (sparse(indices=[0.5, 1.0]), (2,), (2,), "indices has dtype float64, expected integers"),
        (sparse(indptr=[0, 1.2, 2]), (2,), (2,), "indptr has dtype float64, expected integers"),
        (OneToOne(weight=1, **ENDS), (2,), (3,), r"source \(2,\) and target \(3,\) must have the same shape"),
        (OneToOne(weight=1, **ENDS), (4,), (1, 2, 2), "must have the same shape"),
        (OneToOne(weight=[1, 2], **ENDS), (3,), (3,), r"weight has shape \(2,\), expected \(\), \(3,\) or \(3,\)"),
        (OneToOne(weight=np.zeros((2, 2)), **ENDS), (2, 2, 2), (2, 2, 2), r"expected \(\), \(2,\) or \(2, 2, 2\)"),
    ],
)
def test_shape_problems(p: Any, source: Shape, target: Shape, says: str) -> None:
    problem = p.shape_problem(source, target)
    assert problem is not None
    assert re.search(says, problem), problem


def test_no_synapses_at_all() -> None:
    p = Sparse(indptr=[0, 0, 0], indices=[], weight=np.zeros(0, int), **ENDS)
    assert p.shape_problem((2,), (3,)) is None
    assert p.weighted_sum(p.weight, np.ones((1, 2), int), (3,)).tolist() == [[0, 0, 0]]
    assert p.fan_out(np.ones(0, bool), (2,), (3,)).tolist() == [0, 0]


def test_per_neuron_spreads_each_granularity() -> None:
    shape = (2, 1, 2)
    assert per_neuron(np.array(7), shape).tolist() == [[[7, 7]], [[7, 7]]]
    assert per_neuron(np.array([1, 2]), shape).tolist() == [[[1, 1]], [[2, 2]]]
    assert per_neuron(np.arange(4).reshape(shape), shape).tolist() == [[[0, 1]], [[2, 3]]]
    assert per_neuron(np.array([1, 2]), (2,)).tolist() == [1, 2]


def test_arrays_are_copied_and_read_only() -> None:
    weight = np.ones((1, 1), np.int64)
    p = Dense(weight=weight, **ENDS)
    weight[0, 0] = 5
    assert p.weight.tolist() == [[1]]
    with pytest.raises(ValueError, match="read-only"):
        p.weight[0, 0] = 2
    indices = np.zeros(1, np.int64)
    s = Sparse(indptr=[0, 1], indices=indices, weight=[1], **ENDS)
    indices[0] = 9
    assert s.indices.tolist() == [0]


def test_what_nobody_can_write_to_is_shared() -> None:
    """So that neither a pass nor a file copies hundreds of megabytes."""
    weight, indices = np.arange(3, dtype=np.int8), np.arange(3, dtype=np.int32)
    for array in (weight, indices):
        array.flags.writeable = False
    p = Sparse(indptr=[0, 3], indices=indices, weight=weight, **ENDS)
    assert p.weight is weight
    assert p.indices is indices
    delayed = replace(p, delay_steps=1)
    assert delayed.weight is weight
    assert delayed.indices is indices
    assert delayed.indptr is p.indptr
    # A view of what may be written to, another type, order or class: a copy.
    base = np.arange(3, dtype=np.int8)
    view = base[:]
    view.flags.writeable = False
    s = Sparse(indptr=[0, 3], indices=np.arange(3), weight=view, **ENDS)
    base[0] = 7
    assert s.weight.tolist() == [0, 1, 2]
    fortran = np.ones((2, 3), np.int8, order="F")
    fortran.flags.writeable = False
    assert Dense(weight=fortran, **ENDS).weight.flags.c_contiguous


def test_targets_are_held_in_32_bits_where_they_fit() -> None:
    for indices in ([], [0], [2**31 - 1], [-(2**31)], np.array([5], np.uint64)):
        p = sparse(indptr=[0, len(indices)], indices=indices, weight=np.ones(len(indices), int))
        assert p.indices.dtype == np.int32
        assert p.indptr.dtype == np.int64
        assert p.indices.tolist() == list(indices)
    for indices in ([2**31], [-(2**31) - 1]):
        p = sparse(indptr=[0, 1], indices=indices, weight=[1])
        assert p.indices.dtype == np.int64
        assert p.indices.tolist() == indices
