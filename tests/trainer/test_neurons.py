"""Neurons in torch: integers against the reference engine, floats against their equations, gradients by autograd."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.trainer.neurons import Dynamics, float_window, integer_window, lif
from spikegraph.trainer.surrogate import SURROGATES

RESETS = ("zero", "subtract", "none")


@st.composite
def integer_cases(draw):
    """Draw dynamics, thresholds, biases and inputs; sums near 2^17 make u wrap and v saturate within some steps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_steps, n_samples = draw(st.integers(1, 5)), draw(st.integers(1, 12)), draw(st.integers(1, 3))
    decay_u = draw(st.sampled_from([4096, 1, 2, 700, 2048, 4095]))
    decay_v = draw(st.sampled_from([0, 4096, 1, 150, 2048, 4095]))
    dynamics = Dynamics(
        decay_u=decay_u,
        decay_v=decay_v,
        kept_u=1 - decay_u / 4096,
        kept_v=1 - decay_v / 4096,
        reset=draw(st.sampled_from(RESETS)),
        refractory_steps=draw(st.sampled_from([1, 1, 2, 3, 40])),
        max_spikes=draw(st.sampled_from([0, 0, 1, 2])),
    )
    per_neuron = draw(st.booleans())
    threshold_mant = rng.choice(draw(st.sampled_from([[1, 2, 20], [300, 5000], [1, 131071]])), n if per_neuron else ())
    bias_mant = rng.integers(*draw(st.sampled_from([(0, 1), (-40, 41), (-4096, 4096)])), size=n)
    bias_exp = draw(st.integers(0, 7))
    largest = draw(st.sampled_from([1, 30, 1000, 32767]))
    x = rng.integers(-largest, largest + 1, (n_steps, n_samples, n)) * draw(st.sampled_from([1, 8]))
    drift = draw(st.sampled_from([0, largest]))  # one direction for long: the ends of u and v
    return dynamics, threshold_mant, bias_mant, bias_exp, x + drift


def reference(dynamics, threshold_mant, bias_mant, bias_exp, x):
    """Run the same neurons in the reference engine; 32767 · 2^3 a step reaches beyond any 24-bit end."""
    n_steps, _, n = x.shape
    small = np.arange(n)
    # x = low + high · 2^7 through two projections, so that each spike stays a 16-bit number.
    high, low = x >> 7, x & 127
    graph = Graph(
        inputs={name: Input(shape=(n,), min_value=-32768, max_value=32767) for name in ("low", "high")},
        populations={
            "a": Population(
                shape=(n,),
                decay_u=dynamics.decay_u,
                decay_v=dynamics.decay_v,
                threshold_mant=threshold_mant,
                bias_mant=bias_mant,
                bias_exp=bias_exp,
                reset=dynamics.reset,
                refractory_steps=dynamics.refractory_steps,
                max_spikes=dynamics.max_spikes,
            )
        },
        projections={
            "p": Dense(source="low", target="a", weight=(small[:, None] == small).astype(int)),
            "q": Dense(source="high", target="a", weight=(small[:, None] == small).astype(int), weight_exp=7),
        },
        outputs={"out": Output(population="a")},
        n_steps=n_steps,
    )
    result = run_reference(compile_program(graph), {"low": low, "high": high}, ["a"])
    assert np.array_equal(result.traces["a"].x, x)
    return result


@given(integer_cases(), st.sampled_from([torch.float32, torch.float64]))
@hypothesis_settings(max_examples=100, deadline=None)
def test_integer_window_is_the_reference_engine(case, dtype):
    dynamics, threshold_mant, bias_mant, bias_exp, x = case
    trace = reference(*case).traces["a"]
    bias = torch.tensor(bias_mant * 2.0**bias_exp)
    window = integer_window(
        torch.tensor(x, dtype=dtype), torch.tensor(threshold_mant).to(dtype), bias, dynamics, keep_states=True
    )
    assert window.u.dtype == window.v.dtype == torch.int64
    for name in ("s", "u", "v", "v_before_reset"):
        assert np.array_equal(getattr(window, name).numpy(), getattr(trace, name)), name


def test_integer_cases_wrap_and_saturate():
    silent = (np.array(131071), np.zeros(1, int), 0, np.full((5, 1, 1), 80000))  # u of 5.12 million a step
    counted = reference(Dynamics(decay_u=1, reset="none"), *silent).per_step
    assert counted["wraps"]["a"].sum() > 0
    counted = reference(Dynamics(decay_u=4096, reset="none"), *silent).per_step
    assert counted["saturations"]["a"].sum() == 4  # 2^23 is passed in step 1, then in every step


def naive(x, threshold, bias, dynamics):
    """The float equations, a neuron at a time, in Python floats."""
    n_steps, n_samples, n = x.shape
    out = {name: np.zeros(x.shape) for name in ("s", "u", "v", "v_before_reset")}
    threshold, bias = np.broadcast_to(threshold, (n,)), np.broadcast_to(bias, (n,))
    for b in range(n_samples):
        for i in range(n):
            u = v = 0.0
            silent_until, fired = 0, 0
            for t in range(n_steps):
                u = dynamics.kept_u * u + x[t, b, i]
                pauses = t < silent_until or (dynamics.max_spikes and fired >= dynamics.max_spikes)
                v = 0.0 if pauses else dynamics.kept_v * v + u + bias[i]
                out["v_before_reset"][t, b, i] = v
                if v > threshold[i]:
                    out["s"][t, b, i] = 1
                    fired += 1
                    silent_until = t + dynamics.refractory_steps
                    v = {"zero": 0.0, "subtract": v - threshold[i], "none": v}[dynamics.reset]
                out["u"][t, b, i], out["v"][t, b, i] = u, v
    return out


@given(
    seed=st.integers(0, 2**32 - 1),
    reset=st.sampled_from(RESETS),
    refractory_steps=st.sampled_from([1, 2, 3]),
    max_spikes=st.sampled_from([0, 1, 2]),
    kept=st.sampled_from([(0.0, 1.0), (0.5, 0.9), (1.0, 0.0), (0.9, 0.3)]),
    per_neuron=st.booleans(),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_float_window_is_its_equations(seed, reset, refractory_steps, max_spikes, kept, per_neuron):
    rng = np.random.default_rng(seed)
    dynamics = Dynamics(
        kept_u=kept[0], kept_v=kept[1], reset=reset, refractory_steps=refractory_steps, max_spikes=max_spikes
    )
    x = rng.normal(0.4, 1.0, (8, 2, 3))
    threshold, bias = rng.uniform(0.5, 2, 3 if per_neuron else ()), rng.normal(0, 0.3, 3)
    window = float_window(torch.tensor(x), torch.tensor(threshold), torch.tensor(bias), dynamics, keep_states=True)
    for name, values in naive(x, threshold, bias, dynamics).items():
        np.testing.assert_allclose(getattr(window, name).numpy(), values, rtol=0, atol=1e-12, err_msg=name)


def test_states_are_kept_only_when_asked_for():
    window = float_window(torch.ones(3, 2, 4), torch.tensor(1.0), torch.zeros(4), Dynamics())
    assert window.u.numel() == window.v.numel() == 0
    assert window.integrates.shape == ()


class Spike(torch.autograd.Function):
    """A step function whose derivative is the surrogate, in units of the threshold."""

    @staticmethod
    def forward(ctx, v, threshold, surrogate):
        ctx.save_for_backward(v, threshold)
        ctx.surrogate = surrogate
        return (v > threshold).to(v.dtype)

    @staticmethod
    def backward(ctx, gradient):
        v, threshold = ctx.saved_tensors
        through = gradient * ctx.surrogate((v - threshold) / threshold) / threshold
        return through, -through.sum_to_size(threshold.shape), None


def plain(x, threshold, bias, dynamics):
    """The same neurons written for autograd, one step after the other, the reset detached."""
    u = v = torch.zeros_like(x[0])
    held, fired = torch.zeros_like(x[0]), torch.zeros_like(x[0])
    spikes, potentials = [], []
    for t in range(len(x)):
        u = dynamics.kept_u * u + x[t]
        integrates = (held == 0).to(x.dtype)
        v = (dynamics.kept_v * v + u + bias) * integrates
        s = Spike.apply(v, threshold, SURROGATES[dynamics.surrogate]) * integrates
        spikes.append(s)
        potentials.append(v)
        hit = s.detach()
        if dynamics.reset == "zero":
            v = v * (1 - hit)
        elif dynamics.reset == "subtract":
            v = v - hit * threshold.detach()
        fired = fired + hit
        held = torch.where(hit > 0, dynamics.refractory_steps - 1.0, (held - 1).clamp(min=0))
        if dynamics.max_spikes:
            held = torch.where(fired >= dynamics.max_spikes, float(len(x)), held)
    return torch.stack(spikes), torch.stack(potentials)


@pytest.mark.parametrize("reads", ["s", "v", "both"])
@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize(("refractory_steps", "max_spikes"), [(1, 0), (3, 0), (1, 1), (2, 2)])
@pytest.mark.parametrize("reset", RESETS)
def test_gradients_are_autograds(reset, refractory_steps, max_spikes, per_neuron, reads):
    rng = np.random.default_rng(3)
    for surrogate, kept_u, kept_v in (("arctan", 0.0, 1.0), ("fast_sigmoid", 0.6, 0.8), ("triangle", 0.9, 0.0)):
        dynamics = Dynamics(
            kept_u=kept_u,
            kept_v=kept_v,
            reset=reset,
            refractory_steps=refractory_steps,
            max_spikes=max_spikes,
            surrogate=surrogate,
        )
        values = (
            rng.normal(0.4, 1, (7, 3, 4)),
            rng.uniform(0.5, 1.5, 4 if per_neuron else ()),
            rng.normal(0, 0.2, 4),
        )
        weight_s, weight_v = (torch.tensor(rng.normal(size=(7, 3, 4))) for _ in range(2))
        results = []
        for run in (partial(lif, integer=False), plain):
            parameters = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]
            s, v = run(*parameters, dynamics)
            read = {"s": [s * weight_s], "v": [v * weight_v], "both": [s * weight_s, v * weight_v]}[reads]
            sum(part.sum() for part in read).backward()
            results.append((s.detach(), v.detach(), [parameter.grad for parameter in parameters]))
        (s, v, gradients), (s_plain, v_plain, expected) = results
        assert s.sum() > 3
        torch.testing.assert_close(s, s_plain, rtol=0, atol=0)
        torch.testing.assert_close(v, v_plain, rtol=1e-12, atol=1e-12)
        for gradient, wanted in zip(gradients, expected, strict=True):
            if wanted is None:  # reading v alone reaches no threshold
                assert not gradient.any()
            else:
                torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-10)


def test_a_pausing_neuron_does_not_move_its_threshold():
    # One spike in step 0, then a pause to the end: only step 0 is compared, with z = (3 - 2) / 2.
    threshold = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = torch.full((5, 1, 1), 3.0, dtype=torch.float64)
    s, _ = lif(x, threshold, torch.zeros(1, dtype=torch.float64), Dynamics(refractory_steps=9), integer=False)
    s.sum().backward()
    assert s.flatten().tolist() == [1, 0, 0, 0, 0]
    assert float(threshold.grad) == pytest.approx(-float(SURROGATES["arctan"](torch.tensor(0.5))) / 2)


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("refractory_steps", [1, 2])
@pytest.mark.parametrize("reset", RESETS)
def test_integer_gradients_are_those_of_the_float_twin(reset, refractory_steps, per_neuron):
    """In units of v, 64 times those of x: the two windows differ by the rounding of decays alone."""
    rng = np.random.default_rng(11)
    dynamics = Dynamics(
        decay_u=3000, decay_v=700, kept_u=1 - 3000 / 4096, kept_v=1 - 700 / 4096, reset=reset,
        refractory_steps=refractory_steps,
    )  # fmt: skip
    x = rng.integers(-4000, 9000, (9, 4, 5)).astype(float)
    threshold = rng.integers(5000, 9000, 5 if per_neuron else ()).astype(float)
    bias = rng.integers(-3000, 3000, 5).astype(float)
    weight_s, weight_v = (torch.tensor(rng.normal(size=x.shape)) for _ in range(2))
    gradients = []
    for integer, unit in ((True, 1.0), (False, 64.0)):
        parameters = [
            torch.tensor(value * factor, dtype=torch.float64, requires_grad=True)
            for value, factor in ((x, unit), (threshold, unit), (bias, 1.0))
        ]
        s, v = lif(*parameters, dynamics, integer=integer)
        ((s * weight_s).sum() + (v * weight_v).sum() / 1e6).backward()
        gradients.append((s.detach(), [p.grad * factor for p, factor in zip(parameters, (unit, unit, 1), strict=True)]))
    (s, found), (s_float, wanted) = gradients
    assert s.sum() > 10
    torch.testing.assert_close(s, s_float)  # far enough from every threshold here for the same spikes
    for gradient, twin in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, twin, rtol=1e-3, atol=1e-6)


def test_backward_accepts_one_gradient_only_and_returns_the_dtype_of_each_parameter():
    x = torch.full((4, 2, 3), 90.0, dtype=torch.float64, requires_grad=True)
    threshold, bias = torch.tensor(100.0, requires_grad=True), torch.zeros(3, requires_grad=True)
    s, _ = lif(x, threshold, bias, replace(Dynamics(), reset="subtract"), integer=True)
    s.sum().backward()
    assert (x.grad.dtype, threshold.grad.dtype, bias.grad.dtype) == (torch.float64, torch.float32, torch.float32)
    assert (threshold.grad.shape, bias.grad.shape) == ((), (3,))
