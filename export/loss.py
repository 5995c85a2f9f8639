"""What a conversion could not carry: attribute by attribute, node by node, with its effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Effect = Literal["none", "approximated", "dropped"]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One attribute that came out other than it went in.

    Parameters
    ----------
    node : str
        "population hidden", "projection fc", "output class", "graph".
    attribute : str
        As the graph or the file that was read calls it: "refractory_steps", "v_reset".
    effect : "none", "approximated" or "dropped"
        none: the format writes it down in another way, or leaves it out where it changes nothing: every spike is the
        same. approximated: spikes may differ. dropped: it is gone, and spikes may differ.
    what : str
        What became of it, with the numbers.
    error : float, optional
        Of what was approximated: by how much, in the unit that `what` names.
    """

    node: str
    attribute: str
    effect: Effect
    what: str
    error: float | None = None

    def __str__(self) -> str:
        return f"{self.node}: {self.attribute}: {self.effect}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class LossReport:
    """Everything that reading or writing one file lost, and what was taken for granted where the file says nothing.

    Parameters
    ----------
    step : str
        "read net.nir", "write net.net".
    facts : sequence of str
        What was assumed or inferred, and from what: dt, the convention.
    losses : sequence of Loss
    """

    step: str
    facts: Sequence[str] = ()
    losses: Sequence[Loss] = ()

    @property
    def lossless(self) -> bool:
        """Whether every spike is the same as before."""
        return all(loss.effect == "none" for loss in self.losses)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {"step": self.step, "facts": list(self.facts), "losses": [asdict(loss) for loss in self.losses]}
