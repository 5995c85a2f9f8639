"""The neurons of a layer: a `neuron` group as a population's parameters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Population, Reset
from spikegraph.export.loss import Loss
from spikegraph.export.netx.members import Members

CUBA = ("CUBA", "LOIHI")
BIAS_EXP = 6  # of every bias in a file
NEVER = fixed.THRESHOLD_MANT.maximum + 1  # from this mantissa on no v of 24 bits exceeds the threshold
_LATER = "which are not modelled here yet"
REFUSED = {
    "SDNN": f"sigma-delta neurons, {_LATER}",
    "ALIF": f"neurons whose threshold adapts, {_LATER}",
    "RF_PHASE": f"resonate-and-fire neurons, {_LATER}",
    "RF_IZHIKEVICH": f"resonate-and-fire neurons, {_LATER}",
    "ADRF_PHASE": f"adaptive resonate-and-fire neurons, {_LATER}",
    "ADRF_IZHIKEVICH": f"adaptive resonate-and-fire neurons, {_LATER}",
}
_OF_TRAINING = frozenset({"theta", "tauRho", "scaleRho"})
_READ = frozenset(
    {"type", "iDecay", "vDecay", "vThMant", "refDelay", "gradedSpike", "wgtExp", "weight_exp", "messageBits"}
)


@dataclass(frozen=True, kw_only=True)
class Neurons:
    """Neurons as they were read.

    Parameters
    ----------
    population : Population
    spikes : bool
        False: no v exceeds the threshold.
    reads_v : bool
        The threshold is as good as out of reach: at the end of a network v is what it says.
    facts, losses : lists
        See `LossReport`.
    """

    population: Population
    spikes: bool = True
    reads_v: bool = False
    facts: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)


def neurons_of(layer: Members, shape: Shape, node: str) -> Neurons:
    """Read the neurons of a layer.

    Raises
    ------
    FileFormatError, GraphError
        They are of a kind that does not exist here, or their parameters are not what they should be.
    """
    bias = _bias(layer, shape)
    if "neuron" not in layer:
        return _integrators(layer, shape, bias, f"{node} has no neurons")
    neuron = layer.group("neuron")
    kind = neuron.text("type")
    if kind not in CUBA:
        what = REFUSED.get(kind, "neurons of a kind that is not known")
        raise neuron.refusal("type", f"is {kind!r}: {what}", f"use a network of {' or '.join(CUBA)} neurons")
    if neuron.integer("gradedSpike", 0) or neuron.integer("messageBits", 0):
        raise neuron.refusal("gradedSpike", "is true, but spikes are binary here", "train with binary spikes")
    for name in ("wgtExp", "weight_exp"):
        if neuron.integer(name, 0):
            what = f"is {neuron.integer(name)}; lava-dl trains with it and leaves it out where it runs the file"
            raise neuron.refusal(name, what, "scale the weights before export")
    losses = [_of_training(neuron, node), *_unknown(neuron, node)]
    decay_u, decay_v = (_parameter(neuron, name, shape) for name in ("iDecay", "vDecay"))
    threshold = _parameter(neuron, "vThMant", shape)
    reset: Reset = "zero"
    if (threshold >= NEVER).all():
        if not decay_u.any():
            never = _integrators(layer, shape, bias, f"{node}: iDecay = 0", decay_v)
            return replace(never, losses=_some(losses))
        threshold, reset = np.array(NEVER - 1), "none"  # the highest v passes that threshold, and nothing comes of it
    reads_v = bool((threshold == NEVER - 1).all())
    if not decay_u.all():
        what, remedy = "is 0: u would never be forgotten, decay_u is at least 1", "train with a current decay"
        raise neuron.refusal("iDecay", what, remedy)
    population = Population(
        shape=shape,
        decay_u=decay_u,
        decay_v=decay_v,
        threshold_mant=threshold,
        reset=reset,
        refractory_steps=neuron.integer("refDelay", 1) if reset == "zero" else 1,
        **bias,
    )
    return Neurons(population=population, spikes=reset == "zero", reads_v=reads_v, losses=_some(losses))


def _integrators(
    layer: Members, shape: Shape, bias: dict[str, Any], because: str, decay_v: Array | None = None
) -> Neurons:
    """lava-dl adds the input up in u, which it never forgets, and forgets v at once: so v = u. Here v adds it up."""
    if decay_v is not None and (decay_v != fixed.DECAY_ONE).any():
        what = f"vDecay = {decay_v.ravel()[0]} beside iDecay = 0: u would never be forgotten"
        raise GraphError([Problem(where=layer.where, what=what, remedy="train with a current decay")])
    if bias:
        remedy = "give the layer neurons, or leave the bias out"
        raise layer.refusal("bias", "stands in a layer whose neurons only add up their input", remedy)
    population = Population(shape=shape, decay_u=fixed.DECAY_ONE, decay_v=0, threshold_mant=NEVER - 1, reset="none")
    said = (
        f"{because}: v adds up the weighted input and never fires; lava-dl adds up in u, which wraps where v saturates"
    )
    return Neurons(population=population, spikes=False, reads_v=True, facts=[said])


def _bias(layer: Members, shape: Shape) -> dict[str, Any]:
    if "bias" not in layer:
        return {}
    bias = layer.integers("bias").ravel()
    if bias.size not in (1, shape[0]):
        raise layer.refusal("bias", f"holds {bias.size} numbers, expected 1 or {shape[0]}, one for each channel")
    return {"bias_mant": _one_if_same(bias), "bias_exp": BIAS_EXP} if bias.any() else {}


def _parameter(neuron: Members, name: str, shape: Shape) -> Array:
    value = neuron.integers(name).ravel()
    if value.size not in (1, shape[0]):
        raise neuron.refusal(name, f"holds {value.size} numbers, expected 1 or {shape[0]}, one for each channel")
    return _one_if_same(value)


def _one_if_same(value: Array) -> Array:
    return value[0] if (value == value[0]).all() else value


def _of_training(neuron: Members, node: str) -> Loss | None:
    found = sorted(_OF_TRAINING & set(neuron.tree))
    what = "shapes gradients or repeats vThMant; it has no part in a run"
    return Loss(node=node, attribute=", ".join(found), effect="none", what=what) if found else None


def _unknown(neuron: Members, node: str) -> list[Loss]:
    what = "is not a member of CUBA or LOIHI neurons"
    return [
        Loss(node=node, attribute=f"neuron/{name}", effect="dropped", what=what)
        for name in neuron.others(_READ | _OF_TRAINING)
    ]


def _some(losses: list[Loss | None]) -> list[Loss]:
    return [loss for loss in losses if loss is not None]
