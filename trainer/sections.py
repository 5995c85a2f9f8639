"""The sections of a recipe: keys, their ranges and their defaults. Needs no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.errors import ChipError
from spikegraph.trainer.architecture import parse
from spikegraph.trainer.data import Augmentation

Positive = Annotated[float, Field(ge=1e-30, le=1e30)]  # with room to the ends of float32
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of a recipe: only the keys that it knows, and no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class OwnSection(Section):
    """A `torch.nn.Module` of one's own, handed over in Python: only how it is read is said here."""

    method: Literal["module"]
    readout: Literal["count", "membrane"] = "count"
    neurons_per_class: Count = 1


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
