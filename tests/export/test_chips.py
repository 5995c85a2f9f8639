"""Chip profiles: each loads, and no figure stands without its source and grade."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from spikegraph.export import chips, fixed
from spikegraph.export.chips import Chip, chip_names, load_chip
from spikegraph.export.errors import ChipError

FOLDER = Path(chips.__file__).with_name("chips")
PROFILES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}


def tables(profile: dict[str, Any]) -> list[tuple[str, ...]]:
    """List the tables of a profile, those of a core one level deeper."""
    outer = [(name,) for name, table in profile.items() if isinstance(table, dict) and name != "core"]
    return outer + [("core", name) for name in profile.get("core", {})]


TABLES = [(chip, table) for chip, profile in PROFILES.items() for table in tables(profile)]
LAW = {
    "weight": fixed.WEIGHT,
    "weight_exp": fixed.WEIGHT_EXP,
    "threshold_mant": fixed.THRESHOLD_MANT,
    "decay_u": fixed.DECAY_U,
    "decay_v": fixed.DECAY_V,
    "bias_mant": fixed.BIAS_MANT,
    "bias_exp": fixed.BIAS_EXP,
    "delay_steps": fixed.DELAY_STEPS,
    "refractory_steps": fixed.REFRACTORY_STEPS,
}


def test_profiles_are_the_installed_ones() -> None:
    assert chip_names() == tuple(PROFILES) == ("generic", "loihi1", "loihi2")


@pytest.mark.parametrize("name", PROFILES)
def test_profile_loads(name: str) -> None:
    chip = load_chip(name)
    assert chip.name == name
    assert chip.title
    for field, law in LAW.items():
        own = getattr(chip, field)
        assert law.minimum <= own.minimum <= own.maximum <= law.maximum, field
        # Rounding works in multiples of the step: both ends must be some.
        assert own.minimum % own.step == own.maximum % own.step == 0
        assert own.format == fixed.IntegerFormat(minimum=own.minimum, maximum=own.maximum, step=own.step)


@pytest.mark.parametrize(("chip", "table"), TABLES)
def test_every_figure_has_source_and_grade(chip: str, table: tuple[str, ...]) -> None:
    entry = PROFILES[chip]
    for name in table:
        entry = entry[name]
    assert isinstance(entry.get("source"), str)
    assert len(entry["source"]) >= 10, "name the document, or the code and its release"
    assert entry.get("grade") in ("measured", "published", "emulator", "assumed")
    assert set(entry) - {"source", "grade"}, "a source for nothing"


@pytest.mark.parametrize("name", PROFILES)
def test_no_figure_stands_outside_a_table(name: str) -> None:
    assert {key for key, value in PROFILES[name].items() if not isinstance(value, dict)} == {"name", "title"}


def without(profile: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {k: v for k, v in profile.items() if k != first}
    return {**profile, first: without(profile[first], tuple(rest))}


@pytest.mark.parametrize(("chip", "table"), TABLES)
@pytest.mark.parametrize("key", ["source", "grade"])
def test_a_figure_without_source_or_grade_does_not_load(chip: str, table: tuple[str, ...], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        Chip.model_validate(without(PROFILES[chip], (*table, key)))


@pytest.mark.parametrize(
    "change",
    [
        {"weight": {**PROFILES["generic"]["weight"], "grade": "guessed"}},
        {"weight": {**PROFILES["generic"]["weight"], "source": ""}},
        {"weight": {**PROFILES["generic"]["weight"], "width": 8}},
        {"weight": {**PROFILES["generic"]["weight"], "step": 0}},
        {"weights": PROFILES["generic"]["weight"]},
        {"reset": {**PROFILES["generic"]["reset"], "modes": ["hard"]}},
    ],
)
def test_a_wrong_profile_does_not_load(change: dict[str, Any]) -> None:
    Chip.model_validate(PROFILES["generic"])
    with pytest.raises(ValidationError):
        Chip.model_validate({**PROFILES["generic"], **change})


def test_loihi_1_as_the_page_says() -> None:
    chip = load_chip("loihi1")
    weight = chip.weight.format
    assert (weight.minimum, weight.maximum, weight.step, weight.largest) == (-256, 254, 2, 254)
    assert chip.decay_v.maximum == 4095
    assert not chip.max_spikes.value
    assert not chip.graded_input.value
    assert chip.reset.modes == ("zero",)
    assert chip.threshold_mant.shared
    assert not chip.bias_mant.shared


@pytest.mark.parametrize("bits", range(2, 17))
def test_with_weight_bits(bits: int) -> None:
    chip = load_chip("generic", weight_bits=bits)
    assert (chip.weight.minimum, chip.weight.maximum, chip.weight.step) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 1)
    assert "--weight-bits" in chip.weight.source
    generic = load_chip("generic")
    assert chip.model_copy(update={"weight": generic.weight}) == generic  # its name too: it is found by it


def test_weights_of_one_bit() -> None:
    weight = load_chip("generic", weight_bits=1).weight.format
    assert [n for n in range(-5, 6) if weight.holds(n)] == [-1, 1]
    assert (str(weight), weight.largest) == ("-1 and 1", 1)


@pytest.mark.parametrize("bits", [-1, 0, 17, 64])
def test_weight_bits_outside_the_range(bits: int) -> None:
    with pytest.raises(ChipError, match=rf"--weight-bits: {bits} is outside 1…16; choose a width in that range"):
        load_chip("generic", weight_bits=bits)


@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
def test_weight_bits_for_a_chip_that_has_its_own(name: str) -> None:
    with pytest.raises(ChipError, match=f"chip '{name}': has a weight width of its own; use --weight-bits with"):
        load_chip(name, weight_bits=8)


@pytest.mark.parametrize("name", ["loihi3", "", "../chips/generic", "generic.toml", "GENERIC"])
def test_unknown_chip(name: str) -> None:
    with pytest.raises(ChipError, match="is not known; choose one of generic, loihi1, loihi2"):
        load_chip(name)
