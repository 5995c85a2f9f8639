"""What lava-dl 0.6.0's own reader leaves out, clips or refuses of what a `.net` file holds."""

from __future__ import annotations

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.loss import Loss
from spikegraph.export.netx.layers import Layer

_LONGEST = 62  # steps
_LOWEST, _HIGHEST = -256, 254


def not_run(node: str, layer: Layer, only: str | None = None) -> list[Loss]:
    """List what a layer holds and lava-dl does not run; `only`: of this member."""
    found = {"delay": _delay(layer), "refDelay": _pause(layer), "weight": _weights(layer), "type": _kind(layer)}
    return [
        Loss(node=node, attribute=name, effect="dropped", what=f"the file holds it, but lava-dl's reader {what}")
        for name, what in found.items()
        if what and only in (None, name)
    ]


def _kind(layer: Layer) -> str:
    return "has no pool layers" if layer.kind == "pool" else ""


def _delay(layer: Layer) -> str:
    delay = layer.members.get("delay")
    if delay is None:
        return ""
    if layer.kind == "conv":
        return "leaves out the delays of convolutions"
    said = []
    if np.max(delay) > _LONGEST:
        said.append(f"cuts delays to {_LONGEST} steps, this one has {int(np.max(delay))}")
    own = len(delay) == layer.members["shape"][0]  # else they are those of the lines that arrive
    if own and "bias" in layer.members and np.any(delay):
        said.append("delays what arrives at a layer, not its spikes, which differs where it has a bias")
    if layer.kind == "dense_rec":
        said.append("delays the loop as well")
    return ", ".join(said)


def _pause(layer: Layer) -> str:
    steps = layer.members.get("neuron", {}).get("refDelay", 1)
    return f"leaves out refDelay ({steps}: a pause of {steps - 1} steps)" if steps > 1 else ""


def _weights(layer: Layer) -> str:
    # A matrix is scaled to 8 bits with an exponent; a kernel is taken as it is.
    weight = layer.members.get("weight")
    if weight is None or layer.kind not in ("dense", "dense_rec"):
        return ""
    rows: Array = np.hstack([weight, layer.members["weight_rec"]]) if layer.kind == "dense_rec" else np.asarray(weight)
    low, high = int(rows.min()), int(rows.max())
    if low == high == 0:
        return "divides by the largest weight, which is 0"
    if low < _LOWEST or high > _HIGHEST:
        return f"cuts weights to {_LOWEST}…{_HIGHEST}, these are {low}…{high}"
    if high <= 0 and (-low & (-low - 1)) == 0:
        return f"cuts {low} by a step: no weight is positive, and the lowest is a power of two"
    return ""
