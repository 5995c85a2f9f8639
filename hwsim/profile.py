"""What single operations cost. The figures live in profiles/*.toml, each with its source and grade; this reads them."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spikegraph.export.errors import ChipError
from spikegraph.hwsim.tally import CORE_QUANTITIES

Grade = Literal["measured", "published", "pre-silicon", "fit", "derived", "assumed"]
Stage = Literal["neurons", "synapses"]
# Beside what is counted for each core: every neuron in every step, and those of them that had nothing to do.
PRICED = (*CORE_QUANTITIES, "neuron_updates", "inactive_updates")
# What a placement alone can tell; the rest is counted for each population as well.
ON_CORES = ("messages", "messages_in", "tile_messages", "hops_east_west", "hops_north_south")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Figure(_Table):
    source: str = Field(min_length=10)
    grade: Grade


class Operation(_Figure):
    """What each of some counted operations costs.

    Attributes
    ----------
    name : str
    counts : tuple of str
        Names of `PRICED`.
    energy_pj, time_ns : float, optional
        Of one operation. Time is what it keeps its core busy.
    stage : "neurons" or "synapses"
        The two stages of a core work side by side: a step takes as long as the longer of them.
    transit_ns : float, optional
        Time that a message is under way, which keeps no core busy.
    """

    name: str
    counts: tuple[str, ...] = Field(min_length=1)
    energy_pj: float | None = Field(default=None, ge=0)
    time_ns: float | None = Field(default=None, ge=0)
    stage: Stage = "neurons"
    transit_ns: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _known(self) -> Operation:
        unknown = sorted(set(self.counts) - set(PRICED))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not counted; known are {', '.join(PRICED)}")
        return self


class Barrier(_Figure):
    """Time in which all cores agree that a step is over, by the number of tiles in use."""

    tiles: tuple[int, ...] = Field(min_length=1)
    time_ns: tuple[Annotated[float, Field(ge=0)], ...]
    between: Literal["straight line", "largest below"] = "straight line"

    @model_validator(mode="after")
    def _in_pairs(self) -> Barrier:
        if len(self.tiles) != len(self.time_ns) or list(self.tiles) != sorted(set(self.tiles)):
            raise ValueError(f"tiles must rise, with a time for each: {self.tiles} and {self.time_ns}")
        return self

    def seconds(self, n_tiles: int) -> float:
        """Return the time for so many tiles."""
        if self.between == "largest below":
            return self.time_ns[max(int(np.searchsorted(self.tiles, n_tiles, side="right")) - 1, 0)] * 1e-9
        return float(np.interp(n_tiles, self.tiles, self.time_ns)) * 1e-9


class Static(_Figure):
    """Power that a chip draws whatever it does."""

    power_w: float = Field(ge=0)


class DenseMac(_Figure):
    """Energy of one multiply-accumulate of the dense network that a spiking one replaces."""

    energy_pj: float = Field(ge=0)
    arithmetic: str


class Unpriced(_Table):
    """Something that costs, with no figure for it; never taken as zero.

    Attributes
    ----------
    what, why : str
    counts : tuple of str
        How often it happened, if that is counted: names of `PRICED`.
    """

    what: str
    why: str
    counts: tuple[str, ...] = ()


class CostProfile(_Table):
    """The figures of one chip or technology, from one source.

    Attributes
    ----------
    name, title : str
    chip : str, optional
        The chip that a network must be placed on; without it, counts of a run are enough.
    operation : tuple of Operation
    barrier : Barrier, optional
    static : Static, optional
    dense_mac : DenseMac, optional
    unpriced : tuple of Unpriced
    """

    name: str
    title: str
    chip: str | None = None
    operation: tuple[Operation, ...] = ()
    barrier: Barrier | None = None
    static: Static | None = None
    dense_mac: DenseMac | None = None
    unpriced: tuple[Unpriced, ...] = ()

    @model_validator(mode="after")
    def _needs_a_chip(self) -> CostProfile:
        needed = sorted({count for o in self.operation for count in o.counts if count in ON_CORES})
        if self.chip is None and needed:
            raise ValueError(f"{needed[0]!r} is known only on a chip: name it")
        if self.barrier is None and any(o.time_ns for o in self.operation):
            raise ValueError("has times but no barrier: a step ends with it")
        return self


def profile_names(chip: str | None = None) -> tuple[str, ...]:
    """Names of the profiles that are installed, sorted; of one chip only, if it is given."""
    folder = resources.files("spikegraph.hwsim") / "profiles"
    names = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return tuple(name for name in names if chip is None or load_profile(name).chip == chip)


def load_profile(name: str | Path) -> CostProfile:
    """Load a profile by name, or from a TOML file of one's own.

    Raises
    ------
    ChipError
        Unknown name; the file is not a profile: a figure lacks its source, or names what is not counted.
    """
    if str(name).endswith(".toml"):
        path = Path(name)
    elif str(name) in profile_names():
        path = Path(str(resources.files("spikegraph.hwsim") / "profiles" / f"{name}.toml"))
    else:
        remedy = f"choose one of {', '.join(profile_names())}, or give a TOML file"
        raise ChipError(f"profile {str(name)!r}", "is not known", remedy)
    if not path.is_file():
        raise ChipError(str(path), "does not exist", f"check the name, or choose one of {', '.join(profile_names())}")
    try:
        return CostProfile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ChipError(str(path), f"cannot be read as TOML ({error})", "give a profile") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "profile"
        raise ChipError(str(path), f"{where}: {first['msg']}", "see docs/cost.md, A profile of one's own") from error
