"""Target times by hand; decisions by the law: ties and silence are wrong."""

import numpy as np
import pytest
import torch

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.layers import EarliestPool2d, Fired, OneSpikeLayer
from spikegraph.trainer.sstdp.network import OneSpikeNetwork
from spikegraph.trainer.sstdp.objective import Aim, OneSpikeObjective, decide
from spikegraph.trainer.sstdp.rules import Rule
from spikegraph.trainer.sstdp.targets import squared_error, target_times

N_STEPS = 20


def wanted(times, label, kind, delta=3.0):
    return target_times(torch.tensor(times), torch.tensor(label), kind=kind, delta=delta, n_steps=N_STEPS).tolist()


def test_targets_of_the_paper():
    # Mean of 6 and 10 (the third is silent) is 8: the label by 8 - 2/3 · 3 = 6, the others not before 8 + 3/3 = 9.
    assert wanted([[10.0, 6.0, 20.0]], [0], "paper") == [[6, 9, 20]]
    assert wanted([[10.0, 6.0, 20.0]], [1], "paper") == [[10, 6, 20]]
    assert wanted([[10.0, 6.0, 20.0]], [2], "paper") == [[10, 9, 6]]
    assert wanted([[20.0, 20.0, 20.0]], [1], "paper") == [[20, 18, 20]]
    assert wanted([[0.0, 1.0, 1.0]], [0], "paper", delta=9.0)[0][0] == 0  # not before the window


def test_targets_of_the_code():
    assert wanted([[10.0, 6.0, 20.0]], [0], "code") == [[6, 9, 20]]
    assert wanted([[10.0, 6.0, 20.0]], [1], "code") == [[10, 6, 20]]
    assert wanted([[7.0, 6.0, 19.0]], [2], "code") == [[9, 9, 6]]
    assert wanted([[20.0, 20.0, 20.0]], [1], "code") == [[20, 17, 20]]


def test_squared_error():
    assert (
        squared_error(torch.tensor([[3.0, 5.0], [1.0, 1.0]]), torch.tensor([[1.0, 4.0], [1.0, 4.0]])) == (2.5 + 4.5) / 2
    )


def test_decisions_are_those_of_the_law():
    rng = np.random.default_rng(0)
    fired_at = rng.integers(0, N_STEPS + 3, (400, 3)).clip(max=N_STEPS)
    fired_at[:50] = np.minimum(fired_at[:50], 4)  # ties
    fired_at[50:60] = N_STEPS  # silence
    last = rng.integers(0, 3, (400, 3)).astype(np.float32)  # ties that potentials break, and ties that they do not
    steps = np.arange(N_STEPS)[:, None, None]
    s, v = fired_at == steps, np.broadcast_to(last, (N_STEPS, 400, 3))
    law = Readout(kind="first_spike", output="output").decide(s, v)
    got = decide(fired_at, last, N_STEPS)
    for name in ("predicted", "decided", "step"):
        assert np.array_equal(getattr(got, name), getattr(law, name)), name
    assert not got.decided[50:60].any()
    assert 0 < (~got.decided[:50]).sum() < 50
    tied = decide(np.array([[3, 3, 9]]), np.zeros((1, 3), np.float32), N_STEPS)
    assert not tied.correct(np.array([0])).any()
    assert not tied.correct(np.array([1])).any()


def network(*, margin=True, chip=None):
    torch.manual_seed(0)
    rule = Rule(kind="margin" if margin else "causal")
    layers = {
        "hidden": OneSpikeLayer(Geometry(channels=9, outputs=12), n_steps=N_STEPS, rule=rule, chip=chip),
        "output": OneSpikeLayer(Geometry(channels=12, outputs=3), n_steps=N_STEPS, rule=rule, chip=chip, urgency=1.5),
    }
    for layer in layers.values():
        torch.nn.init.normal_(layer.weight, std=0.6)
    return OneSpikeNetwork(layers, (9,), N_STEPS)


def test_encoding_is_the_graph_s():
    x = np.linspace(0, 1, 36, dtype=np.float32).reshape(4, 1, 3, 3)
    coding = InputCoding(kind="first_spike")
    encoded = OneSpikeObjective(network(), Aim()).encode(x, np.arange(4), coding).numpy()
    raster = coding.encode(x.reshape(4, 9), np.arange(4), N_STEPS)
    assert np.array_equal(encoded == np.arange(N_STEPS)[:, None, None], raster.astype(bool))
    assert encoded[0, 0] == N_STEPS  # x = 0
    assert encoded[-1, -1] == 0  # x = 1


def test_evidence_is_free_of_threshold_and_urgency():
    net, times = network(), torch.tensor([[0.0, 3, 20, 1, 2, 5, 9, 20, 20]])
    evidence = net.evidence(times, torch.tensor([7]))
    fired = net.run(times, torch.tensor([7]))["hidden"].fired_at.flatten()
    weight = net.layers["output"].weight.reshape(3, 12)
    assert torch.allclose(evidence[0], weight[:, fired <= 7].sum(dim=1), atol=1e-5)


def test_a_sample_ends_where_it_is_stopped():
    net, times = network(), torch.tensor([[0.0, 3, 20, 1, 2, 5, 9, 20, 20]])
    later = times.masked_fill(times > 2, 20)
    stopped, cut = net.run(times, torch.tensor([2])), net.run(later)
    assert torch.equal(stopped["hidden"].fired_at, cut["hidden"].fired_at)


@pytest.mark.parametrize(
    ("fired_at", "peak", "step", "chosen"),
    [
        ([4.0, 2, 9, 3], [9.5, 1.5, 1.5, 1.5], 2, 1),  # the earliest, whatever the peaks
        ([4.0, 2, 9, 2], [1.5, 1.5, 1.5, 2.5], 2, 3),  # of two earliest the one with the larger peak
        ([3.0, 3, 3, 3], [1.0, 1.5, 1.2, 1.5], 3, 1),  # of equals among these the first
        ([3.0, 3, 3, 3], [1.0, 8.0, 1.2, 9.0], 3, 1),  # beyond 8 thresholds they are equal
        ([20.0, 20, 20, 20], [0.1, -4.0, 0.7, 0.2], 20, 2),  # silent: the nearest to firing
    ],
)
def test_pooling_hands_the_error_to_one_neuron(fired_at, peak, step, chosen):
    fired_at = torch.tensor(fired_at).reshape(1, 1, 2, 2).requires_grad_()
    peak = torch.tensor(peak).reshape(1, 1, 2, 2)
    pooled = EarliestPool2d(2)(Fired(fired_at, peak, peak))
    assert pooled.fired_at.flatten().tolist() == [step]
    pooled.fired_at.sum().backward()
    assert fired_at.grad.flatten().tolist() == [float(k == chosen) for k in range(4)]


def test_learning_raises_the_label_and_lowers_the_others():
    # Weights go both ways, by every aim: none only grows.
    times, label = (
        torch.randint(0, 12, (30, 9), generator=torch.Generator().manual_seed(1)).float(),
        torch.arange(30) % 3,
    )
    for aim, margin in ((Aim(), True), (Aim(kind="paper"), False), (Aim(kind="code"), False)):
        net = network(margin=margin)
        OneSpikeObjective(net, aim)(times, label).backward()
        for layer in net.neurons().values():
            assert (layer.weight.grad > 0).any()
            assert (layer.weight.grad < 0).any()
