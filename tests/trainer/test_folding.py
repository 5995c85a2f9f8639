"""Batch norm, pooling and dropout: what the float pass computes is torch's own, and its gradients are the integers'."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from random_networks import scramble
from torch import nn
from torch.nn import functional

from spikegraph.export.chips import load_chip
from spikegraph.export.quantize import quantize
from spikegraph.trainer import neurons
from spikegraph.trainer.lower import lower
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork

FINE = load_chip("generic", weight_bits=12)  # fine, and far from overflow


def spikes(*shape, p=0.5):
    return (torch.rand(*shape) < p).float()


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def convolutional(**given):
    settings = {"v_threshold": 0.5, "tau_mem": 5e-3, "threshold_per": "channel", **given}
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), LIF(**settings))


def test_a_folded_batch_norm_is_torchs_own_in_evaluation():
    module = convolutional(reset="none")
    scramble(module[1])
    network = SpikingNetwork(module, (2, 5, 4)).eval()
    s = spikes(1, 6, 2, 5, 4)
    expected = module[1](module[0](s[0]))  # v of the first step is x + bias, with nothing left of a step before
    torch.testing.assert_close(network.windows(s)["2"].v_before_reset[0], expected, rtol=1e-4, atol=1e-5)


def test_an_average_pool_is_torchs_own():
    pool, conv, linear = nn.AvgPool2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.Linear(12, 4)
    s = spikes(1, 5, 2, 4, 6)
    network = SpikingNetwork(nn.Sequential(pool, conv, LIF()), (2, 4, 6))
    torch.testing.assert_close(network.windows(s)["2"].v_before_reset[0], conv(pool(s[0])), rtol=1e-4, atol=1e-5)
    network = SpikingNetwork(nn.Sequential(pool, nn.Flatten(), linear, LIF()), (2, 4, 6))
    expected = linear(pool(s[0]).flatten(1))
    torch.testing.assert_close(network.windows(s)["3"].v_before_reset[0], expected, rtol=1e-4, atol=1e-5)


def test_graded_input_trains_like_binary():
    linear = nn.Linear(4, 3)
    network = SpikingNetwork(nn.Sequential(linear, LIF()), (4,), largest_input=255)
    s = torch.randint(0, 256, (1, 2, 4)).float()
    torch.testing.assert_close(network.windows(s)["1"].v_before_reset[0], linear(s[0] / 255), rtol=1e-4, atol=1e-5)


def test_training_takes_the_statistics_of_each_step():
    # One weight of 1, no bias; step 0: inputs 0, 1 → mean 1/2, variance 1/4 → ∓1; step 1: inputs 1, 1 → 0, 0.
    norm = nn.BatchNorm1d(1, eps=0.0)
    linear = nn.Linear(1, 1, bias=False)
    nn.init.ones_(linear.weight)
    network = SpikingNetwork(nn.Sequential(linear, norm, LIF(v_threshold=10.0, tau_mem=1e-9)), (1,))
    s = torch.tensor([[[0.0], [1.0]], [[1.0], [1.0]]])
    network.train()
    norm.eps = 1e-12
    v = network(s).v_before_reset["2"].detach()
    torch.testing.assert_close(v.flatten(), torch.tensor([-1.0, 1.0, 0.0, 0.0]), rtol=0, atol=1e-5)
    # Running mean: 0 → 0.1 · 1/2 = 0.05 → 0.9 · 0.05 + 0.1 · 1 = 0.145
    torch.testing.assert_close(norm.running_mean, torch.tensor([0.145]))


def test_evaluation_and_integers_leave_the_statistics_alone():
    network = SpikingNetwork(convolutional(), (2, 4, 4))
    before = copy.deepcopy(network.module[1].state_dict())
    network.eval()(spikes(3, 2, 2, 4, 4))
    network.compute_in(FINE)
    network.train()(spikes(3, 2, 2, 4, 4))
    assert all(torch.equal(before[name], value) for name, value in network.module[1].state_dict().items())
    network.compute_in(None)
    network(spikes(3, 2, 2, 4, 4))
    assert not torch.equal(before["running_mean"], network.module[1].running_mean)


def test_floats_with_batch_norm_learn():
    network = SpikingNetwork(
        nn.Sequential(convolutional(), nn.Flatten(), nn.Linear(48, 2), LIF(tau_mem=5e-3, v_threshold=0.3)), (2, 4, 4)
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    s, label = spikes(6, 40, 2, 4, 4, p=0.3), torch.arange(40) % 2
    s[:, label == 1, 0] = spikes(6, 20, 4, 4, p=0.8)
    losses = []
    for chip in (None, FINE):
        network.compute_in(chip)
        for _ in range(15):
            loss = functional.cross_entropy(network(s).s[network.outputs[0]].sum(0), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[14] < 0.5 * losses[0]
    assert max(losses[15:]) < losses[0]  # goes on from there in integers
    assert losses[-1] <= losses[14] + 0.05


@pytest.mark.parametrize("chip", [None, FINE])
def test_dropout_keeps_one_mask_for_the_window(chip):
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(30, 30, bias=False), LIF(v_threshold=1e4))
    nn.init.eye_(module[1].weight)
    network = SpikingNetwork(module, (30,), chip=chip)
    s = torch.ones(3, 2, 30)
    v = network.train()(s).v_before_reset["2"].detach()
    x = v.diff(dim=0, prepend=torch.zeros(1, 2, 30))
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[0], x[2])
    dropped = (x[0] == 0).float().mean()
    assert 0.2 < dropped < 0.8
    assert not torch.equal(x[0, 0], x[0, 1])  # each sample its own
    whole = network.eval()(s).v_before_reset["2"].detach()[0]
    assert torch.equal(x[0][x[0] != 0], 2 * whole[x[0] != 0])


def arriving(monkeypatch):
    """Return a list that fills with the input sums of each population that runs."""
    sums = []

    def noted(x, *parameters, **options):
        sums.append(x.detach())
        return neurons.lif(x, *parameters, **options)

    monkeypatch.setattr("spikegraph.trainer.network.lif", noted)
    return sums


POOLED = {
    "dropout": [nn.Dropout(0.3)],
    "dropout, then a pool": [nn.Dropout(0.3), nn.MaxPool2d(2)],
    "dropout, then two pools": [nn.Dropout(0.3), nn.MaxPool2d(2), nn.MaxPool2d((1, 2), 1)],
    "dropouts around a pool": [nn.Dropout(0.3), nn.MaxPool2d(2), nn.Dropout(0.4)],
    "a pool, then dropout": [nn.MaxPool2d(2), nn.Dropout(0.3)],
}


@pytest.mark.parametrize("chip", [None, load_chip("loihi1")], ids=["floats", "integers"])
@pytest.mark.parametrize("case", POOLED)
def test_input_sums_under_dropout_are_torchs_own_and_whole_in_integers(monkeypatch, case, chip):
    """Dropout scales what it keeps; a chip's integers are whole, so that the sums are rounded."""
    parts = copy.deepcopy(POOLED[case])
    conv = nn.Conv2d(2, 3, 3, bias=False)
    network = SpikingNetwork(nn.Sequential(*parts, conv, LIF(tau_mem=math.inf)), (2, 8, 8), chip=chip).train()
    sums, s = arriving(monkeypatch), spikes(4, 3, 2, 8, 8)
    torch.manual_seed(1)
    activity = network(s)
    assert all(each.unique().tolist() == [0, 1] for each in activity.s.values())  # relays too
    activity.v_before_reset[network.outputs[0]].sum().backward()
    assert conv.weight.grad.abs().sum() > 0

    torch.manual_seed(1)
    for part in parts:
        s = s * part(torch.ones_like(s[0])) if isinstance(part, nn.Dropout) else torch.stack([part(step) for step in s])
    weight = conv.weight.detach()
    if chip is not None:
        (projection,) = quantize(lower(network, n_steps=4), chip)[0].into(network.outputs[0]).values()
        weight = torch.tensor(projection.weight, dtype=torch.float32) * 2**projection.weight_exp
    expected = torch.stack([functional.conv2d(step, weight) for step in s])
    if chip is not None:
        assert not torch.equal(expected, expected.round())
        assert torch.equal(sums[-1], sums[-1].round())
    torch.testing.assert_close(sums[-1], expected, rtol=1e-4, atol=0.501 if chip else 1e-5)


@pytest.mark.parametrize("chip", [None, FINE], ids=["floats", "integers"])
def test_all_that_a_dropout_feeds_gets_one_mask(chip):
    class Twice(nn.Module):
        def __init__(self, joined):
            super().__init__()
            self.joined, self.drop = joined, nn.Dropout(0.5)
            self.plus, self.minus = nn.Linear(30, 30, bias=False), nn.Linear(30, 30, bias=False)
            self.lif = LIF(v_threshold=1e4, tau_mem=1e-9)
            with torch.no_grad():
                nn.init.eye_(self.plus.weight)
                self.minus.weight.copy_(-self.plus.weight)

        def forward(self, s):
            return self.lif(self.joined(self, s))

    def sums_of(joined):
        network = SpikingNetwork(Twice(joined), (30,), chip=chip).train()
        return network(torch.ones(2, 3, 30)).v_before_reset["lif"].detach()

    assert not sums_of(lambda m, s: (lambda kept: m.plus(kept) + m.minus(kept))(m.drop(s))).any()
    assert sums_of(lambda m, s: m.plus(m.drop(s)) + m.minus(m.drop(s))).any()  # two calls, two masks
    of_a_sum = sums_of(lambda m, s: m.plus(m.drop(s + s)))
    assert len(of_a_sum.unique()) == 2  # both or none


def gradients(module, s, shape, chip):
    """Return the gradients of a copy of a module, in floats by running statistics or in a chip's integers."""
    network = SpikingNetwork(copy.deepcopy(module), shape, chip=chip).eval()  # so that floats fold the norm as well
    out = network(s).s[network.outputs[0]]
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    (out * weights).sum().backward()
    return network.windows(s), {name: p.grad for name, p in network.module.named_parameters()}


@pytest.mark.parametrize("threshold_per", ["layer", "channel"])
@pytest.mark.parametrize("shared", [True, False])
def test_gradients_of_integers_are_those_of_floats_where_quantization_is_fine(threshold_per, shared):
    chip = FINE.model_copy(update={"threshold_mant": FINE.threshold_mant.model_copy(update={"shared": shared})})
    settings = {"v_threshold": 0.2, "tau_mem": 5e-3, "threshold_per": threshold_per, "train_tau": True}
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        LIF(**settings),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 4),
        LIF(**{**settings, "v_threshold": 0.15}),
    )
    scramble(module[1])
    s, shape = spikes(5, 3, 1, 4, 4), (1, 4, 4)
    SpikingNetwork(module, shape)  # binds the thresholds once
    out, floats = gradients(module, s, shape, None)
    same, integers = gradients(module, s, shape, chip)
    for name, window in out.items():
        assert 0 < window.s.mean() < 1
        assert torch.equal(window.s, same[name].s)  # else they are not the same function
    assert set(floats) >= {"0.weight", "0.bias", "1.weight", "1.bias", "2.v_threshold", "2.mem_logit", "5.weight"}
    for name, gradient in floats.items():
        assert gradient.abs().max() > 0, name
        if name.endswith("v_threshold") and shared and threshold_per == "channel":
            # Folded into the weights it gets d(v/θ)/dθ = -v/θ², not folded -1/θ: another rule where v is far from θ.
            assert integers[name].isfinite().all()
            assert not torch.equal(integers[name], gradient)
            continue
        scale = float(gradient.abs().max())
        torch.testing.assert_close(integers[name], gradient, rtol=0.02, atol=0.02 * scale, msg=name)
