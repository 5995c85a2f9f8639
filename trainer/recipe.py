"""Recipes: everything that defines a training run, in a TOML file that is checked before anything starts."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import ValidationError, model_validator

from spikegraph.export.chips import Chip
from spikegraph.export.coding import InputCoding
from spikegraph.export.errors import RecipeError
from spikegraph.trainer.recipe_errors import problems_in_words
from spikegraph.trainer.sections import (
    CodingSection,
    DataSection,
    NetworkSection,
    OwnSection,
    QuantizationSection,
    Section,
    TrainingSection,
)
from spikegraph.trainer.sstdp.section import OneSpikeSection


class Recipe(Section):
    """A training run."""

    name: str
    data: DataSection
    coding: CodingSection
    network: NetworkSection
    quantization: QuantizationSection = QuantizationSection()
    training: TrainingSection

    @property
    def chip(self) -> Chip | None:
        """The chip that training computes for; None for floats."""
        return self.quantization.profile()

    @property
    def input_coding(self) -> InputCoding:
        """How data become spikes when the network is used: training draws other random numbers in every epoch."""
        coding = self.coding
        max_value = coding.max_value if coding.kind in ("direct", "events") else 1
        return InputCoding(kind=coding.kind, seed=self.training.seed, max_value=max_value, step_us=coding.step_us)

    @model_validator(mode="after")
    def _membrane_needs_no_reset(self) -> Recipe:
        if self.network.readout == "membrane" and self.chip is not None and "none" not in self.chip.reset.modes:
            what = f"readout 'membrane' needs neurons without reset, which {self.chip.title} has not"
            raise ValueError(f"{what}; use readout 'count', or another chip")
        return self

    @model_validator(mode="after")
    def _whole_numbers_are_exact(self) -> Recipe:
        if self.chip is None and self.training.float_epochs:
            raise ValueError("training.float_epochs is for a chip, and chip 'none' trains in floats throughout")
        if self.training.precision != "float32" and self.chip is not None and not self.training.float_epochs:
            what = f"precision {self.training.precision!r} is for training in floats, and the whole numbers of"
            raise ValueError(f"{what} {self.chip.title} are exact; use 'float32', chip 'none', or float_epochs")
        return self

    @model_validator(mode="after")
    def _rates_need_spikes(self) -> Recipe:
        if self.training.loss == "mse" and self.network.readout == "membrane":
            raise ValueError("loss 'mse' compares firing rates, which readout 'membrane' has not; use 'cross_entropy'")
        return self

    def to_toml(self) -> str:
        """Return the recipe as the text of a TOML file."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def on(self, data: str) -> Recipe:
        """Return the recipe with this name in place of its data set's."""
        return self.model_copy(update={"data": self.data.model_copy(update={"set": data})})

    def changed(
        self,
        *,
        seed: int | None = None,
        epochs: int | None = None,
        chip: str | None = None,
        weight_bits: int | None = None,
        n_steps: int | None = None,
        additions_weight: float | None = None,
    ) -> Recipe:
        """Return the recipe with the options of the command line in place of its own values.

        Fewer `epochs` keep the share of those that compute in floats, and leave at least one in the chip's integers.
        `weight_bits` means weights of so many bits on the chip "generic".
        """
        raw = self.model_dump()
        if epochs is not None and epochs < self.training.epochs:  # as many in floats, of those that are left
            share = self.training.float_epochs / self.training.epochs
            raw["training"]["float_epochs"] = min(round(share * epochs), max(epochs - 1, 0))
            if self.training.float_epochs and not raw["training"]["float_epochs"]:
                raw["training"]["precision"] = "float32"  # of floats, and none are left
        training = {"seed": seed, "epochs": epochs, "additions_weight": additions_weight}
        raw["training"] |= {name: value for name, value in training.items() if value is not None}
        if n_steps is not None:
            raw["coding"]["n_steps"] = n_steps
        if weight_bits is not None:
            raw["quantization"] = {"chip": "generic", "weight_bits": weight_bits}
        if chip not in (None, self.quantization.chip):
            raw["quantization"] = {"chip": chip}  # the width of weights was the other chip's
        return _validated(raw, "options")


class OwnRecipe(Recipe):
    """A training run with method "module"."""

    network: OwnSection  # type: ignore[assignment]


class OneSpikeRecipe(Recipe):
    """A training run with method "sstdp"."""

    network: OneSpikeSection  # type: ignore[assignment]

    @model_validator(mode="after")
    def _lines_spike_once(self) -> Self:
        if self.coding.kind != "first_spike":
            raise ValueError(f"method 'sstdp' needs coding 'first_spike', and this one is {self.coding.kind!r}")
        return self

    @model_validator(mode="after")
    def _has_an_aim_of_its_own(self) -> Self:
        """Refuse what acts on populations of LIF neurons only, and would do nothing here."""
        for name in ("loss", "additions_weight", "precision"):
            value = getattr(self.training, name)
            if value != TrainingSection.model_fields[name].default:
                raise ValueError(f"training.{name} = {value!r} is for methods stl, sl and tl, and this one is 'sstdp'")
        return self


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that are installed, sorted."""
    folder = resources.files("spikegraph.trainer") / "recipes"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_recipe(source: str | Path | Mapping[str, Any]) -> Recipe:
    """Load a recipe by name, from a TOML file, or from what would be in one.

    Raises
    ------
    RecipeError
        No such recipe or file; not TOML; an unknown key; a value out of range: every one of them is listed.
    """
    if isinstance(source, Mapping):
        return _validated(dict(source), "recipe")
    name = str(source)
    if name in recipe_names():
        text = (resources.files("spikegraph.trainer") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(name, f"cannot be read ({error})", "give a TOML file, or a recipe's name") from error
    else:
        known = ", ".join(recipe_names())
        raise RecipeError(f"recipe {name!r}", "is not known", f"choose one of {known}, or give a .toml file")
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(name, f"is not valid TOML ({error})", "mend that line") from error
    return _validated(raw, name)


def differences(a: Recipe, b: Recipe) -> str:
    """Return what is not the same in two recipes: "training.seed 7 and 0, …"."""
    flat_a, flat_b = (dict(_flat(recipe.model_dump())) for recipe in (a, b))
    names = [name for name in flat_a | flat_b if flat_a.get(name) != flat_b.get(name)]
    return ", ".join(f"{name} {flat_a.get(name)} and {flat_b.get(name)}" for name in names)


def _flat(raw: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in raw.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _validated(raw: dict[str, object], where: str) -> Recipe:
    network = raw.get("network")
    method = network.get("method") if isinstance(network, dict) else None
    kinds: dict[str, type[Recipe]] = {"sstdp": OneSpikeRecipe, "module": OwnRecipe}
    kind = kinds.get(str(method), Recipe)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(where, problems_in_words(error, kind), "mend these values") from error
