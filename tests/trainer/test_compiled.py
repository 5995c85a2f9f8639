"""The compiled window computes what window.py defines, to the last bit, forward and backward."""

from __future__ import annotations

import ctypes
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spikegraph.trainer import compiled, extension
from spikegraph.trainer import window as definition
from spikegraph.trainer.dynamics import Decays, Dynamics, Wanted
from spikegraph.trainer.neurons import lif
from spikegraph.trainer.surrogate import SURROGATES

BLOCK = 256  # neurons of a block in _window.c

DYNAMICS = st.builds(
    Dynamics,
    reset=st.sampled_from(["zero", "subtract", "none"]),
    refractory_steps=st.sampled_from([1, 1, 2, 3, 1 << 20]),
    max_spikes=st.sampled_from([0, 0, 1, 2, 1 << 20]),
    surrogate=st.sampled_from(list(SURROGATES)),
)
GRAINS = st.tuples(*[st.sampled_from(["layer", "one", "channel", "neuron", "sample of one"])] * 6)
WANTED = st.builds(Wanted, threshold=st.booleans(), bias=st.booleans(), kept_u=st.booleans(), kept_v=st.booleans())
SHAPES = st.sampled_from(
    [(1, 1), (3, 5), (2, 3, 1, 2), (2, 2, 3, 3), (0, 4), (1, BLOCK - 1), (1, BLOCK), (3, BLOCK + 1), (9, 2, 10, 20)]
)


def parameter_shape(grain, shape):
    """Return a shape that broadcasts to the neurons of a sample."""
    channel = (shape[0], *(1,) * (len(shape) - 1))
    return {"layer": (), "one": (1,), "channel": channel, "neuron": shape, "sample of one": (1, *shape)}[grain]


def drawn(generator, grains, shape, *ranges):
    """Draw float32 parameters, uniform between the ends of each range."""
    return [
        low + (high - low) * torch.rand(parameter_shape(grain, shape), generator=generator)
        for grain, (low, high) in zip(grains, ranges, strict=True)
    ]


def assert_same(x, threshold, bias, decays, dynamics, integer, wanted, read):
    """Compare all that the two return; the states of an integer window are int64 in one, float32 in the other."""
    assert compiled.serves(x, threshold, bias, *vars(decays).values())
    windows = [
        form.forward(x, threshold, bias, decays, dynamics, integer=integer, keep_u=True, keep_v=True)
        for form in (compiled, definition)
    ]
    for name, values in vars(windows[0]).items():
        assert torch.equal(values.double(), getattr(windows[1], name).double()), name
    generator = torch.Generator().manual_seed(1)
    grad_s, grad_v = (
        torch.randn(x.shape, generator=generator) if name in read else None for name in ("grad_s", "grad_v")
    )
    found, expected = (
        form.backward(window, threshold, decays, dynamics, wanted, grad_s, grad_v, integer=integer)
        for form, window in zip((compiled, definition), windows, strict=True)
    )
    assert {name for name, values in vars(found).items() if values is None} == {
        name for name, asked in vars(wanted).items() if not asked
    }
    for name, values in vars(found).items():
        if values is not None:
            assert values.isfinite().all(), name
            assert torch.equal(values, getattr(expected, name)), name
    return windows[0]


READ = st.sampled_from([("grad_s",), ("grad_v",), ("grad_s", "grad_v")])


@given(st.integers(0, 2**32 - 1), SHAPES, st.integers(1, 9), DYNAMICS, GRAINS, WANTED, READ)
@hypothesis_settings(max_examples=150, deadline=None)
def test_floats(seed, shape, n_steps, dynamics, grains, wanted, read):
    generator = torch.Generator().manual_seed(seed)
    x = 0.4 + torch.randn((n_steps, *shape), generator=generator)
    threshold, bias, kept_u, kept_v = drawn(generator, grains[:4], shape[1:], (0.3, 2), (-0.3, 0.3), (0, 1), (0, 1))
    decays = Decays(kept_u=kept_u, kept_v=kept_v.double(), decay_u=4096, decay_v=0)
    window = assert_same(x, threshold, bias, decays, dynamics, False, wanted, read)
    if x.numel() > 1000:
        assert window.s.sum() > 10


@given(
    st.integers(0, 2**32 - 1), SHAPES, st.integers(1, 9), DYNAMICS, GRAINS, WANTED, READ,
    st.sampled_from([1.0, 40.0, 5e3, 8e4, 2e6, 5e9, 1e15]), st.sampled_from([3.0, 5e3, 131071.0]),
    st.sampled_from([0.0, 4096.0, 4096.0 * 128, 2.0**40]), st.booleans(),
)  # fmt: skip
@hypothesis_settings(max_examples=200, deadline=None)
def test_integers(seed, shape, n_steps, dynamics, grains, wanted, read, largest, threshold_most, bias_most, scalar):
    """From sums of nothing to sums beyond 64 bits once shifted: every wrap and saturation there can be."""
    generator = torch.Generator().manual_seed(seed)
    x = (0.3 + torch.randn((n_steps, *shape), generator=generator)).mul(largest).round()
    threshold, bias, u, v = drawn(
        generator, grains[:4], shape[1:], (1, threshold_most), (-bias_most, bias_most), (1, 4097), (0, 4097)
    )
    decay_u, decay_v = u.to(torch.int64).clamp(max=4096), v.to(torch.int64).clamp(max=4096)
    shares = {"kept_u": 1 - decay_u / 4096, "kept_v": 1 - decay_v / 4096}
    if scalar:
        one_u, one_v = int(decay_u.flatten()[0]), int(decay_v.flatten()[0])
        decays = Decays(
            kept_u=torch.tensor(1 - one_u / 4096), kept_v=torch.tensor(1 - one_v / 4096), decay_u=one_u, decay_v=one_v
        )
    else:
        decays = Decays(**shares, decay_u=decay_u, decay_v=decay_v)
    assert_same(x, threshold.round(), bias.round(), decays, dynamics, True, wanted, read)


def test_the_ends_of_the_integers():
    """2^23 stays, -2^23 becomes 2^23 and beyond wraps (u); v stops at ±(2^23 - 1); x counts modulo 2^18."""
    sums = [2.0**17, -(2.0**17), 2.0**17 + 1, -(2.0**17) - 1, 2.0**31, -(2.0**31), 2.0**40 + 2.0**17, 3.0]
    x = torch.tensor(sums).expand(3, 1, -1).contiguous()
    decays = Decays(kept_u=torch.zeros(()), kept_v=torch.ones(()), decay_u=4096, decay_v=0)
    window = compiled.forward(
        x, torch.tensor(131071.0), torch.zeros(()), decays, Dynamics(reset="none"), integer=True, keep_u=True
    )
    half = 2**23
    assert window.u[0, 0].tolist() == [half, half, 64 - half, half - 64, 0, 0, half, 192]
    assert window.v_before_reset[2, 0].tolist() == [
        half - 1, half - 1, 1 - half, half - 1, 0, 0, half - 1, 576
    ]  # fmt: skip


def test_threads_do_not_change_a_bit():
    """The sums over samples are torch's, of the same numbers."""
    generator = torch.Generator().manual_seed(2)
    x, grad = (torch.randn((6, 7, 3, 31, 33), generator=generator) for _ in range(2))
    results, before = [], torch.get_num_threads()
    for n_threads in (1, 2, 5):
        torch.set_num_threads(n_threads)
        try:
            inputs = x.clone().requires_grad_(), torch.full((3, 1, 1), 0.7, requires_grad=True)
            decays = Decays(kept_u=torch.tensor(0.4), kept_v=torch.tensor(0.9), decay_u=4096, decay_v=0)
            s, _ = lif(*inputs, torch.zeros(()), decays, Dynamics(max_spikes=3), integer=False)
            torch.set_num_threads(1)
            (s * grad).sum().backward()
        finally:
            torch.set_num_threads(before)
        results.append([s, *(value.grad for value in inputs)])
    for one, other in zip(results[0] * 2, results[1] + results[2], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("x", "threshold", "serves"),
    [
        (torch.zeros(2, 3, 4), torch.ones(4), True),
        (torch.zeros(2, 3, 4, dtype=torch.float64), torch.ones(4), False),
        (torch.zeros(2, 3, 4, device="meta"), torch.ones(4), False),
        (torch.zeros(2, 3, 4), torch.ones(3, 1), False),  # another threshold for each sample
        (torch.zeros(2, 3, 4), torch.ones(1, 1), True),
    ],
)
def test_what_it_serves(x, threshold, serves):
    assert compiled.serves(x, threshold, 4096) == serves


def test_a_threshold_for_each_sample():
    """The definition does what the compiled part does not."""
    x, threshold = torch.full((1, 3, 1), 1.0), torch.tensor([[0.5], [1.0], [0.9]], requires_grad=True)
    decays = Decays(kept_u=torch.zeros(()), kept_v=torch.ones(()), decay_u=4096, decay_v=0)
    s, _ = lif(x, threshold, torch.zeros(()), decays, Dynamics(), integer=False)
    s.sum().backward()
    assert s.flatten().tolist() == [1, 0, 1]
    assert threshold.grad.shape == (3, 1)


@pytest.fixture
def reload():
    compiled.library.cache_clear()
    yield compiled.library
    compiled.library.cache_clear()


def test_without_a_compiler_it_warns_once_and_computes_the_same(reload, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    x = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    decays = Decays(kept_u=torch.zeros(()), kept_v=torch.tensor(0.9), decay_u=4096, decay_v=0)
    arguments = (x, torch.tensor(0.5), torch.zeros(()), decays, Dynamics())
    expected = lif(*arguments, integer=False)
    reload.cache_clear()
    monkeypatch.setattr(extension, "import_module", missing)
    with pytest.warns(RuntimeWarning, match=r"is missing \(No module named .*_window'\); install a C compiler"):
        found = lif(*arguments, integer=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lif(*arguments, integer=False)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_part_of_another_version_is_not_used(reload, monkeypatch):
    monkeypatch.setattr(compiled, "_Window", type("Other", (ctypes.Structure,), {"_fields_": [("n", ctypes.c_int64)]}))
    with pytest.warns(RuntimeWarning, match="from another version"):
        assert reload() is None
