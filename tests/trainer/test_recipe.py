"""Recipes: each shipped one loads, and every wrong value is named before anything starts."""

import math

import pytest
import tomli_w

from spikegraph.export.errors import RecipeError
from spikegraph.trainer.data import DATASETS
from spikegraph.trainer.recipe import Recipe, load_recipe, recipe_names

GOOD = {
    "name": "tiny",
    "data": {"set": "digits"},
    "coding": {"n_steps": 4},
    "network": {"layers": "8", "tau_mem": 5e-3},
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3},
}


def changed(section, **values):
    return {**GOOD, section: {**GOOD.get(section, {}), **values}}


def written(tmp_path, raw):
    path = tmp_path / "recipe.toml"
    path.write_text(tomli_w.dumps(raw), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_loads(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.data.set in DATASETS
    assert load_recipe(written(tmp_path, recipe.model_dump(mode="json", exclude_none=True))) == recipe


def test_the_shipped_recipes():
    assert {"stl-digits", "stl-fashion-mnist-mlp", "stl-mnist-mlp", "stl-mnist-conv"} <= set(recipe_names())


def test_good_recipe_and_its_defaults(tmp_path):
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe.chip is None
    assert (recipe.coding.kind, recipe.network.layers, recipe.training.seed) == ("rate", "8", 0)


def test_no_leak_survives_a_round_trip(tmp_path):
    recipe = load_recipe(written(tmp_path, changed("network", tau_mem=math.inf)))
    assert recipe.network.tau_mem == math.inf
    assert load_recipe(written(tmp_path, recipe.model_dump(mode="json", exclude_none=True))) == recipe


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("network", "dropout", 0.5),
        ("network", "v_threshold", 0),
        ("network", "v_threshold", 1e-50),
        ("network", "v_threshold", math.inf),
        ("network", "tau_mem", 0),
        ("network", "tau_mem", math.nan),
        ("network", "tau_syn", -1e-3),
        ("network", "tau_syn", math.inf),
        ("network", "dt", math.inf),
        ("network", "surrogate", "box"),
        ("network", "reset", "soft"),
        ("network", "readout", "latency"),
        ("network", "threshold_per", "row"),
        ("network", "method", "lts"),
        ("network", "refractory_steps", 0),
        ("network", "layers", "16 0"),
        ("network", "layers", "32c5 mp2 x"),
        ("network", "layers", "256 32c5"),
        ("training", "epochs", 0),
        ("training", "batch_size", -1),
        ("training", "learning_rate", 0),
        ("training", "learning_rate", 1e300),
        ("training", "weight_decay", math.inf),
        ("training", "seed", -1),
        ("coding", "n_steps", 0),
        ("coding", "n_steps", 2.5),
        ("coding", "kind", "burst"),
        ("coding", "max_value", 40000),
        ("data", "validation", 1),
        ("data", "validation", 0),
        ("data", "shift", -1),
        ("quantization", "chip", "loihi9"),
        ("quantization", "weight_bits", 17),
    ],
)
def test_wrong_value_is_named(tmp_path, section, key, value):
    path = written(tmp_path, changed(section, **{key: value}))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)
    shown = value.split()[-1] if key == "layers" else value
    assert all(part in message for part in (str(path), section, key, repr(shown))), message


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("data", "validation", 1, "data.validation must be less than 1 (got 1)"),
        ("coding", "n_steps", 2.5, "coding.n_steps must be a whole number (got 2.5)"),
        ("coding", "n_steps", "many", "coding.n_steps must be a whole number (got 'many')"),
        ("coding", "kind", "burst", "coding.kind must be 'rate', 'direct', 'first_spike' or 'events' (got 'burst')"),
        ("coding", "step_us", 5, "coding: step_us is for kind 'events', and this one is 'rate'"),
        ("data", "rotate", 200, "data.rotate must be at most 180 (got 200)"),
        ("data", "shifts", 1, "data.shifts is not known, did you mean shift? (got 1)"),
        ("network", "layers", 512, "network.layers must be text in quotes (got 512)"),
        ("network", "layers", "8 x", "network.layers: 'x' is no layer: use 32c5, "),
        ("network", "tau_syn", math.inf, "network.tau_syn must be a finite number (got inf)"),
        ("network", "bias", "maybe", "network.bias must be true or false (got 'maybe')"),
        ("network", "layer", "8", "network.layer is not known, did you mean layers? (got '8')"),
        ("network", "epochs", 3, "network.epochs is not known, it belongs in [training] (got 3)"),
        ("network", "xyz", 3, "network.xyz is not known (got 3)"),
        ("data", "set", 3, "data.set must be text in quotes (got 3)"),
        ("training", "batch_size", [1], "training.batch_size must be a whole number (got [1])"),
        ("training", "seed", -1, "training.seed must be at least 0 (got -1)"),
        ("training", "momentum", 0.9, "training: momentum is for optimizer 'sgd', and this one is 'adamw'"),
        ("training", "schedule", "step", "training: schedule 'step' needs decay"),
        ("training", "decay", 0.5, "training: decay is for schedule step or exponential, and this one is 'cosine'"),
        ("training", "schedule", "exponential", "training: schedule 'exponential' needs decay"),
        ("quantization", "chip", "loihi9", "quantization: chip 'loihi9': is not known; choose one of"),
    ],
)
def test_what_is_wrong_in_words(tmp_path, section, key, value, says):
    path = written(tmp_path, changed(section, **{key: value}))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: {says}")


def test_spikes_of_events_are_binary_unless_it_says_otherwise(tmp_path):
    for values, most in (({}, 1), ({"max_value": 5, "step_us": 100}, 5)):
        recipe = load_recipe(written(tmp_path, changed("coding", kind="events", **values)))
        assert recipe.coding.max_value == most
        assert load_recipe(written(tmp_path, recipe.model_dump(exclude_none=True))) == recipe
    assert load_recipe(written(tmp_path, changed("coding", kind="direct"))).coding.max_value == 63


def test_schedules_that_contradict(tmp_path):
    for values, says in (
        ({"schedule": "exponential", "decay": 0.9, "decay_every": 2}, "decay_every is for schedule step, and"),
        ({"schedule": "step", "decay": 0.9}, "schedule 'step' needs decay_every"),
    ):
        with pytest.raises(RecipeError, match=says):
            load_recipe(written(tmp_path, changed("training", **values)))


def test_whole_numbers_are_exact(tmp_path):
    raw = changed("quantization", chip="loihi1") | {"training": GOOD["training"] | {"precision": "bfloat16"}}
    with pytest.raises(RecipeError, match="precision 'bfloat16' is for training in floats, and the whole numbers of"):
        load_recipe(written(tmp_path, raw))


def test_epochs_in_floats(tmp_path):
    raw = changed("training", float_epochs=1, precision="bfloat16")
    with pytest.raises(RecipeError, match="float_epochs is for a chip, and chip 'none' trains in floats throughout"):
        load_recipe(written(tmp_path, raw))
    assert load_recipe(written(tmp_path, raw | {"quantization": {"chip": "loihi2"}})).training.float_epochs == 1
    raw["training"]["float_epochs"] = 2
    with pytest.raises(RecipeError, match="float_epochs is 2 and epochs is 2: none is left"):
        load_recipe(written(tmp_path, raw | {"quantization": {"chip": "loihi2"}}))


def test_rates_need_spikes(tmp_path):
    raw = changed("network", readout="membrane") | {"training": GOOD["training"] | {"loss": "mse"}}
    with pytest.raises(RecipeError, match="loss 'mse' compares firing rates, which readout 'membrane' has not"):
        load_recipe(written(tmp_path, raw))


def test_a_section_that_is_not_known(tmp_path):
    with pytest.raises(RecipeError, match=r"trainig is not known, did you mean training\?"):
        load_recipe(written(tmp_path, GOOD | {"trainig": {"epochs": 2}}))
    with pytest.raises(RecipeError, match=r"data must be a section \(got 3\)"):
        load_recipe(written(tmp_path, GOOD | {"data": 3}))


def test_missing_key_is_named(tmp_path):
    raw = {**GOOD, "training": {"epochs": 2, "batch_size": 16}}
    with pytest.raises(RecipeError, match=r"training\.learning_rate is missing"):
        load_recipe(written(tmp_path, raw))


def test_every_error_is_listed(tmp_path):
    raw = changed("network", v_threshold=0, surrogate="box", width=3)
    raw["training"] = {**raw["training"], "epochs": 0}
    raw["quantization"] = {"chip": "loihi9"}
    with pytest.raises(RecipeError) as caught:
        load_recipe(written(tmp_path, raw))
    for part in ("network.v_threshold", "network.surrogate", "network.width", "training.epochs", "'loihi9'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("quantization", "says"),
    [({"chip": "loihi1", "weight_bits": 4}, "generic"), ({"weight_bits": 4}, "trains in floats")],
)
def test_weight_bits_that_would_do_nothing(tmp_path, quantization, says):
    with pytest.raises(RecipeError, match=says):
        load_recipe(written(tmp_path, changed("quantization", **quantization)))


def test_unknown_name_lists_the_known():
    with pytest.raises(RecipeError, match=r"recipe 'stl-mnits': is not known; choose one of .*stl-digits"):
        load_recipe("stl-mnits")


def test_missing_file(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [b"epochs = ", b"\xff\xfe\x00", b"[data\n", b"a = 1\na = 2\n"])
def test_not_toml(tmp_path, content):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"bad\.toml"):
        load_recipe(path)


def test_empty_file_lists_what_is_missing(tmp_path):
    path = tmp_path / "empty.toml"
    path.touch()
    with pytest.raises(RecipeError, match=r"name is missing; data is missing; .*coding.*network.*training"):
        load_recipe(path)


def test_options_of_the_command_line():
    recipe = Recipe.model_validate(changed("quantization", chip="generic", weight_bits=4))
    assert recipe.changed() == recipe
    other = recipe.changed(seed=7, epochs=3)
    assert (other.training.seed, other.training.epochs, other.quantization) == (7, 3, recipe.quantization)
    assert recipe.changed(chip="generic").quantization.weight_bits == 4
    assert recipe.changed(chip="loihi1").chip.name == "loihi1"
    assert recipe.changed(chip="none").chip is None
    with pytest.raises(RecipeError, match=r"options: training\.epochs.*got 0"):
        recipe.changed(epochs=0)
    with pytest.raises(RecipeError, match="'loihi9'"):
        recipe.changed(chip="loihi9")


@pytest.mark.parametrize(
    "values", [{"loss": "mse"}, {"additions_weight": 0.5}, {"precision": "bfloat16", "float_epochs": 1}]
)
def test_what_one_spike_networks_do_not_have(tmp_path, values):
    raw = changed("training", **values) | {
        "coding": {"kind": "first_spike", "n_steps": 8},
        "network": {"method": "sstdp", "layers": "8"},
        "quantization": {"chip": "loihi1"},
    }
    with pytest.raises(RecipeError, match=f"{next(iter(values))}.* is for "):
        load_recipe(written(tmp_path, raw))


@pytest.mark.parametrize(("epochs", "floats"), [(28, 25), (14, 12), (2, 1), (1, 0), (40, 25)])
def test_fewer_epochs_keep_the_share_in_floats(epochs, floats):
    training = load_recipe("stl-mnist-conv").changed(epochs=epochs).training
    assert (training.epochs, training.float_epochs) == (epochs, floats)
    assert training.precision == ("bfloat16" if floats else "float32")
