"""What formats of others leave open, and somebody must say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AssumedReset = Literal["zero", "subtract", "none", "zero-at-once", "subtract-at-once"]


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Each is None where it is to be inferred from the file, or is the format's default.

    Parameters
    ----------
    dt : float, optional
        Seconds per step.
    convention : str, optional
        How a framework makes steps of continuous time: a name of `nir.conventions.CONVENTIONS`.
    reset : str, optional
        What a spike does to v, where a file holds only the value: "zero", "subtract" or "none", when the framework does
        it unless told otherwise (snnTorch: one step late); "zero-at-once", "subtract-at-once": in the spike's step.
    n_steps : int, optional
        Length of a sample's window in steps.
    max_value : int, optional
        The largest integer that a spike of an input carries.
    input_range : (float, float), optional
        Of .net files whose input has neurons: what 0 and 1 of the data were to the network as it was trained.
    """

    dt: float | None = None
    convention: str | None = None
    reset: AssumedReset | None = None
    n_steps: int | None = None
    max_value: int | None = None
    input_range: tuple[float, float] | None = None


NOTHING_ASSUMED = Assumptions()
