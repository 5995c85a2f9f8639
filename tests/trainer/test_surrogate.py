"""Surrogate gradients: even, positive, falling away from the threshold, and the formulas of their papers."""

from math import pi

import pytest
import torch

from spikegraph.trainer.surrogate import SURROGATES

Z = torch.linspace(-5, 5, 201, dtype=torch.float64)


@pytest.mark.parametrize("name", SURROGATES)
def test_shape(name):
    y = SURROGATES[name](Z)
    assert torch.equal(y, y.flip(0))
    assert (y >= 0).all()
    assert float(SURROGATES[name](torch.tensor(0.0))) == 1
    assert (y[101:].diff() <= 0).all()


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("arctan", lambda z: 1 / (1 + (pi * z) ** 2)),
        ("fast_sigmoid", lambda z: 1 / (1 + 4 * abs(z)) ** 2),
        ("triangle", lambda z: max(0.0, 1 - abs(z))),
    ],
)
def test_formula(name, formula):
    expected = torch.tensor([formula(float(z)) for z in Z], dtype=torch.float64)
    torch.testing.assert_close(SURROGATES[name](Z), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize(("name", "area"), [("arctan", 1.0), ("fast_sigmoid", 0.5), ("triangle", 1.0)])
def test_area(name, area):
    z = torch.linspace(-2000, 2000, 4_000_001, dtype=torch.float64)
    assert float(torch.trapezoid(SURROGATES[name](z), z)) == pytest.approx(area, rel=1e-3)
