"""Neurons in torch: integers against the reference engine, floats against their equations, gradients by autograd."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.trainer.neurons import Decays, Dynamics, float_window, integer_window, lif
from spikegraph.trainer.surrogate import SURROGATES

RESETS = ("zero", "subtract", "none")
GRAINS = ("layer", "channel", "neuron")


def floats(kept_u, kept_v):
    """Return decays for float windows."""
    return Decays(kept_u=torch.as_tensor(kept_u), kept_v=torch.as_tensor(kept_v), decay_u=4096, decay_v=0)


def integers(decay_u, decay_v):
    """Return decays for integer windows, and the shares that are theirs."""
    kept_u, kept_v = (1 - torch.as_tensor(d, dtype=torch.float64) / 4096 for d in (decay_u, decay_v))
    return Decays(kept_u=kept_u, kept_v=kept_v, decay_u=decay_u, decay_v=decay_v)


def grain_shape(grain, shape):
    """Return the shape of a parameter as a graph has it."""
    return {"layer": (), "channel": shape[:1], "neuron": shape}[grain]


def beside(value, shape):
    """Return a graph's parameter so that it broadcasts to the neurons: (c,) as (c, 1, 1)."""
    value = torch.as_tensor(value)
    return value.reshape(-1, *(1,) * (len(shape) - 1)) if value.ndim == 1 else value


@dataclass
class IntegerCase:
    """Neurons as a graph has them, and their input sums (T, B, *shape)."""

    shape: tuple[int, ...]
    parameters: dict[str, np.ndarray]
    dynamics: Dynamics
    recurrent: np.ndarray | None
    x: np.ndarray

    def window(self, dtype=torch.float64):
        parameters = {name: beside(value, self.shape) for name, value in self.parameters.items()}
        scalar = {name: parameters[name] if parameters[name].ndim else int(parameters[name]) for name in parameters}
        return integer_window(
            torch.tensor(self.x, dtype=dtype),
            parameters["threshold_mant"].to(dtype),
            (parameters["bias_mant"] << parameters["bias_exp"]).to(dtype),
            integers(scalar["decay_u"], scalar["decay_v"]),
            self.dynamics,
            recurrent=None if self.recurrent is None else torch.tensor(self.recurrent, dtype=dtype),
            keep_states=True,
        )

    def reference(self):
        """Run the same neurons in the reference engine; 32767 · 2^3 a step reaches beyond any 24-bit end."""
        # x = low + high · 2^7 through two projections, so that each spike stays a 16-bit number.
        high, low = self.x >> 7, self.x & 127
        projections = {}
        for name, exponent in (("low", 0), ("high", 7)):
            n = int(np.prod(self.shape))
            projections[name + "_a"] = Dense(source=name, target="a", weight=np.eye(n, dtype=int), weight_exp=exponent)
        if self.recurrent is not None:
            projections["back"] = Dense(source="a", target="a", weight=self.recurrent, delay_steps=1)
        graph = Graph(
            inputs={name: Input(shape=self.shape, min_value=-32768, max_value=32767) for name in ("low", "high")},
            populations={
                "a": Population(
                    shape=self.shape,
                    reset=self.dynamics.reset,
                    refractory_steps=self.dynamics.refractory_steps,
                    max_spikes=self.dynamics.max_spikes,
                    **self.parameters,
                )
            },
            projections=projections,
            outputs={"out": Output(population="a")},
            n_steps=len(self.x),
        )
        return run_reference(compile_program(graph), {"low": low, "high": high}, ["a"])


@st.composite
def integer_cases(draw):
    """Draw neurons and inputs; sums near 2^17 make u wrap and v saturate within some steps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.sampled_from([(1,), (5,), (3, 1, 2), (2, 2, 2)]))
    choices = {
        "decay_u": [4096, 1, 2, 700, 2048, 4095],
        "decay_v": [0, 4096, 1, 150, 2048, 4095],
        "threshold_mant": draw(st.sampled_from([[1, 2, 20], [300, 5000], [1, 131071]])),
        "bias_mant": draw(st.sampled_from([[0], [-40, 3, 41], [-4096, 4095]])),
        "bias_exp": [0, 3, 7],
    }
    parameters = {
        name: rng.choice(values, grain_shape(draw(st.sampled_from(GRAINS)), shape)) for name, values in choices.items()
    }
    dynamics = Dynamics(
        reset=draw(st.sampled_from(RESETS)),
        refractory_steps=draw(st.sampled_from([1, 1, 2, 3, 40])),
        max_spikes=draw(st.sampled_from([0, 0, 1, 2])),
    )
    n, n_steps, n_samples = int(np.prod(shape)), draw(st.integers(1, 12)), draw(st.integers(1, 3))
    strongest = draw(st.sampled_from([0, 0, 2, 300, 32767]))
    recurrent = rng.integers(-strongest, strongest, (n, n), endpoint=True) if strongest else None
    largest = draw(st.sampled_from([1, 30, 1000, 32767]))
    x = rng.integers(-largest, largest + 1, (n_steps, n_samples, *shape)) * draw(st.sampled_from([1, 8]))
    drift = draw(st.sampled_from([0, largest]))  # one direction for long: the ends of u and v
    return IntegerCase(shape, parameters, dynamics, recurrent, x + drift)


@given(integer_cases(), st.sampled_from([torch.float32, torch.float64]))
@hypothesis_settings(max_examples=100, deadline=None)
def test_integer_window_is_the_reference_engine(case, dtype):
    trace, window = case.reference().traces["a"], case.window(dtype)
    assert window.u.dtype == window.v.dtype == torch.int64
    for name in ("s", "u", "v", "v_before_reset"):
        values = getattr(window, name).numpy()
        assert np.array_equal(values, np.reshape(getattr(trace, name), values.shape)), name


def test_integer_cases_wrap_and_saturate():
    def counted(decay_u):
        parameters = {"decay_u": decay_u, "decay_v": 0, "threshold_mant": 131071, "bias_mant": 0, "bias_exp": 0}
        x = np.full((5, 1, 1), 80000)  # u of 5.12 million a step
        case = IntegerCase((1,), {k: np.array(v) for k, v in parameters.items()}, Dynamics(reset="none"), None, x)
        return case.reference().per_step

    assert counted(decay_u=1)["wraps"]["a"].sum() > 0
    assert counted(decay_u=4096)["saturations"]["a"].sum() == 4  # 2^23 is passed in step 1, then in every step


def test_recurrent_sums_beyond_float32():
    """x and what is fed back are each a float32, their sum 2^24 + 1 is none; u = wrap24(2^30 + 64) = 64."""
    window = integer_window(
        torch.tensor([5.0, 2.0**24 - 1]).reshape(2, 1, 1),
        torch.tensor(1.0),
        torch.tensor(0.0),
        integers(4096, 4096),
        Dynamics(),
        recurrent=torch.tensor([[2.0]]),
        keep_states=True,
    )
    assert window.s.flatten().tolist() == [1, 0]
    assert window.u.flatten().tolist() == [320, 64]  # nothing is fed back in step 0


def naive(x, threshold, bias, kept, dynamics, recurrent):
    """The float equations, a neuron at a time, in Python floats; every parameter (n,), x (T, B, n)."""
    n_steps, n_samples, n = x.shape
    out = {name: np.zeros(x.shape) for name in ("s", "u", "v", "v_before_reset")}
    for b in range(n_samples):
        u, v = np.zeros(n), np.zeros(n)
        silent_until, fired, s = np.zeros(n), np.zeros(n), np.zeros(n)
        for t in range(n_steps):
            s_before = s.copy()
            for i in range(n):
                u[i] = kept[0][i] * u[i] + x[t, b, i] + sum(recurrent[i, j] * s_before[j] for j in range(n))
                pauses = t < silent_until[i] or (dynamics.max_spikes and fired[i] >= dynamics.max_spikes)
                v[i] = 0.0 if pauses else kept[1][i] * v[i] + u[i] + bias[i]
                out["v_before_reset"][t, b, i] = v[i]
                s[i] = v[i] > threshold[i]
                if s[i]:
                    fired[i] += 1
                    silent_until[i] = t + dynamics.refractory_steps
                    v[i] = {"zero": 0.0, "subtract": v[i] - threshold[i], "none": v[i]}[dynamics.reset]
                out["u"][t, b, i], out["v"][t, b, i], out["s"][t, b, i] = u[i], v[i], s[i]
    return out


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(3,), (2, 1, 2)]),
    dynamics=st.builds(
        Dynamics,
        reset=st.sampled_from(RESETS),
        refractory_steps=st.sampled_from([1, 2, 3]),
        max_spikes=st.sampled_from([0, 1, 2]),
    ),
    grains=st.tuples(*[st.sampled_from(GRAINS)] * 4),
    recurs=st.booleans(),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_float_window_is_its_equations(seed, shape, dynamics, grains, recurs):
    rng, n = np.random.default_rng(seed), int(np.prod(shape))
    x = rng.normal(0.4, 1.0, (8, 2, *shape))
    ranges = ((0.5, 2.0), (-0.3, 0.3), (0.0, 1.0), (0.0, 1.0))
    drawn = [
        beside(rng.uniform(*ends, grain_shape(grain, shape)), shape) for ends, grain in zip(ranges, grains, strict=True)
    ]
    recurrent = rng.normal(0, 0.5, (n, n)) * recurs
    threshold, bias, *kept = drawn
    window = float_window(
        torch.tensor(x), threshold, bias, floats(*kept), dynamics,
        recurrent=torch.tensor(recurrent) if recurs else None, keep_states=True,
    )  # fmt: skip
    flat = [value.broadcast_to(shape).flatten().numpy() for value in drawn]
    expected = naive(x.reshape(8, 2, n), flat[0], flat[1], flat[2:], dynamics, recurrent)
    for name, values in expected.items():
        found = getattr(window, name).numpy().reshape(values.shape)
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-12, err_msg=name)


def test_states_are_kept_only_when_asked_for():
    window = float_window(torch.ones(3, 2, 4), torch.tensor(1.0), torch.zeros(4), floats(0.0, 1.0), Dynamics())
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


def plain(x, threshold, bias, kept_u, kept_v, recurrent, dynamics):
    """The same neurons written for autograd, one step after the other, the reset detached."""
    u = v = s = torch.zeros_like(x[0])
    held, fired = torch.zeros_like(x[0]), torch.zeros_like(x[0])
    spikes, potentials = [], []
    for t in range(len(x)):
        back = 0 if recurrent is None else (s.flatten(1) @ recurrent.T).reshape(s.shape)
        u = kept_u * u + x[t] + back
        integrates = (held == 0).to(x.dtype)
        v = (kept_v * v + u + bias) * integrates
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


def ours(x, threshold, bias, kept_u, kept_v, recurrent, dynamics):
    return lif(x, threshold, bias, floats(kept_u, kept_v), dynamics, integer=False, recurrent=recurrent)


def gradients_of(run, values, dynamics, reads, n_trained=6):
    """Return s, v and the gradients of the first `n_trained` values, of sums of s and v with fixed weights."""
    rng = np.random.default_rng(4)
    parameters = [
        None if value is None else torch.tensor(value, dtype=torch.float64, requires_grad=k < n_trained)
        for k, value in enumerate(values)
    ]
    s, v = run(*parameters, dynamics)
    weight_s, weight_v = (torch.tensor(rng.normal(size=s.shape)) for _ in range(2))
    read = {"s": [s * weight_s], "v": [v * weight_v], "both": [s * weight_s, v * weight_v]}[reads]
    sum(part.sum() for part in read).backward()
    return s.detach(), v.detach(), [None if p is None else p.grad for p in parameters]


def assert_gradients_are_autograds(values, dynamics, reads):
    s, v, gradients = gradients_of(ours, values, dynamics, reads)
    s_plain, v_plain, expected = gradients_of(plain, values, dynamics, reads)
    assert s.sum() > 3
    torch.testing.assert_close(s, s_plain, rtol=0, atol=0)
    torch.testing.assert_close(v, v_plain, rtol=1e-12, atol=1e-12)
    for value, gradient, wanted in zip(values, gradients, expected, strict=True):
        if wanted is None:  # there is none, or reading v alone does not reach it
            assert value is None or gradient is None or not gradient.any()
        else:
            assert wanted.any()
            torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reads", ["s", "v", "both"])
@pytest.mark.parametrize("grain", GRAINS)
@pytest.mark.parametrize(("refractory_steps", "max_spikes"), [(1, 0), (3, 0), (1, 1), (2, 2)])
@pytest.mark.parametrize("reset", RESETS)
def test_gradients_are_autograds(reset, refractory_steps, max_spikes, grain, reads):
    rng = np.random.default_rng(3)
    for surrogate, (low, high), recurs in (
        ("arctan", (0.0, 1.0), False),
        ("fast_sigmoid", (0.2, 0.9), True),
        ("triangle", (0.8, 1.0), True),
    ):
        dynamics = Dynamics(reset=reset, refractory_steps=refractory_steps, max_spikes=max_spikes, surrogate=surrogate)
        shape = (2, 2, 1) if grain == "channel" else (4,)
        parameter = {"layer": (), "channel": (2, 1, 1), "neuron": (4,)}[grain]
        values = (
            rng.normal(0.4, 1, (7, 3, *shape)),
            rng.uniform(0.5, 1.5, parameter),
            rng.normal(0, 0.2, parameter),
            rng.uniform(low, high, parameter),
            rng.uniform(low, high, parameter),
            rng.normal(0, 0.5, (4, 4)) if recurs else None,
        )
        assert_gradients_are_autograds(values, dynamics, reads)


@pytest.mark.parametrize("kept", [(0.0, 1.0), (0.6, 0.8), (0.9, 0.0)])
def test_decays_that_are_not_trained_get_no_gradient_and_change_no_other(kept):
    rng = np.random.default_rng(5)
    values = (rng.normal(0.4, 1, (6, 2, 3)), np.array(0.8), rng.normal(0, 0.2, 3), *map(np.array, kept), None)
    _, _, trained = gradients_of(ours, values, Dynamics(), "both")
    _, _, fixed = gradients_of(ours, values, Dynamics(), "both", n_trained=3)
    assert fixed[3:] == [None, None, None]
    for one, other in zip(fixed[:3], trained[:3], strict=True):
        assert torch.equal(one, other)


def test_a_window_of_one_step():
    values = (np.full((1, 2, 2), 3.0), np.array(1.0), np.zeros(2), np.array(0.5), np.array(0.5), np.ones((2, 2)))
    s, _, gradients = gradients_of(ours, values, Dynamics(), "both")
    assert s.tolist() == [[[1, 1], [1, 1]]]
    assert gradients[0].all()
    assert not any(gradient.any() for gradient in gradients[3:])  # nothing came before


def test_a_pausing_neuron_does_not_move_its_threshold():
    # One spike in step 0, then a pause to the end: only step 0 is compared, with z = (3 - 2) / 2.
    threshold = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = torch.full((5, 1, 1), 3.0, dtype=torch.float64)
    bias = torch.zeros(1, dtype=torch.float64)
    s, _ = lif(x, threshold, bias, floats(0.0, 1.0), Dynamics(refractory_steps=9), integer=False)
    s.sum().backward()
    assert s.flatten().tolist() == [1, 0, 0, 0, 0]
    assert float(threshold.grad) == pytest.approx(-float(SURROGATES["arctan"](torch.tensor(0.5))) / 2)


@pytest.mark.parametrize("recurs", [False, True])
@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("refractory_steps", [1, 2])
@pytest.mark.parametrize("reset", RESETS)
def test_integer_gradients_are_those_of_the_float_twin(reset, refractory_steps, per_neuron, recurs):
    """In units of v, 64 times those of x: the two windows differ by the rounding of decays alone."""
    rng = np.random.default_rng(11)
    dynamics = Dynamics(reset=reset, refractory_steps=refractory_steps)
    parameter = (5,) if per_neuron else ()
    decay_u, decay_v = (torch.tensor(rng.integers(*ends, parameter)) for ends in ((2800, 3200), (600, 800)))
    values = (
        (rng.integers(-4000, 9000, (9, 4, 5)), 64.0),
        (rng.integers(5000, 9000, parameter), 64.0),
        (rng.integers(-3000, 3000, 5), 1.0),
        (1 - decay_u.numpy() / 4096, 1.0),
        (1 - decay_v.numpy() / 4096, 1.0),
        (rng.integers(-2000, 2000, (5, 5)), 64.0),
    )
    weight_s, weight_v = (torch.tensor(rng.normal(size=(9, 4, 5))) for _ in range(2))
    gradients = []
    for integer in (True, False):
        units = [1.0 if integer else unit for _, unit in values]
        x, threshold, bias, kept_u, kept_v, recurrent = parameters = [
            torch.tensor(value * unit, dtype=torch.float64, requires_grad=True)
            for (value, _), unit in zip(values, units, strict=True)
        ]
        decays = Decays(kept_u=kept_u, kept_v=kept_v, decay_u=decay_u, decay_v=decay_v)
        back = recurrent if recurs else None
        s, v = lif(x, threshold, bias, decays, dynamics, integer=integer, recurrent=back)
        ((s * weight_s).sum() + (v * weight_v).sum() / 1e6).backward()
        found = [p.grad * unit for p, unit in zip(parameters, units, strict=True) if p.grad is not None]
        assert len(found) == 5 + recurs
        gradients.append((s.detach(), found))
    (s, found), (s_float, wanted) = gradients
    assert s.sum() > 10
    torch.testing.assert_close(s, s_float)  # far enough from every threshold here for the same spikes
    for gradient, twin in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, twin, rtol=1e-3, atol=1e-3 * float(twin.abs().max()))


def test_backward_accepts_one_gradient_only_and_returns_the_dtype_of_each_parameter():
    x = torch.full((4, 2, 3), 90.0, dtype=torch.float64, requires_grad=True)
    threshold, bias = torch.tensor(100.0, requires_grad=True), torch.zeros(3, requires_grad=True)
    s, _ = lif(x, threshold, bias, integers(4096, 0), Dynamics(reset="subtract"), integer=True)
    s.sum().backward()
    assert (x.grad.dtype, threshold.grad.dtype, bias.grad.dtype) == (torch.float64, torch.float32, torch.float32)
    assert (threshold.grad.shape, bias.grad.shape) == ((), (3,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    """0.001 a step is lost beside 1 in half precision; its gradient comes back in half precision."""
    x = torch.full((4, 1, 1), 0.001, dtype=dtype)
    x[0] = 1.0
    x.requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        one = torch.tensor(1.0)
        recurrent = torch.zeros(1, 1)
        s, v = lif(x, one * 2, one * 0, floats(0.0, 1.0), Dynamics(), integer=False, recurrent=recurrent)
    v.sum().backward()
    assert s.dtype == v.dtype == torch.float32
    assert v[3].item() == pytest.approx(1.003, abs=1e-5)
    assert x.grad.dtype == dtype
