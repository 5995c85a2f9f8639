"""Tracing: what a module becomes, and every refusal by the name of what is refused and the way out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spikegraph.export.chips import load_chip
from spikegraph.export.errors import GraphError
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.trace import trace
from spikegraph.trainer.traced import Drop


class Forward(nn.Module):
    """A module whose forward is handed in, with its parts."""

    def __init__(self, forward, **parts):
        super().__init__()
        self._forward = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, s):
        return self._forward(self, s)


def shared_pool(m, s):
    return m.lif2(m.fc(m.flat(m.pool(m.lif(m.conv(m.pool(s)))))))


class Skip(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm, self.lif1 = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), LIF()
        self.conv2, self.lif2 = nn.Conv2d(2, 2, 3, padding=1), LIF()
        self.head = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8, 3), LIF())

    def forward(self, s):
        a = self.lif1(self.norm(self.conv1(s)))
        b = self.lif2(self.conv2(a) + a)
        return self.head(a + b), b


def test_a_sequential():
    module = nn.Sequential(nn.Linear(4, 3), LIF(), nn.Sequential(nn.Linear(3, 2), nn.Identity(), LIF()))
    traced = trace(module, (4,))
    assert [(node.name, node.shape) for node in traced.nodes] == [("1", (3,)), ("2.2", (2,))]
    assert traced.outputs == ("2.2",)
    assert traced.nodes[0].branches[0].synapse is module[0]
    assert traced.nodes[1].branches[0].routes[0].source == "1"


def test_skips_sums_and_several_outputs():
    module = Skip()
    traced = trace(module, (1, 4, 4))
    lif1, lif2, head = traced.nodes
    assert [node.name for node in traced.nodes] == ["lif1", "lif2", "head.4"]
    assert traced.outputs == ("head.4", "lif2")
    assert (lif1.branches[0].synapse, lif1.branches[0].norm) == (module.conv1, module.norm)
    currents, spikes = lif2.branches  # a + b of currents and spikes: two branches
    assert (currents.synapse, spikes.synapse) == (module.conv2, None)
    (branch,) = head.branches  # a + b of spikes: two routes through the same synapses
    assert [route.source for route in branch.routes] == ["lif1", "lif2"]
    one, other = ([*route.path] for route in branch.routes)
    assert [type(part) for part in one] == [nn.AvgPool2d, nn.Flatten, Drop]
    assert (one[2].module, other[2]) == (module.head[2], one[2])  # one call of a dropout


def test_spikes_taken_twice_are_two_routes():
    traced = trace(Forward(lambda m, s: m.lif(m.fc(s + s)), fc=nn.Linear(2, 2), lif=LIF()), (2,))
    assert [route.source for route in traced.nodes[0].branches[0].routes] == ["input", "input"]
    windows = SpikingNetwork(Forward(lambda m, s: m.lif(s + s), lif=LIF(v_threshold=1.5)), (2,)).windows(
        torch.tensor([[[1.0, 0.0]]])
    )
    assert windows["lif"].u.tolist() == [[[2.0, 0.0]]]


def test_synapses_and_pools_may_be_shared():
    parts = {"conv": nn.Conv2d(1, 1, 3, padding=1), "fc": nn.Linear(1, 2), "flat": nn.Flatten()}
    module = Forward(shared_pool, pool=nn.MaxPool2d(2), lif=LIF(), lif2=LIF(), **parts)
    assert [node.name for node in trace(module, (1, 4, 4)).nodes] == ["pool", "lif", "pool_", "lif2"]
    twice = Forward(lambda m, s: m.b(m.fc(m.a(m.fc(s)))), fc=nn.Linear(2, 2), a=LIF(), b=LIF())
    a, b = trace(twice, (2,)).nodes
    assert a.branches[0].synapse is b.branches[0].synapse


@pytest.mark.parametrize(
    "flatten", [lambda s: s.flatten(1), lambda s: torch.flatten(s, 1), lambda s: s.flatten(start_dim=1)]
)
def test_flatten_as_a_function(flatten):
    module = Forward(lambda m, s: m.lif(m.fc(flatten(s))), fc=nn.Linear(4, 2), lif=LIF())
    assert trace(module, (1, 2, 2)).nodes[0].shape == (2,)


def test_parameters_are_bound_once_and_on_the_module():
    neurons = LIF(threshold_per="neuron", threshold_noise=0.1, recurrent=True)
    module = nn.Sequential(nn.Linear(2, 3), neurons)
    network = SpikingNetwork(module, (2,))
    threshold, weight = neurons.v_threshold, neurons.recurrent_weight
    assert (threshold.shape, weight.shape) == ((3,), (3, 3))
    assert len(threshold.unique()) == 3
    again = SpikingNetwork(module, (2,), chip=load_chip("loihi1"))
    assert neurons.v_threshold is threshold
    assert neurons.recurrent_weight is weight
    assert {id(p) for p in network.parameters()} == {id(p) for p in again.parameters()}


def seq(*parts):
    return nn.Sequential(*parts)


def plain(forward, **parts):
    return Forward(forward, **parts)


def branching(m, s):
    return m.lif(s) if s.sum() > 0 else s


SPATIAL, FLAT = (2, 4, 4), (6,)
REFUSALS = {
    "no neurons between": (seq(nn.Linear(6, 3), nn.Linear(3, 3), LIF()), FLAT, "1: follows other synapses without"),
    "activation": (seq(nn.Linear(6, 3), nn.ReLU(), LIF()), FLAT, "1: is a ReLU, which no spike graph can hold"),
    "linear on channels": (seq(nn.Linear(4, 3), LIF()), SPATIAL, r"0: takes the shape \(2, 4, 4\); put nn.Flatten"),
    "sizes": (seq(nn.Linear(5, 3), LIF()), FLAT, r"0: does not fit the shape \(6,\)"),
    "channels": (seq(nn.Conv2d(3, 1, 3), LIF()), SPATIAL, r"0: does not fit the shape \(2, 4, 4\)"),
    "padding mode": (
        seq(nn.Conv2d(2, 1, 3, padding=1, padding_mode="reflect"), LIF()),
        SPATIAL,
        "0: pads with .* in mode 'reflect'; pad with zeros",
    ),
    "padding by word": (seq(nn.Conv2d(2, 1, 3, padding="same"), LIF()), SPATIAL, "0: pads with 'same'.*as numbers"),
    "dilated behind a pool": (
        seq(nn.AvgPool2d(2), nn.Conv2d(2, 1, 1, dilation=2), LIF()),
        SPATIAL,
        r"1: is dilated behind an average pooling; put neurons \(LIF\)",
    ),
    "norm on spikes": (seq(nn.BatchNorm1d(6), LIF()), FLAT, "0: does not follow one nn.Linear or nn.Conv2d"),
    "norm on a sum": (
        plain(
            lambda m, s: m.lif(m.n(m.a(s) + m.b(s))),
            a=nn.Linear(6, 3),
            b=nn.Linear(6, 3),
            n=nn.BatchNorm1d(3),
            lif=LIF(),
        ),
        FLAT,
        "n: does not follow one nn.Linear or nn.Conv2d; put the batch norm right behind one",
    ),
    "two norms": (seq(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3), LIF()), FLAT, "2: follows a batch norm"),
    "norm without statistics": (
        seq(nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False), LIF()),
        FLAT,
        "1: keeps no running statistics",
    ),
    "features": (seq(nn.Linear(6, 3), nn.BatchNorm1d(4), LIF()), FLAT, "1: has 4 features for 3 channels"),
    "norm of images on a vector": (
        seq(nn.Linear(6, 3), nn.BatchNorm2d(3), LIF()),
        FLAT,
        r"1: is a BatchNorm2d for the shape \(3,\); use nn.BatchNorm1d",
    ),
    "norm of vectors on an image": (
        seq(nn.Conv2d(2, 3, 1), nn.BatchNorm1d(3), LIF()),
        SPATIAL,
        r"1: is a BatchNorm1d for the shape \(3, 4, 4\)",
    ),
    "norm and current memory": (
        seq(nn.Linear(6, 3), nn.BatchNorm1d(3), LIF(tau_syn=1e-3)),
        FLAT,
        "2: has a synaptic current with a memory behind a batch norm.*; set tau_syn=0",
    ),
    "max pool of currents": (
        seq(nn.Conv2d(2, 1, 1), nn.MaxPool2d(2), LIF()),
        SPATIAL,
        "1: pools currents by their max",
    ),
    "max pool of sums": (
        plain(lambda m, s: m.pool(s + m.lif(s)), pool=nn.MaxPool2d(2), lif=LIF()),
        SPATIAL,
        "pool: pools more than single spikes",
    ),
    "ceil mode": (seq(nn.MaxPool2d(3, ceil_mode=True)), SPATIAL, "0: uses ceil_mode, return_indices or dilation"),
    "dropout of currents": (seq(nn.Linear(6, 3), nn.Dropout(), LIF()), FLAT, "1: stands between synapses and neurons"),
    "overlapping average": (seq(nn.AvgPool2d(2, 1), LIF()), SPATIAL, "0: pools windows that overlap or are padded"),
    "padded average": (seq(nn.AvgPool2d(2, padding=1), LIF()), SPATIAL, "0: pools windows that overlap or are padded"),
    "average twice": (seq(nn.AvgPool2d(2), nn.AvgPool2d(2), LIF()), SPATIAL, "1: follows another average pooling"),
    "average that does not divide": (seq(nn.AvgPool2d(3), LIF()), SPATIAL, "0: pools 4 x 4 by 3 x 3; choose a kernel"),
    "average of a vector": (seq(nn.AdaptiveAvgPool2d(1), LIF()), FLAT, r"0: pools the shape \(6,\); put it before"),
    "adaptive to more": (seq(nn.AdaptiveAvgPool2d(2), LIF()), SPATIAL, "0: pools to 2; pool to 1"),
    "partial flatten": (seq(nn.Flatten(2), LIF()), SPATIAL, "0: flattens from 2 to -1; leave nn.Flatten's defaults"),
    "flattened spikes into neurons": (
        seq(LIF(), nn.Flatten(), LIF()),
        SPATIAL,
        "2: takes flattened spikes neuron by neuron.*; put nn.Linear behind nn.Flatten",
    ),
    "flattened pools into neurons": (seq(nn.AvgPool2d(2), nn.Flatten(), LIF()), SPATIAL, "2: takes flattened spikes"),
    "flattened spikes beside currents": (
        plain(
            lambda m, s: m.lif(m.fc(m.flat(s)) + m.flat(m.a(s))),
            a=LIF(),
            flat=nn.Flatten(),
            fc=nn.Linear(32, 32),
            lif=LIF(),
        ),
        SPATIAL,
        "add: takes flattened spikes neuron by neuron",
    ),
    "an image without channels": (
        seq(nn.Conv2d(1, 2, 3), LIF()),
        (8, 8),
        r"input: has the shape \(8, 8\); give \(n,\)",
    ),
    "other sums": (
        plain(lambda m, s: m.lif(m.a(s) + m.b(s)), a=nn.Linear(6, 3), b=nn.Linear(6, 2), lif=LIF()),
        FLAT,
        r"add: adds shapes \(3,\) and \(2,\); bring both to one shape",
    ),
    "sums of other pools": (
        plain(
            lambda m, s: m.lif(m.fc(m.f(m.p(s)) + m.q(s))),
            p=nn.AvgPool2d((2, 1)),
            f=nn.Flatten(),
            q=seq(nn.AvgPool2d((1, 2)), nn.Flatten()),
            fc=nn.Linear(16, 2),
            lif=LIF(),
        ),
        SPATIAL,
        "add: adds spikes that were pooled differently",
    ),
    "scaled sums": (
        plain(lambda m, s: m.lif(torch.add(m.fc(s), s, alpha=2)), fc=nn.Linear(6, 6), lif=LIF()),
        FLAT,
        "add: calls add in a way that no spike graph can hold; use modules of torch.nn",
    ),
    "a constant": (
        plain(lambda m, s: m.lif(m.fc(s) + 1), fc=nn.Linear(6, 6), lif=LIF()),
        FLAT,
        "add: calls add in a way",
    ),
    "a function": (
        plain(lambda m, s: m.lif(torch.relu(m.fc(s))), fc=nn.Linear(6, 6), lif=LIF()),
        FLAT,
        "relu: calls relu",
    ),
    "an if": (plain(branching, lif=LIF()), FLAT, r"Forward: cannot be traced \(.*\); let forward depend on no values"),
    "neurons twice": (plain(lambda m, s: m.lif(m.lif(s)), lif=LIF()), FLAT, "lif: is used twice; give each population"),
    "recurrent image": (
        seq(nn.Conv2d(2, 1, 1), LIF(recurrent=True)),
        SPATIAL,
        r"1: is recurrent and has shape \(1, 4, 4\)",
    ),
    "returns currents": (seq(nn.Linear(6, 3)), FLAT, "output: is not the spikes of a population; let forward return"),
    "returns its input": (seq(nn.Identity()), FLAT, "output: is not the spikes of a population"),
    "returns a sum": (plain(lambda m, s: m.lif(s) + s, lif=LIF()), FLAT, "output: is not the spikes of a population"),
    "returns dropped spikes": (seq(LIF(), nn.Dropout()), FLAT, "output: is not the spikes of a population"),
    "returns nothing": (plain(lambda m, s: None, lif=LIF()), FLAT, "output: is nothing; let forward return"),
}


def test_flattening_what_is_flat_is_nothing():
    assert trace(seq(nn.Flatten(), LIF(), nn.Flatten()), FLAT).outputs == ("1",)


@pytest.mark.parametrize("case", REFUSALS)
def test_refused(case):
    module, shape, says = REFUSALS[case]
    with pytest.raises(GraphError, match=f"(?s)^{says}"):
        trace(module, shape)


def test_a_second_input_is_refused():
    class Two(nn.Module):
        def forward(self, s, more):
            return s + more

    with pytest.raises(GraphError, match="more: is a second input; let forward take one argument"):
        trace(Two(), FLAT)


def test_neurons_alone_do_nothing():
    with pytest.raises(GraphError, match=r"LIF: was called outside of a SpikingNetwork; run it with SpikingNetwork\("):
        LIF()(torch.ones(1, 2))


@pytest.mark.parametrize(
    ("module", "settings", "says"),
    [
        (seq(nn.MaxPool2d(2), LIF()), {"largest_input": 7}, "0: pools graded input by its maximum"),
        (
            plain(lambda m, s: m.b(m.fc(s + m.a(s))), a=LIF(), fc=nn.Conv2d(2, 2, 1), b=LIF()),
            {"largest_input": 7},
            "b: adds graded input to spikes; give each synapses of its own",
        ),
        (
            seq(LIF(dt=1e-3), nn.Conv2d(2, 2, 1), LIF(dt=2e-3)),
            {},
            "populations: have different steps: 0 0.001 s, 2 0.002",
        ),
        (
            seq(nn.MaxPool2d((4, 4)), LIF()),
            {"chip": load_chip("generic", weight_bits=16)},
            "0: pools 16 spikes, which overflow with weights of up to 32767; use weights of fewer bits",
        ),
    ],
)
def test_what_a_network_refuses(module, settings, says):
    with pytest.raises(GraphError, match=says):
        SpikingNetwork(module, SPATIAL, **settings)


def test_the_step_is_that_of_the_neurons_not_of_relays():
    assert SpikingNetwork(seq(nn.MaxPool2d(2), LIF(dt=5e-4)), SPATIAL).dt == 5e-4
