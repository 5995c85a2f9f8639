"""Architectures: every word, every refusal, shapes and names; what each method trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spikegraph.export.errors import RecipeError
from spikegraph.trainer.architecture import Layer, names_of, parse, shapes_of
from spikegraph.trainer.build import ResidualBlock, build_network


@pytest.mark.parametrize(
    ("word", "layer"),
    [
        ("32c5", Layer(kind="conv", n=32, kernel=5)),
        ("8c3/2", Layer(kind="conv", n=8, kernel=3, stride=2)),
        ("64r", Layer(kind="residual", n=64)),
        ("64r/2", Layer(kind="residual", n=64, stride=2)),
        ("mp2", Layer(kind="maxpool", kernel=2)),
        ("ap3", Layer(kind="avgpool", kernel=3)),
        ("512", Layer(kind="dense", n=512)),
        ("20rec", Layer(kind="recurrent", n=20)),
        ("do0.5", Layer(kind="dropout", p=0.5)),
        ("do.25", Layer(kind="dropout", p=0.25)),
    ],
)
def test_every_word(word, layer):
    assert parse(word) == [layer]


@pytest.mark.parametrize(
    "word",
    [
        "0",
        "32c",
        "32c0",
        "0c5",
        "32c5/0",
        "c5",
        "mp",
        "mp0",
        "do0.0",
        "do1.0",
        "do",
        "512/2",
        "64r3",
        "5rec2",
        "-3",
        "32C5",
        "1e3",
    ],
)
def test_no_word(word):
    with pytest.raises(ValueError, match=f"'{word}' is no layer: use 32c5"):
        parse(f"16 {word}")


@pytest.mark.parametrize("text", ["16 8c3", "16rec mp2", "16 do0.5 ap2", "16 8r"])
def test_no_rows_and_columns_behind_a_dense_layer(text):
    with pytest.raises(ValueError, match=f"'{text.split()[-1]}' follows a dense layer"):
        parse(text)


@pytest.mark.parametrize("word", ["99999999999", "67108865c3", "8c67108865", "8r/99999999999", "mp99999999999"])
def test_no_number_is_too_large(word):
    with pytest.raises(ValueError, match=f"'{word}' is too large: no number may be above 67,108,864"):
        parse(f"16c3 {word}")


@pytest.mark.parametrize("word", ["8c4", "8c4/2"])
def test_an_even_kernel_would_change_the_size(word):
    with pytest.raises(ValueError, match=f"'{word}' has an even kernel, .*: use 8c3 or 8c5"):
        parse(word)


def test_shapes():
    layers = parse("4c5 mp2 6c3/2 8r/2 ap2 do0.5 16rec 12")
    behind = [(4, 16, 12), (4, 8, 6), (6, 4, 3), (8, 2, 2), (8, 1, 1), (8, 1, 1), (16,), (12,), (5,)]
    assert shapes_of(layers, (3, 16, 12), 5) == behind


@pytest.mark.parametrize(
    ("text", "pixels", "says"),
    [
        ("8c3 mp9", (1, 8, 8), r"nothing is left of \(1, 8, 8\) after pool1; pool less"),
        ("ap9 16", (1, 8, 8), r"nothing is left of \(1, 8, 8\) after pool1"),
        ("8c3", (700,), r"conv1 needs rows and columns, and samples of shape \(700,\) have none; use dense layers"),
        ("mp2", (700,), "pool1 needs rows and columns"),
        ("8r", (2, 8), "block1 needs rows and columns"),
        # Each layer has less: 2 · 2^26 weights of 2 pixels, and then 2^26 · 8.
        ("67108864 8", (2,), "671,088,640 weights up to hidden2, and at most 536,870,912 are trained; use smaller"),
        ("60000rec", (2,), "3,600,120,000 weights up to hidden"),
        ("8c65537", (1, 8, 8), "34,360,786,952 weights up to conv1"),
        ("6000r", (6000, 1, 1), "648,000,000 weights"),
        ("99999c1", (1, 28, 28), "78,399,216 neurons up to conv1, and at most 67,108,864"),
    ],
)
def test_what_cannot_be_built(make_recipe, text, pixels, says):
    with pytest.raises(RecipeError, match=f"network.layers: .*{says}"):
        build_network(make_recipe(network={"layers": text}), pixels, 3)


def test_names():
    assert names_of(parse("8c3 mp2 8c3 8r ap2 do0.5 16 16rec")) == [
        "conv1", "pool1", "conv2", "block1", "pool2", "dropout1", "hidden1", "hidden2",
    ]  # fmt: skip
    assert names_of(parse("8c3 16")) == ["conv1", "hidden"]
    assert parse("") == []


def shapes(network):
    return {name: node.shape for name, node in network.nodes.items()}


def test_shapes_and_names_of_populations(make_recipe):
    text = "4c5 mp2 6c3/2 8r/2 do0.5 16rec 12"
    network = build_network(make_recipe(network={"layers": text, "threshold_per": "channel"}), (3, 16, 12), 5)
    assert shapes(network) == {
        "conv1": (4, 16, 12),
        "pool1": (4, 8, 6),
        "conv2": (6, 4, 3),
        "block1.lif1": (8, 2, 2),
        "block1.lif2": (8, 2, 2),
        "hidden1": (16,),
        "hidden2": (12,),
        "output": (5,),
    }
    assert network.module.hidden1.recurrent_weight.shape == (16, 16)
    assert network.module.hidden2.recurrent_weight is None


@pytest.mark.parametrize(
    ("text", "flat"), [("", True), ("8", True), ("do0.5 8", True), ("do0.5 2c3", False), ("ap2", False)]
)
def test_images_are_flattened_where_no_layer_needs_them(make_recipe, text, flat):
    network = build_network(make_recipe(network={"layers": text}, quantization={"chip": "none"}), (1, 4, 4), 3)
    assert network.input_shape == ((16,) if flat else (1, 4, 4))
    assert network(torch.ones(2, 1, *network.input_shape)).s["output"].shape == (2, 1, 3)


def test_batch_norm_stands_for_the_bias_of_convolutions(make_recipe):
    for normed in (True, False):
        network = build_network(make_recipe(network={"layers": "4c3 8", "batch_norm": normed}), (1, 4, 4), 3)
        assert (network.module.conv1_synapses.bias is None) == normed
        assert any(isinstance(part, nn.BatchNorm2d) for part in network.modules()) == normed
        assert network.module.hidden_synapses.bias is not None


def test_the_last_population_of_a_membrane_readout_does_not_reset(make_recipe):
    network = build_network(make_recipe(network={"readout": "membrane"}, quantization={"chip": "loihi2"}), (1, 4, 4), 3)
    assert [node.neurons.dynamics.reset for node in network.nodes.values()] == ["zero", "none"]


@pytest.mark.parametrize(
    ("method", "thresholds", "others"), [("stl", True, True), ("sl", False, True), ("tl", True, False)]
)
def test_what_each_method_trains(make_recipe, method, thresholds, others):
    recipe = make_recipe(network={"layers": "2c3 4r mp2 8rec", "method": method, "batch_norm": True, "train_tau": True})
    parameters = dict(build_network(recipe, (1, 4, 4), 3).named_parameters())
    assert sum(name.endswith("v_threshold") for name in parameters) == 5
    for name, parameter in parameters.items():
        assert parameter.requires_grad == (thresholds if name.endswith("v_threshold") else others), name


def test_weights_follow_from_the_seed_alone(make_recipe):
    settings = {"layers": "4c3 mp2 8", "threshold_noise": 0.1}
    one, same, other = (
        build_network(make_recipe(network=settings, training={"seed": seed}), (1, 4, 4), 3).state_dict()
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = [name for name in one if name.endswith(("weight", "v_threshold"))]
    assert not any(torch.equal(one[name], other[name]) for name in drawn)
    assert not any(one[name].any() for name in one if name.endswith("bias"))
    # uniform within ±√(3 / fan-in): 9 and 4 · 2 · 2 = 16 inputs
    assert 0.5 < one["module.conv1_synapses.weight"].abs().max() <= (3 / 9) ** 0.5
    assert 0.4 < one["module.hidden_synapses.weight"].abs().max() <= (3 / 16) ** 0.5


@pytest.mark.parametrize(("n_in", "n_out", "stride", "skips"), [(2, 2, 1, False), (2, 3, 1, True), (2, 2, 2, True)])
def test_a_residual_block_bends_its_skip_only_where_it_must(make_recipe, n_in, n_out, stride, skips):
    text = f"{n_in}c1 {n_out}r/{stride}"
    network = build_network(make_recipe(network={"layers": text}), (1, 4, 4), 3)
    block = network.module.block1
    assert isinstance(block, ResidualBlock)
    convolution, skip = network.nodes["block1.lif2"].branches
    assert convolution.synapse is block.conv2
    assert [route.source for route in skip.routes] == ["conv1"]
    assert (skip.synapse is not None) == skips
    assert (skip.norm is not None) == skips
