"""Gradients worked out by hand, and the traps of the published code."""

import math

import pytest
import torch

from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.rules import Rule, Synapses, fire

N_STEPS = 6
MARGIN = Rule(kind="margin", surrogate="triangle")


def run(times, weight, rule, *, until=None, fires=True, geometry=None, bias=None):
    """Run one neuron (or a geometry); return times, weight and what `fire` returns, all ready for backward."""
    times = torch.tensor(times, dtype=torch.float32).reshape(-1, len(times[0])).requires_grad_()
    geometry = geometry or Geometry(channels=times.shape[1], outputs=1)
    weight = torch.tensor(weight, dtype=torch.float32).reshape(geometry.weight_shape).requires_grad_()
    synapses = Synapses(weight=weight.detach(), bias=bias, threshold=1.0, integer=False)
    until = torch.full((len(times),), N_STEPS - 1) if until is None else torch.tensor(until)
    return times, weight, fire(times, weight, bias, synapses, 1.0, geometry, rule, N_STEPS, until, fires=fires)


def test_margin_of_a_silent_neuron():
    # v is 0.4 from step 0 and 0.7 from step 2 on: it stays silent, 0.3 short, where the triangle is 0.7. The line
    # that never spikes learns nothing. Being later by one is worth 1, so 0.7 more on both that came.
    times, weight, (fired_at, _, peak) = run([[0, 2, 6]], [0.4, 0.3, 5.0], MARGIN)
    assert (fired_at.item(), peak.item()) == (6, pytest.approx(0.7))
    fired_at.sum().backward()
    assert weight.grad.flatten().tolist() == pytest.approx([-0.7, -0.7, 0])
    assert times.grad.flatten().tolist() == pytest.approx([0.28, 0.21, 3.5])


def test_margin_learns_from_what_came_before_the_peak():
    _, weight, (fired_at, _, _) = run([[0, 2, 3]], [0.7, -0.5, 0.1], MARGIN)
    fired_at.sum().backward()
    assert weight.grad.flatten().tolist() == pytest.approx([-0.7, 0, 0])


def test_margin_of_a_neuron_that_fired():
    # v is 1.5 in step 1, when it fires: half a threshold above, where the triangle is a half. What is later is nothing.
    _, weight, (fired_at, last, _) = run([[0, 1, 2]], [0.5, 1.0, 9.0], MARGIN)
    assert (fired_at.item(), last.item()) == (1, 1.5)
    fired_at.sum().backward()
    assert weight.grad.flatten().tolist() == pytest.approx([-0.5, -0.5, 0])


def test_potentials_at_the_end_of_a_sample():
    times, weight, (_, last, _) = run([[0, 1, 2]], [0.5, 1.0, 9.0], MARGIN, until=[1], fires=False)
    assert last.item() == 1.5
    (3 * last).sum().backward()
    assert weight.grad.flatten().tolist() == [3, 3, 0]
    # To spike one step earlier is worth its weight, as if the spike were more of a spike.
    assert times.grad.flatten().tolist() == [-1.5, -3, -27]


def test_a_bias_counts_its_steps():
    bias = torch.tensor([0.25], requires_grad=True)
    _, _, (fired_at, last, _) = run([[6, 6]], [1.0, 1.0], MARGIN, bias=bias, until=[3])
    assert (fired_at.item(), last.item()) == (6, 1.0)  # 4 · 0.25 is not above 1
    last.sum().backward()
    assert bias.grad.tolist() == [4]
    _, _, (fired_at, _, _) = run([[6, 6]], [1.0, 1.0], MARGIN, bias=bias)
    assert fired_at.item() == 4  # 5 · 0.25 is


def test_the_code_s_causal_mask():
    # It fires in step 1, after two of four lines; the last one never spikes. Error 2, not normalized, one sample.
    rule = Rule(kind="causal", normalize=False)
    times, weight, (fired_at, _, _) = run([[0, 1, 3, 6]], [0.6, 0.6, 2.0, 3.0], rule)
    assert fired_at.item() == 1
    (2 * fired_at).sum().backward()
    assert weight.grad.flatten().tolist() == pytest.approx([-2, -2, 0, 0])
    assert times.grad.flatten().tolist() == pytest.approx([1.2, 1.2, 0, 0])
    rule = Rule(kind="causal", causal=0.8, anticausal=0.2, normalize=False)
    _, weight, (fired_at, _, _) = run([[0, 1, 3, 6]], [0.6, 0.6, 2.0, 3.0], rule)
    (2 * fired_at).sum().backward()
    assert weight.grad.flatten().tolist() == pytest.approx([-1.6, -1.6, 0.4, 0])


def test_the_paper_s_window():
    rule = Rule(kind="stdp", causal=0.8, anticausal=0.2, tau=2.0, offset=0.1, w_max=3.0, mu=2.0, normalize=False)
    _, weight, (fired_at, _, _) = run([[0, 1, 3, 6]], [0.6, 0.6, 2.0, 3.0], rule)
    fired_at.sum().backward()
    near, far = math.exp(-0.5) - 0.1, math.exp(-1) - 0.1
    expected = [-0.8 * near * 2.4**2, -0.8 * 0.9 * 2.4**2, 0.2 * far, 0]
    assert weight.grad.flatten().tolist() == pytest.approx(expected)


def test_errors_are_normalized_per_sample_and_layer():
    geometry = Geometry(channels=1, outputs=2)
    _, weight, (fired_at, _, _) = run([[0], [1]], [2.0, 2.0], Rule(kind="causal"), geometry=geometry)
    (fired_at.flatten(1) * torch.tensor([[3.0, 4.0], [0.0, 7.0]])).sum().backward()
    # 3, 4 become 0.6, 0.8; 0, 7 become 0, 1; the mean of two samples.
    assert weight.grad.flatten().tolist() == pytest.approx([-0.3, -0.9])


@pytest.mark.parametrize("kind", ["margin", "causal", "stdp"])
def test_silent_lines_learn_nothing_though_the_neuron_is_silent_too(kind):
    _, weight, (fired_at, _, _) = run([[2, 6]], [0.5, 0.5], Rule(kind=kind))
    assert fired_at.item() == 6
    fired_at.sum().backward()
    came, never = weight.grad.flatten().tolist()
    assert came < 0 == never


@pytest.mark.parametrize("kind", ["margin", "causal", "stdp"])
def test_a_spike_in_the_last_step_acts_and_learns(kind):
    _, weight, (fired_at, _, _) = run([[N_STEPS - 1]], [1.5], Rule(kind=kind, w_max=2.0))
    assert fired_at.item() == N_STEPS - 1
    fired_at.sum().backward()
    assert weight.grad.item() < 0


@pytest.mark.parametrize("kind", ["margin", "causal", "stdp"])
def test_padding_learns_nothing(kind):
    # One pixel of nine spikes, in the corner: of the 3 x 3 taps it reaches four sites by the four at the lower right,
    # each once. Everything else is padding or silence.
    geometry = Geometry(channels=1, height=3, width=3, outputs=1, kernel_size=3, padding=1)
    times = [[0] + [N_STEPS] * 8]
    _, weight, (fired_at, _, _) = run(times, [0.5] * 9, Rule(kind=kind), geometry=geometry)
    fired_at.sum().backward()
    learned = weight.grad.reshape(3, 3)
    assert (learned[:2, :2] < 0).all()
    assert learned[2].tolist() == [0, 0, 0] == learned[:, 2].tolist()


@pytest.mark.parametrize("kind", ["margin", "causal", "stdp"])
def test_dead_neurons_recover(kind):
    # Hidden neurons far from firing, and so a silent output: descent wakes them, in the weights that act.
    torch.manual_seed(0)
    hidden, output = Geometry(channels=8, outputs=4), Geometry(channels=4, outputs=1)
    weights = [torch.full(hidden.weight_shape, 0.08), torch.full(output.weight_shape, 0.4)]
    weights = [weight.requires_grad_() for weight in weights]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    times, until = torch.arange(8.0).clamp(max=4).reshape(1, 8), torch.tensor([N_STEPS - 1])
    rule, seen = Rule(kind=kind, surrogate="arctan"), []
    for _ in range(60):
        s, everything = times, []
        for weight, geometry in zip(weights, (hidden, output), strict=True):
            synapses = Synapses(weight=weight.detach(), bias=None, threshold=1.0, integer=False)
            s = fire(s.flatten(1), weight, None, synapses, 1.0, geometry, rule, N_STEPS, until)[0]
            everything.append(s)
        seen.append([int((each < N_STEPS).sum()) for each in everything])
        optimizer.zero_grad()
        everything[-1].sum().backward()
        optimizer.step()
    assert seen[0] == [0, 0]
    assert seen[-1] == [4, 1]


def test_timing_rules_refuse_losses_on_potentials():
    _, _, (_, last, _) = run([[0]], [0.5], Rule(kind="causal"))
    with pytest.raises(RuntimeError, match="learn from spike times"):
        last.sum().backward()
