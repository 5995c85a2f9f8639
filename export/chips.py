"""What each chip can hold. The figures live in chips/*.toml, each with its source and grade; this file reads them."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from spikegraph.export.errors import ChipError
from spikegraph.export.fixed import IntegerFormat
from spikegraph.export.graph import Reset

Grade = Literal["measured", "published", "emulator", "assumed"]


class _Sourced(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str = Field(min_length=1)
    grade: Grade


class Range(_Sourced):
    """The numbers `offset` + k · `step` from `minimum` to `maximum`."""

    minimum: int
    maximum: int
    step: int = Field(default=1, ge=1)
    offset: int = 0

    @property
    def format(self) -> IntegerFormat:
        """The range as an integer format."""
        return IntegerFormat(minimum=self.minimum, maximum=self.maximum, step=self.step, offset=self.offset)


class Parameter(Range):
    """A neuron parameter: its range, and whether all neurons of a population must share one value."""

    shared: bool


class Resets(_Sourced):
    """The reset modes that the chip offers."""

    modes: tuple[Reset, ...]


class Flag(_Sourced):
    """Something that the chip can do or cannot."""

    value: bool


class Limit(_Sourced):
    """How much of something a core has at most."""

    maximum: int = Field(ge=1)


class Mesh(_Sourced):
    """Tiles of cores on a grid, between which messages travel first east or west, then north or south."""

    columns: int = Field(ge=1)
    rows: int = Field(ge=1)
    cores_per_tile: int = Field(ge=1)

    @property
    def cores(self) -> int:
        """Number of cores."""
        return self.columns * self.rows * self.cores_per_tile


class Packing(_Sourced):
    """How the synapses that one axon reaches lie in a core's memory: blocks with a header, each in whole words.

    Attributes
    ----------
    word_bits, header_bits, synapses_per_block : int
    weight_bits, index_bits : tuple of int
        Widths that there are, rising; lists of a dense projection need no index.
    sign_bits : int
        A weight of n bits holds multiples of 2 ** (8 + sign_bits - n).
    delay_bits : int
        Beside every weight of a projection with a delay of its own beyond the one step of delivery.
    """

    word_bits: int = Field(ge=1)
    header_bits: int = Field(ge=0)
    synapses_per_block: int = Field(ge=1)
    weight_bits: tuple[int, ...]
    index_bits: tuple[int, ...]
    sign_bits: int
    delay_bits: int


class CoreLimits(BaseModel):
    """What one core holds, and where the cores are. What is not published has no entry.

    Attributes
    ----------
    mesh : Mesh
    neurons, synapse_bits : Limit
    packing : Packing
    axons_in, axons_out : Limit, optional
        Source neurons that reach a core; entries (neuron, core that it reaches).
    decay_profiles, threshold_profiles : Limit, optional
        Different decays and refractory periods, and different thresholds, in one core.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    mesh: Mesh
    neurons: Limit
    synapse_bits: Limit
    packing: Packing
    axons_in: Limit | None = None
    axons_out: Limit | None = None
    decay_profiles: Limit | None = None
    threshold_profiles: Limit | None = None


class Chip(BaseModel):
    """Limits of one chip.

    Attributes
    ----------
    name, title : str
    weight, weight_exp, delay_steps, refractory_steps : Range
    threshold_mant, decay_u, decay_v, bias_mant, bias_exp : Parameter
    reset : Resets
    graded_input, max_spikes : Flag
        Whether an input spike may carry a number; whether neurons can be limited to so many spikes.
    core : CoreLimits, optional
        Without it nothing can be placed on the chip.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    title: str
    weight: Range
    weight_exp: Range
    threshold_mant: Parameter
    decay_u: Parameter
    decay_v: Parameter
    bias_mant: Parameter
    bias_exp: Parameter
    delay_steps: Range
    refractory_steps: Range
    reset: Resets
    graded_input: Flag
    max_spikes: Flag
    core: CoreLimits | None = None

    def with_weight_bits(self, bits: int) -> Chip:
        """Return the profile with signed weights of so many bits (1…16), step 1; those of one bit are -1 and 1."""
        if not 1 <= bits <= 16:
            raise ChipError("--weight-bits", f"{bits} is outside 1…16", "choose a width in that range")
        half = 1 << (bits - 1)
        held = (-1, 1, 2, 1) if bits == 1 else (-half, half - 1, 1, 0)
        numbers = dict(zip(("minimum", "maximum", "step", "offset"), held, strict=True))
        weight = Range(**numbers, source="option --weight-bits", grade="assumed")
        return self.model_copy(update={"weight": weight})


def chip_names() -> tuple[str, ...]:
    """Names of the profiles that are installed, sorted."""
    folder = resources.files("spikegraph.export") / "chips"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_chip(name: str, *, weight_bits: int | None = None) -> Chip:
    """Load a chip profile by name.

    Parameters
    ----------
    name : str
        "loihi1", "loihi2" or "generic".
    weight_bits : int, optional
        For "generic" only: width of its signed weights (default 8).

    Raises
    ------
    ChipError
        Unknown name, or `weight_bits` for a chip whose weights are given.
    """
    if name not in chip_names():
        raise ChipError(f"chip {name!r}", "is not known", f"choose one of {', '.join(chip_names())}")
    text = (resources.files("spikegraph.export") / "chips" / f"{name}.toml").read_text(encoding="utf-8")
    chip = Chip.model_validate(tomllib.loads(text))
    if weight_bits is None:
        return chip
    if name != "generic":
        raise ChipError(f"chip {name!r}", "has a weight width of its own", "use --weight-bits with --chip generic")
    return chip.with_weight_bits(weight_bits)
