"""Nodes and edges of NIR as they are laid out, under names that are free, and what they do not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spikegraph.export.graph import free_name
from spikegraph.export.loss import Effect, Loss

_BACK = "; spikegraph reads it back"


@dataclass(kw_only=True)
class Laid:
    """Nodes as NIR's fields (`type` among them), edges, and losses.

    `weights` names the node that holds the weight of a projection as it is, or scaled by its exponent.
    """

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    edges: dict[tuple[str, str], None] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)

    def lose(self, node: str, attribute: str, effect: Effect, what: str) -> None:
        """Add a loss: for other readers, since spikegraph reads its own metadata."""
        self.losses.append(Loss(node=node, attribute=attribute, effect=effect, what=what + _BACK))

    def add(self, name: str, fields: dict[str, Any]) -> str:
        """Add a node under a name that is free, and return that."""
        own = free_name(name.replace(".", "_"), self.nodes)  # PyTorch's modules have no dots in their names
        self.nodes[own] = fields
        return own
