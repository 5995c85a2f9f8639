"""Sums of whole numbers: exact whatever the precision, on each device there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikegraph.trainer.exact import exact_conv2d, exact_linear

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
DEVICES = ["cpu", CUDA]
SIZES = [(254, 1), (127, 255), (32767, 255), (32767, 32767)]


@pytest.fixture
def matmul_precision():
    before = torch.get_float32_matmul_precision()
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize(("largest_weight", "largest_input"), SIZES)
def test_sums_are_exact(device, precision, largest_weight, largest_input, matmul_precision):
    matmul_precision(precision)
    rng = np.random.default_rng(0)
    s = rng.integers(0, largest_input, (3, 5, 300), endpoint=True)
    weight = rng.integers(-largest_weight, largest_weight, (7, 300), endpoint=True)
    weight[0], s[0, 0] = largest_weight, largest_input  # the bound itself is reached
    x = exact_linear(
        torch.tensor(s, dtype=torch.float32, device=device),
        torch.tensor(weight, dtype=torch.float32, device=device),
        largest_input,
    )
    assert np.array_equal(x.cpu().numpy(), s @ weight.T)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize(("largest_weight", "largest_input"), SIZES)
def test_convolutions_are_exact(device, precision, largest_weight, largest_input, matmul_precision):
    matmul_precision(precision)
    rng = np.random.default_rng(0)
    s = rng.integers(0, largest_input, (2, 4, 9, 8), endpoint=True)
    weight = rng.integers(-largest_weight, largest_weight, (6, 2, 3, 3), endpoint=True)
    weight[0], s[0] = largest_weight, largest_input  # the bound itself is reached
    geometry = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2}
    x = exact_conv2d(
        torch.tensor(s, dtype=torch.float32, device=device),
        torch.tensor(weight, dtype=torch.float32, device=device),
        largest_input,
        **geometry,
    )
    expected = torch.nn.functional.conv2d(torch.tensor(s), torch.tensor(weight), **geometry)  # in int64
    assert np.array_equal(x.cpu().numpy(), expected.numpy())


@pytest.mark.parametrize(
    ("precision", "total", "dtype"),
    [
        ("highest", (1 << 24) - 1, torch.float32),
        ("highest", 1 << 24, torch.float64),
        ("high", 1, torch.float64),
        ("medium", 1, torch.float64),
    ],
)
def test_floats_as_wide_as_needed(precision, total, dtype, matmul_precision):
    matmul_precision(precision)
    assert exact_linear(torch.ones(1, 1, 1), torch.full((1, 1), float(total)), 1).dtype == dtype
    assert exact_conv2d(torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), float(total)), 1).dtype == dtype


def test_an_odd_sum_beyond_float32():
    # 2^24 + 1 is the first whole number that float32 does not hold.
    s, weight = torch.ones(1, 1, 2), torch.tensor([[2.0**24, 1.0]])
    assert exact_linear(s, weight, 1).item() == 2**24 + 1
    assert torch.nn.functional.linear(s, weight).item() == 2**24


def test_precision_set_for_one_back_end_only(monkeypatch):
    def unknown():
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", unknown)
    assert exact_linear(torch.ones(1, 1, 1), torch.ones(1, 1), 1).dtype == torch.float64


def test_autocast_does_not_reach_the_sums():
    s, weight = torch.ones(1, 2, 3), torch.full((1, 3), 253.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert exact_linear(s, weight, 1).flatten().tolist() == [759, 759]
        assert exact_conv2d(
            s.view(1, 2, 3, 1), weight.view(1, 1, 3, 1).expand(2, 1, 3, 1), 1, groups=2
        ).flatten().tolist() == [759, 759]
