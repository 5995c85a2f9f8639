from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from net_files import CUBA, LOIHI, conv, dense, write_net

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.errors import FileFormatError, GraphError, OptionError
from spikegraph.export.formats import read
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, SumPool2d
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.loss import LossReport
from spikegraph.targets.places import native

IMAGE = {"type": "input", "shape": [2, 6, 5]}


def loaded(path: Path, layers: list[Any], **assumed: Any) -> tuple[Graph, LossReport]:
    graph, report = read(write_net(path / "some.net", layers), Assumptions(**assumed))
    assert isinstance(graph, Graph)
    return graph, report


def test_a_whole_network(tmp_path: Path) -> None:
    """Every number of a file stands where it belongs."""
    first = {**IMAGE, "weight": [36.0], "bias": [34.0], "neuron": LOIHI}
    second = conv([2, 6, 5], 3, bias=np.float32([1, -2, 3]), stride=[2, 1], padding=[1, 0], shape=[3, 3, 3])
    pooled = {
        "type": "pool",
        "shape": [3, 1, 1],
        "kernelSize": [3, 3],
        "weight": np.full((1, 1, 3, 3), 4, np.float32),
        "neuron": {**CUBA, "refDelay": 5},
    }
    flat = {"type": "flatten", "shape": [3, 1, 1]}
    loop = {**dense(3, 4, seed=1), "type": "dense_rec", "weight_rec": np.float32(2 * np.eye(4))}
    last = {**dense(4, 6, seed=2), "shape": [6, 1, 1]}
    layers = [first, second, pooled, flat, loop, last, {"type": "average", "shape": [2, 1, 1]}]
    graph, report = loaded(tmp_path, layers)
    loihi = {"decay_u": 1024, "decay_v": 128, "threshold_mant": 25}
    cuba = {**loihi, "decay_u": 4096}
    expected = Graph(
        inputs={"input": Input(shape=(2, 6, 5), min_value=-36, max_value=36)},
        populations={
            "layer0": Population(shape=(2, 6, 5), **loihi, bias_mant=34, bias_exp=6),
            "layer1": Population(shape=(3, 3, 3), **loihi, bias_mant=[1, -2, 3], bias_exp=6),
            "layer2": Population(shape=(3, 1, 1), **cuba, refractory_steps=5),
            "layer4": Population(shape=(4,), **cuba),
            "layer5": Population(shape=(6,), **cuba),
        },
        projections={
            "into_layer0": OneToOne(source="input", target="layer0", weight=1),
            "into_layer1": Conv2d(
                source="layer0", target="layer1", weight=second["weight"][..., 0], stride=(2, 1), padding=(1, 0)
            ),
            "into_layer2": SumPool2d(source="layer1", target="layer2", weight=4, kernel_size=(3, 3), stride=(3, 3)),
            "into_layer4": Dense(source="layer2", target="layer4", weight=loop["weight"]),
            "into_layer5": Dense(source="layer4", target="layer5", weight=last["weight"]),
            "rec_layer4": Dense(source="layer4", target="layer4", weight=2 * np.eye(4), delay_steps=1),
        },
        outputs={"out": Output(population="layer5")},
        n_steps=12,
        coding=InputCoding(kind="direct", max_value=36),
        readout=Readout(kind="count", output="out", neurons_per_class=3),
    )
    assert graph_checksum(graph) == graph_checksum(expected)
    assert {loss.attribute for loss in report.losses} == {"scaleRho, tauRho, theta"}
    assert report.lossless
    assert any("round(36 · x)" in fact for fact in report.facts)
    assert any("averages the spikes of 6 neurons, 3 for each class" in fact for fact in report.facts)


def test_old_files_hold_a_matrix_as_one_row_after_the_other(tmp_path: Path) -> None:
    layer = dense(4, 3)
    old = {**layer, "weight": layer["weight"].ravel(), "shape": [3, 1, 1]}
    new, _ = loaded(tmp_path, [{"type": "input", "shape": [4]}, layer])
    flat, _ = loaded(tmp_path, [{"type": "input", "shape": [4]}, old])
    assert graph_checksum(new) == graph_checksum(flat)


def test_layers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    """HDF5 lists layer 10 before layer 2."""
    layers = [{"type": "input", "shape": [3]}] + [dense(3 + i, 4 + i) for i in range(11)]
    graph, _ = loaded(tmp_path, layers)
    assert list(graph.populations) == [f"layer{i}" for i in range(1, 12)]


def test_decays_for_each_channel(tmp_path: Path) -> None:
    neuron = {**CUBA, "iDecay": [100, 200, 300], "vDecay": [7, 7, 7]}
    graph, _ = loaded(tmp_path, [IMAGE, conv([2, 6, 5], 3, neuron=neuron)])
    population = graph.populations["layer1"]
    assert population.decay_u.tolist() == [100, 200, 300]
    assert population.decay_v.tolist() == 7


def test_no_input_layer(tmp_path: Path) -> None:
    graph, report = loaded(tmp_path, [dense(4, 3)], max_value=5)
    assert graph.inputs["input"] == Input(shape=(4,), max_value=5)
    assert any("no input layer" in fact for fact in report.facts)


def test_the_last_layer_without_neurons_adds_up(tmp_path: Path) -> None:
    """lava-dl gives it neurons that never forget u and forget v at once: v is the sum of all input so far."""
    layer = dense(4, 3, neuron=None)
    graph, report = loaded(tmp_path, [{"type": "input", "shape": [4]}, layer])
    assert graph.outputs["out"] == Output(population="layer1", variable="v")
    assert graph.readout == Readout(kind="membrane", output="out")
    spikes = np.random.default_rng(3).integers(0, 2, (12, 2, 4)).astype(np.int16)
    v = native(graph, {"input": spikes})["layer1"]["v"]
    x = spikes.astype(np.int64) @ layer["weight"].astype(np.int64).T
    np.testing.assert_array_equal(v, 64 * x.cumsum(axis=0))
    assert any("never fires" in fact for fact in report.facts)


@pytest.mark.parametrize(("mantissa", "reset"), [(131071, "zero"), (131072, "none"), ((1 << 18) - 1, "none")])
def test_a_threshold_out_of_reach_is_a_readout_of_v(tmp_path: Path, mantissa: int, reset: str) -> None:
    layer = dense(4, 3, neuron={**CUBA, "vThMant": mantissa, "refDelay": 3})
    graph, report = loaded(tmp_path, [{"type": "input", "shape": [4]}, layer])
    population = graph.populations["layer1"]
    assert (population.threshold_mant, population.reset) == (131071, reset)
    assert population.refractory_steps == (3 if reset == "zero" else 1), "no pause after a spike that never was"
    assert graph.outputs["out"].variable == "v"
    assert any("out of reach" in fact for fact in report.facts)


def late(spikes: np.ndarray[Any, Any], delay: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Spikes (T, B, n), line i by delay[i] steps later."""
    result = np.zeros_like(spikes)
    for i, d in enumerate(delay):
        result[d:, :, i] = spikes[: len(spikes) - d, :, i]
    return result


def test_delays_of_a_layer_are_those_of_its_spikes(tmp_path: Path) -> None:
    """Neuron i of layer 1 is heard delay[i] steps later by layer 2, whether or not it is by itself in that."""
    delay, head = np.array([0, 3, 3, 1, 0]), {"type": "input", "shape": [4]}
    layers = [head, dense(4, 5, bias=np.float32([1, 2, 3, 4, 5])), dense(5, 3, seed=1)]
    plain, _ = loaded(tmp_path, layers)
    graph, report = loaded(tmp_path, [head, {**layers[1], "delay": delay.astype(np.float32)}, layers[2]])
    spikes = {"input": np.random.default_rng(0).integers(0, 2, (12, 3, 4)).astype(np.int16)}
    ours = native(graph, spikes)
    hidden = native(plain, spikes)["layer1"]["s"].astype(np.int64)
    np.testing.assert_array_equal(ours["layer1"]["s"], hidden)
    x = late(hidden, delay) @ layers[2]["weight"].astype(np.int64).T
    np.testing.assert_array_equal(ours["layer2"]["u"], 64 * x)
    assert {p.delay_steps for p in graph.into("layer2").values()} == {0, 1, 3}
    assert sum(p.weight.size for p in graph.into("layer2").values()) == 15, "no synapse is stored twice"
    assert [loss.attribute for loss in report.losses] == ["delay"]


def test_delays_of_what_arrives(tmp_path: Path) -> None:
    """As many as the layer before has lines: of these; they add to the delays that the lines have themselves."""
    delay = np.array([2, 0, 5])
    graph, _ = loaded(tmp_path, [{"type": "input", "shape": [3]}, dense(3, 4, delay=delay)])
    spikes = np.random.default_rng(0).integers(0, 2, (12, 3, 3)).astype(np.int16)
    x = late(spikes.astype(np.int64), delay) @ dense(3, 4)["weight"].astype(np.int64).T
    np.testing.assert_array_equal(native(graph, {"input": spikes})["layer1"]["u"], 64 * x)


def test_delays_of_the_last_layer_are_those_of_its_synapses(tmp_path: Path) -> None:
    """Whoever taps it sees the same spikes, later: nothing else drives it."""
    delay, head = np.array([0, 4, 1]), {"type": "input", "shape": [4]}
    plain, _ = loaded(tmp_path, [head, dense(4, 3)])
    graph, report = loaded(tmp_path, [head, dense(4, 3, delay=delay)])
    spikes = {"input": np.random.default_rng(0).integers(0, 2, (12, 3, 4)).astype(np.int16)}
    s = native(plain, spikes)["layer1"]["s"]
    np.testing.assert_array_equal(native(graph, spikes)["layer1"]["s"], late(s, delay))
    assert any("because an output has none" in fact for fact in report.facts)
    with pytest.raises(FileFormatError, match="has a bias or feeds itself"):
        loaded(tmp_path, [head, dense(4, 3, delay=delay, bias=np.float32([1]))])


def test_delays_for_each_channel_of_a_convolution(tmp_path: Path) -> None:
    """Grouped, so that a weight's channel is not its place: one convolution for each delay, and the same sums."""
    delay = np.array([0, 2, 2, 1])
    first, second = conv([2, 6, 5], 4, delay=delay), conv([4, 4, 3], 2, seed=1, groups=2)
    second = {**second, "weight": second["weight"][:, :2]}
    plain, _ = loaded(tmp_path, [IMAGE, {**first, "delay": 0}, second])
    graph, _ = loaded(tmp_path, [IMAGE, first, second])
    spikes = {"input": np.random.default_rng(0).integers(0, 2, (12, 2, 2, 6, 5)).astype(np.int16)}
    s = native(plain, spikes)["layer1"]["s"].astype(np.int64)
    shifted = np.stack([late(s[:, :, c].reshape(12, 2, -1), np.full(12, delay[c])) for c in range(4)], axis=2)
    p = plain.projections["into_layer2"]
    x = np.stack([p.weighted_sum(p.weight, step.reshape(2, 4, 4, 3), (2, 2, 1)) for step in shifted])
    fed = replace(plain.populations["layer2"], decay_u=4096)
    graph = replace(graph, populations={**graph.populations, "layer2": fed})
    np.testing.assert_array_equal(native(graph, spikes)["layer2"]["u"], 64 * x)


def test_a_pool_whose_taps_differ(tmp_path: Path) -> None:
    weight = 2 * np.arange(4).reshape(1, 1, 2, 2)
    members = {"kernelSize": [2, 2], "weight": weight, "neuron": CUBA}
    graph, _ = loaded(tmp_path, [IMAGE, {"type": "pool", "shape": [2, 3, 2], **members}])
    p = graph.projections["into_layer1"]
    assert isinstance(p, Conv2d)
    assert (p.groups, p.stride, p.weight.tolist()) == (2, (2, 2), [weight[0].tolist()] * 2)


HEAD = {"type": "input", "shape": [4]}
REFUSED = {
    "sigma-delta": ([HEAD, dense(4, 3, neuron={"type": "SDNN", "activation": "relu", "vThMant": 3})], "sigma-delta"),
    "ALIF": ([HEAD, dense(4, 3, neuron={**CUBA, "type": "ALIF", "thDecay": 3})], "threshold adapts"),
    "RF_PHASE": ([HEAD, dense(4, 3, neuron={"type": "RF_PHASE"})], "resonate-and-fire"),
    "RF_IZHIKEVICH": ([HEAD, dense(4, 3, neuron={"type": "RF_IZHIKEVICH"})], "resonate-and-fire"),
    "ADRF_PHASE": ([HEAD, dense(4, 3, neuron={"type": "ADRF_PHASE"})], "adaptive resonate-and-fire"),
    "unknown neuron": ([HEAD, dense(4, 3, neuron={"type": "XYZ"})], "'XYZ': neurons of a kind that is not known"),
    "complex": ([HEAD, {**dense(4, 3), "weight": {"real": [[1]], "imag": [[1]]}}], "is complex"),
    "graded": ([HEAD, dense(4, 3, neuron={**CUBA, "gradedSpike": True})], "spikes are binary here"),
    "wgtExp": ([HEAD, dense(4, 3, neuron={**LOIHI, "wgtExp": 2})], "wgtExp: is 2"),
    "iDecay 0": ([HEAD, dense(4, 3, neuron={**CUBA, "iDecay": 0})], "u would never be forgotten"),
    "convT": ([IMAGE, {**conv([2, 6, 5], 3), "type": "convT"}], "transposed convolutions"),
    "unpool": ([IMAGE, {**conv([2, 6, 5], 3), "type": "unpool"}], "spread over a window"),
    "concat": ([HEAD, {"type": "concat", "shape": [4]}], "branches"),
    "unknown layer": ([HEAD, {"type": "warp", "shape": [4]}], "'warp': a layer of a kind that is not known"),
    "layers that do not meet": ([HEAD, dense(5, 3)], r"expected \(3, 4\)"),
    "convolutions that do not meet": ([IMAGE, conv([2, 6, 5], 3, shape=[3, 9, 9])], r"\(3, 9, 9\)"),
    "channels": ([IMAGE, conv([3, 6, 5], 3)], "reads 3 channels, the source has 2"),
    "a pool on a vector": ([HEAD, {"type": "pool", "shape": [4], "weight": 1, "neuron": CUBA}], "is flat"),
    "a wrong flatten": (
        [IMAGE, {"type": "flatten", "shape": [7]}, dense(7, 3)],
        "has 7 lines, the layer before has 60",
    ),
    "a wrong average": ([HEAD, dense(4, 5), {"type": "average", "shape": [2]}], "5 neurons do not share evenly"),
    "after the average": (
        [HEAD, dense(4, 4), {"type": "average", "shape": [2]}, dense(4, 4)],
        "no spikes leave the layer before",
    ),
    "after no neurons": ([HEAD, dense(4, 4, neuron=None), dense(4, 4)], "no spikes leave the layer before"),
    "a second input": ([HEAD, HEAD, dense(4, 4)], "layer 1 is not the first"),
    "no neurons at all": ([HEAD], "has no layer of neurons"),
    "a convolution first": ([conv([2, 6, 5], 3)], "no layer says what shape its input has"),
    "a bias without neurons": ([HEAD, dense(4, 3, neuron=None, bias=[1, 2, 3])], "only add up their input"),
    "an input's weight without neurons": ([{**HEAD, "weight": [3]}, dense(4, 3)], "neuron: is missing"),
    "delays": ([HEAD, dense(4, 3, delay=[1, 2])], "holds 2 numbers, expected 3 or 4"),
    "negative delays": ([HEAD, dense(4, 3, delay=[1, -2, 3])], "is -2…3 steps"),
    "biases": ([HEAD, dense(4, 3, bias=[1, 2])], "holds 2 numbers, expected 1 or 3"),
    "threshold 0": ([HEAD, dense(4, 3, neuron={**CUBA, "vThMant": 0})], "threshold_mant = 0 is outside"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case: str, tmp_path: Path) -> None:
    layers, message = REFUSED[case]
    with pytest.raises((FileFormatError, GraphError), match=message):
        loaded(tmp_path, layers)


def test_how_long_a_sample_is(tmp_path: Path) -> None:
    layers = [HEAD, dense(4, 3)]
    path = write_net(tmp_path / "a.net", layers, {"Ts": 2, "tSample": 64})
    assert read(path)[0].n_steps == 32
    graph, report = read(path, Assumptions(n_steps=5))
    assert graph.n_steps == 5
    assert [(loss.attribute, loss.effect) for loss in report.losses] == [("n_steps", "approximated")]
    assert read(write_net(path, layers, {}), Assumptions(n_steps=5))[0].n_steps == 5
    with pytest.raises(OptionError, match="say it: --n-steps"):
        read(write_net(tmp_path / "a.net", layers, {}))
    with pytest.raises(FileFormatError, match="no multiple"):
        read(write_net(tmp_path / "a.net", layers, {"Ts": 3, "tSample": 64}))


def test_members_that_nobody_knows_are_listed(tmp_path: Path) -> None:
    layer = dense(4, 3, neuron={**CUBA, "noise": 3}, quality=5)
    _, report = loaded(tmp_path, [HEAD, layer])
    assert {(loss.node, loss.attribute, loss.effect) for loss in report.losses} == {
        ("population layer1", "quality", "dropped"),
        ("population layer1", "neuron/noise", "dropped"),
    }
    assert not report.lossless


def test_what_the_input_carries_may_be_said(tmp_path: Path) -> None:
    head = {**HEAD, "weight": [-40.0], "bias": [3.0], "neuron": CUBA}
    graph, _ = loaded(tmp_path, [head, dense(4, 3)])
    assert graph.inputs["input"] == Input(shape=(4,), min_value=-40, max_value=40)
    assert graph.coding == InputCoding(kind="direct", max_value=40)
    assert graph.projections["into_layer0"].weight == -1
    graph, _ = loaded(tmp_path, [head, dense(4, 3)], max_value=100)
    assert graph.inputs["input"] == Input(shape=(4,), min_value=-100, max_value=100)


def test_data_of_another_range_become_weight_and_bias(tmp_path: Path) -> None:
    """76 · (2x - 1) + 64 = 152x - 12: in every step the same integer, whatever x."""
    layers = [{"type": "input", "shape": [5], "weight": [76.0], "bias": [64.0], "neuron": CUBA}, dense(5, 3)]
    path = write_net(tmp_path / "a.net", layers)
    plain, _ = read(path)
    spread, report = read(path, Assumptions(input_range=(-1, 1)))
    assert spread.coding == InputCoding(kind="direct", max_value=152)
    assert spread.populations["layer0"].bias_mant == 64 - 76
    assert any("-76" in fact for fact in report.facts)
    x = np.linspace(0, 1, 5, dtype=np.float32)[None]
    signed = np.broadcast_to(np.rint(76 * (2 * x - 1)).astype(np.int16), (12, 1, 5))
    mine = native(spread, {"input": spread.coding.encode(x, np.zeros(1, int), 12)})
    theirs = native(plain, {"input": np.ascontiguousarray(signed)})
    for name in plain.populations:
        for variable in ("u", "v", "s"):
            if (name, variable) != ("layer0", "u"):  # a bias goes into v
                np.testing.assert_array_equal(mine[name][variable], theirs[name][variable])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, 1), "two numbers that rise"),
        ((-0.123, 1), "two numbers that rise"),
        ((-100, 1), "13 bits do not allow"),
        *((given, "of at most 32767") for given in [(-math.inf, math.inf), (0, math.nan), (-1e300, 1), (0, 1e19)]),
    ],
)
def test_a_range_that_makes_no_integers_is_refused(tmp_path: Path, given: tuple[float, float], message: str) -> None:
    layers = [{"type": "input", "shape": [5], "weight": [76.0], "bias": [64.0], "neuron": CUBA}, dense(5, 3)]
    with pytest.raises(OptionError, match=message):
        read(write_net(tmp_path / "a.net", layers), Assumptions(input_range=given))


def test_a_range_beside_a_narrower_input_has_no_code(tmp_path: Path) -> None:
    layers = [{"type": "input", "shape": [5], "weight": [76.0], "neuron": CUBA}, dense(5, 3)]
    graph, _ = read(write_net(tmp_path / "a.net", layers), Assumptions(input_range=(-1, 1), max_value=10))
    assert (graph.inputs["input"].max_value, graph.coding) == (10, None)


def test_a_range_is_of_inputs_with_neurons(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="whose input has neurons"):
        read(write_net(tmp_path / "a.net", [HEAD, dense(4, 3)]), Assumptions(input_range=(-1, 1)))
