"""From a node of NIR and all ways into it to one population, the projections that end there, and constant sources."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.errors import FileFormatError
from spikegraph.export.float_graph import FloatDense, FloatOneToOne, FloatPopulation, FloatProjection
from spikegraph.export.graph import Reset, free_name
from spikegraph.export.loss import Loss
from spikegraph.export.nir.conventions import Convention
from spikegraph.export.nir.maps import as_projection, compose, reduced, scaled
from spikegraph.export.nir.neurons import Neurons
from spikegraph.export.nir.nodes import NirNode
from spikegraph.export.nir.windows import in_type_of
from spikegraph.export.nir.wiring import Constant, Way
from spikegraph.export.time_constants import time_constant_of

_ANALOGUE = "analogue values do not travel along synapses here: use the same filters on all ways, or neurons that fire"


@dataclass(kw_only=True)
class Parts:
    """What becomes of the graph, node by node, under the names of the file's nodes (`named`)."""

    named: Collection[str] = ()
    populations: dict[str, FloatPopulation] = field(default_factory=dict)
    projections: list[tuple[str, FloatProjection]] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)

    def note(self, fact: str) -> None:
        """Add a fact, once."""
        if fact not in self.facts:
            self.facts.append(fact)

    def beside(self, name: str) -> str:
        """Return a name for a population that no node of the file is: this one, if no node has it."""
        return free_name(name, self.named)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Dynamics:
    """What a population keeps of its two states, and which constants reach which."""

    kept_u: Array
    kept_v: Array
    bias: Array
    by_synapse: tuple[Constant, ...]


def add_population(
    parts: Parts,
    name: str,
    node: NirNode,
    shape: Shape,
    neurons: Neurons,
    driven: tuple[Sequence[Way], Sequence[Constant]],
    convention: Convention,
    dt: float,
) -> None:
    """Add a population and all that ends there.

    Parameters
    ----------
    parts : Parts
    name : str
        Of the population.
    node : NirNode
        Neurons that fire, or an output that reads what does not fire.
    shape : (n,) or (c, h, w)
    neurons : Neurons
        v_threshold None for an output: any threshold does, since there is no reset.
    driven : ways and constants that reach it
    convention : Convention
    dt : float
        Seconds per step of the graph.

    Raises
    ------
    FileFormatError
        A population cannot be what the file describes.
    """
    ways, constants = driven
    gain = scaled(shape, neurons.gain, node.where)
    each_gain = gain.each
    constants = [Constant(value=c.value * each_gain, delay_steps=c.delay_steps, filters=c.filters) for c in constants]
    dynamics = _dynamics(node, shape, neurons, ways, constants)
    recurrent = any(way.source == name for way in ways)
    reset, v_threshold, refractory_steps = _firing(
        parts, name, node, neurons, dynamics, convention, recurrent=recurrent
    )
    for way in ways:
        made = as_projection(compose(gain, way.map), way.source, name, way.delay_steps)
        parts.projections.append((way.name or f"{way.source}_to_{name}", made))
    if v_threshold is None:
        largest = max(
            (float(abs(p.weight).max(initial=0)) for _, p in parts.projections if p.target == name), default=0
        )
        v_threshold = np.array(largest * 256 or 1.0)  # seldom reached; and no scale of the weights has to give way
    parts.populations[name] = FloatPopulation(
        shape=shape,
        tau_syn=time_constant_of(dynamics.kept_u, dt),
        tau_mem=time_constant_of(dynamics.kept_v, dt),
        v_threshold=v_threshold,
        bias=in_type_of(v_threshold, dynamics.bias),
        reset=reset,
        refractory_steps=refractory_steps,
    )
    for constant in dynamics.by_synapse:
        _add_source(parts, name, shape, constant)
    if reset == "none" and convention.reset == "subtract" and neurons.v_reset is not None:
        _add_late_reset(parts, name, v_threshold, dynamics.kept_u)


def _dynamics(
    node: NirNode, shape: Shape, neurons: Neurons, ways: Sequence[Way], constants: Sequence[Constant]
) -> _Dynamics:
    filters = ways[0].filters if ways else max((c.filters for c in constants), key=len, default=())
    alike = all(len(way.filters) == len(filters) and all(map(_equal, way.filters, filters)) for way in ways)
    behind = all(all(map(_equal, reversed(c.filters), reversed(filters))) for c in constants)
    if not alike or not behind or any(len(c.filters) > len(filters) for c in constants):
        raise FileFormatError(node.where, "is reached through filters that differ", _ANALOGUE)
    stages = (*filters, *neurons.stages)
    if len(stages) > 2:
        what = f"and the filters in front of it make {len(stages)} stages; neurons here have two, current and potential"
        raise FileFormatError(node.where, what, "take a filter out, or put neurons that fire between")
    passed = [(len(c.filters) + len(neurons.stages), c) for c in constants]
    if neurons.bias.any():
        own = Constant(value=per_neuron(neurons.bias, shape).ravel(), delay_steps=0, filters=())
        passed.append((min(1, len(neurons.stages)), own))
    none = np.zeros(())
    if len(stages) == 2:
        kept_u, kept_v, before_v = stages[0], stages[1], 1
    elif len(stages) == 1 and any(n == 0 for n, _ in passed):
        kept_u, kept_v, before_v = stages[0], none, 0
    else:
        kept_u, kept_v, before_v = none, stages[0] if stages else none, len(stages)
    bias, by_synapse = np.zeros(prod(shape) if passed else ()), []
    for n, constant in passed:
        if n == before_v and constant.delay_steps == 0:
            bias = bias + constant.value
        elif n > before_v or not kept_u.any():
            by_synapse.append(constant)
        else:
            what = "has a bias behind its current or its potential that comes late or meets a threshold"
            raise FileFormatError(node.where, what, "put the bias in front of the filter")
    return _Dynamics(kept_u=kept_u, kept_v=kept_v, bias=reduced(bias, shape), by_synapse=tuple(by_synapse))


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _firing(
    parts: Parts,
    name: str,
    node: NirNode,
    neurons: Neurons,
    dynamics: _Dynamics,
    convention: Convention,
    *,
    recurrent: bool,
) -> tuple[Reset, Array | None, int]:
    """Return reset mode, threshold and refractory period."""
    v_threshold, v_reset = neurons.v_threshold, neurons.v_reset
    if v_threshold is None:
        what = (
            "a population always has a threshold; without a reset it changes no potential, and nobody reads its spikes"
        )
        parts.losses.append(Loss(node=name, attribute="v_threshold", effect="none", what=what))
        return "none", None, 1
    mode: Reset = convention.reset
    if v_reset is not None and v_reset.any():
        if mode != "zero":
            parts.note(f"{name}: v_reset is not 0, so that a spike sets v to it, whatever {convention.title} does")
        mode = "zero"
        shape = v_threshold.shape if v_threshold.ndim >= v_reset.ndim else v_reset.shape
        v_threshold = per_neuron(v_threshold, shape) - per_neuron(v_reset, shape)
        what = "v is counted from v_reset: it begins there, and what is read of it is less by v_reset"
        parts.losses.append(Loss(node=name, attribute="v_reset", effect="none", what=what))
    if convention.starts_at == "v_leak" and v_reset is not None and neurons.bias.any():
        what = f"v begins at v_leak in {convention.title}, here at v_reset"
        parts.losses.append(Loss(node=name, attribute="v_leak", effect="approximated", what=what))
    if (v_threshold <= 0).any():
        what = f"has a threshold of {float(v_threshold.min()):g} above v_reset"
        raise FileFormatError(node.where, what, "neurons here fire above a threshold that is above their reset")
    if convention.several_spikes and v_reset is not None:
        what = f"{convention.title} may fire several spikes in one step, here a neuron fires at most one"
        parts.losses.append(Loss(node=name, attribute="spikes per step", effect="approximated", what=what))
    below = v_threshold if convention.strict else np.nextafter(v_threshold.astype(np.float32), np.float32(0))
    if v_reset is None:
        return "none", np.asarray(below), 1
    if mode == "none":
        parts.note("a spike does nothing to v")
        return "none", np.asarray(below), 1
    leaks = bool((dynamics.kept_v != 1).any())
    if mode == "subtract" and convention.delayed_reset and leaks:
        parts.note(
            f"a spike takes v_threshold off v one step late, as {convention.title} does unless told otherwise "
            "(the file does not say): a projection from each population to itself"
        )
        return "none", np.asarray(below), 1
    if mode == "subtract":
        parts.note(f"a spike takes v_threshold off v, as {convention.title} does unless told otherwise")
        if not convention.strict:
            what = "what a spike takes off v is the threshold of v >= v_threshold, less by one unit in the last place"
            error = float(abs(below - v_threshold).max())
            parts.losses.append(Loss(node=name, attribute="v_threshold", effect="approximated", what=what, error=error))
        return "subtract", np.asarray(below), 1
    if convention.delayed_reset and (recurrent or len(neurons.stages) == 2):
        parts.note(
            f"a spike sets v to v_reset for the step after it too, whose input is lost, as {convention.title} does for "
            "neurons with a synaptic current or recurrent weights unless told otherwise"
        )
        return "zero", np.asarray(below), 2
    parts.note("a spike sets v to v_reset, in the step in which it is fired")
    return "zero", np.asarray(below), 1


def _add_late_reset(parts: Parts, name: str, v_threshold: Array, kept_u: Array) -> None:
    """Take the threshold off v in the step after a spike.

    Through the current, which keeps a share of it: what is kept is given back in the step after.
    """
    ends: dict[str, Any] = {"source": name, "target": name}
    parts.projections.append((f"{name}_reset", FloatOneToOne(weight=-v_threshold, delay_steps=1, **ends)))
    if kept_u.any():
        shape = v_threshold.shape if v_threshold.ndim >= kept_u.ndim else kept_u.shape
        back = per_neuron(kept_u, shape) * per_neuron(v_threshold.astype(np.float64), shape)
        parts.projections.append((f"{name}_reset", FloatOneToOne(weight=back, delay_steps=2, **ends)))


def _add_source(parts: Parts, name: str, shape: Shape, constant: Constant) -> None:
    """Add a neuron that fires in every step, and its synapses."""
    one = parts.beside(f"{name}_constant")
    if one not in parts.populations:
        parts.populations[one] = FloatPopulation(shape=(1,), v_threshold=0.5, bias=1.0, reset="zero")
        what = "is no bias of a potential: a neuron that fires in every step brings it"
        parts.losses.append(Loss(node=name, attribute="bias", effect="none", what=what))
    weight = constant.value.reshape(-1, 1)
    made = FloatDense(source=one, target=name, weight=weight, delay_steps=constant.delay_steps)
    parts.projections.append((f"{one}_synapses", made))
