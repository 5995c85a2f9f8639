"""Recipes: everything that defines a training run, in a TOML file that is checked before anything starts."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import Field, ValidationError, field_validator, model_validator

from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.errors import ChipError, RecipeError
from spikegraph.trainer.architecture import parse
from spikegraph.trainer.data import Augmentation
from spikegraph.trainer.recipe_errors import problems_in_words
from spikegraph.trainer.section import Count, Positive, Section
from spikegraph.trainer.sstdp.section import OneSpikeSection


class DataSection(Augmentation):
    """Which data set, the share of its training split held out for validation, and what is done to the rest."""

    set: str
    validation: float = Field(default=0.1, gt=0, lt=1)
    downscale: int = Field(default=1, ge=1, le=64, description="recordings: join squares of so many pixels")


class CodingSection(Section):
    """How pixels or recordings become spikes, over how many steps."""

    kind: Literal["rate", "direct", "first_spike", "events"] = "rate"
    n_steps: int = Field(ge=1, le=4096)
    max_value: int = Field(default=63, ge=1, le=32767, description="direct: a white pixel; events: most in a step (1)")
    step_us: int = Field(default=0, ge=0, lt=1 << 31, description="events: length of a step; 0: a share of the whole")

    @model_validator(mode="before")
    @classmethod
    def _events_are_binary(cls, raw: Any) -> Any:
        return {"max_value": 1} | raw if isinstance(raw, dict) and raw.get("kind") == "events" else raw

    @model_validator(mode="after")
    def _steps_of_events(self) -> Self:
        if self.step_us and self.kind != "events":
            raise ValueError(f"step_us is for kind 'events', and this one is {self.kind!r}")
        return self


class NetworkSection(Section):
    """A network of leaky integrate-and-fire populations; the last, "output", has `neurons_per_class` for each class.

    With readout "membrane" the last one integrates without reset, and its potential in the last step decides.
    """

    layers: str = Field(description='words such as "32c5 mp2 64c5 mp2 256": see spikegraph.trainer.architecture.parse')
    method: Literal["stl", "sl", "tl"] = Field(
        default="stl", description="what learns: weights and thresholds, weights alone, thresholds alone"
    )
    dt: Positive = 1e-3
    tau_mem: float = Field(gt=0, description="inf: no leak")
    tau_syn: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    train_tau: bool = False
    v_threshold: Positive = 1.0
    threshold_noise: float = Field(default=0.0, ge=0, le=1e6)
    threshold_per: Literal["layer", "channel", "neuron"] = "neuron"
    batch_norm: bool = False
    bias: bool = True
    reset: Literal["zero", "subtract", "none"] = "zero"
    refractory_steps: Count = 1
    surrogate: Literal["arctan", "fast_sigmoid", "triangle"] = "arctan"
    readout: Literal["count", "membrane"] = "count"
    neurons_per_class: Count = 1

    @field_validator("layers")
    @classmethod
    def _can_be_built(cls, text: str) -> str:
        parse(text)
        return text


class QuantizationSection(Section):
    """The chip whose integers the forward pass computes; "none" trains in floats."""

    chip: str = "none"
    weight_bits: int | None = Field(default=None, ge=1, le=16)

    @model_validator(mode="after")
    def _exists(self) -> Self:
        try:
            self.profile()
        except ChipError as error:  # now, not after training
            raise ValueError(str(error)) from error
        return self

    def profile(self) -> Chip | None:
        """Load the chip; None for "none"."""
        if self.chip != "none":
            return load_chip(self.chip, weight_bits=self.weight_bits)
        if self.weight_bits is not None:
            raise ChipError("chip 'none'", f"trains in floats, but weight_bits is {self.weight_bits}", "name a chip")
        return None


class TrainingSection(Section):
    """The loop: what is minimised, by which steps, and when it ends."""

    epochs: Count
    batch_size: Count
    learning_rate: Positive
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float = Field(default=0.0, ge=0, lt=1, description="for sgd")
    weight_decay: float = Field(default=0.0, ge=0, le=1e6)
    schedule: Literal["cosine", "step", "exponential", "constant"] = "cosine"
    warmup_epochs: int = Field(default=0, ge=0)
    decay: float | None = Field(default=None, gt=0, le=1, description="for schedule step or exponential: the factor")
    decay_every: int | None = Field(default=None, ge=1, description="for schedule step: epochs between two factors")
    gradient_clip: Positive | None = Field(default=None, description="largest norm of all gradients together")
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    additions_weight: float = Field(default=0.0, ge=0, le=1e6, description="of the share of additions in the loss")
    float_epochs: int = Field(default=0, ge=0, description="first epochs that compute in floats, whatever the chip")
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    patience: Count | None = Field(default=None, description="epochs without a better validation accuracy")
    keep: Literal["last", "best"] = "last"
    seed: int = Field(default=0, ge=0, lt=1 << 63)

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        """Refuse a value that would do nothing, and a schedule that lacks one."""
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is for optimizer 'sgd', and this one is {self.optimizer!r}")
        if self.float_epochs >= self.epochs:
            what = (
                f"float_epochs is {self.float_epochs} and epochs is {self.epochs}: none is left in the chip's integers"
            )
            raise ValueError(what)
        for name, value, schedules in (
            ("decay", self.decay, ("step", "exponential")),
            ("decay_every", self.decay_every, ("step",)),
        ):
            if self.schedule in schedules and value is None:
                raise ValueError(f"schedule {self.schedule!r} needs {name}")
            if self.schedule not in schedules and value is not None:
                raise ValueError(f"{name} is for schedule {' or '.join(schedules)}, and this one is {self.schedule!r}")
        return self


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

        `weight_bits` means weights of so many bits on the chip "generic".
        """
        raw = self.model_dump()
        training = {"seed": seed, "epochs": epochs, "additions_weight": additions_weight}
        raw["training"] |= {name: value for name, value in training.items() if value is not None}
        if n_steps is not None:
            raw["coding"]["n_steps"] = n_steps
        if weight_bits is not None:
            raw["quantization"] = {"chip": "generic", "weight_bits": weight_bits}
        if chip not in (None, self.quantization.chip):
            raw["quantization"] = {"chip": chip}  # the width of weights was the other chip's
        return _validated(raw, "options")


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


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a recipe by name, or from a TOML file.

    Raises
    ------
    RecipeError
        No such recipe or file; not TOML; an unknown key; a value out of range: every one of them is listed.
    """
    name = str(name_or_path)
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
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(name, f"is not valid TOML ({error})", "mend that line") from error
    return _validated(raw, name)


def _validated(raw: dict[str, object], where: str) -> Recipe:
    network = raw.get("network")
    kind = OneSpikeRecipe if isinstance(network, dict) and network.get("method") == "sstdp" else Recipe
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise RecipeError(where, problems_in_words(error, kind), "mend these values") from error
