"""Whether a graph is legal, by the law (docs/semantics.md) and on a chip.

Each function lists every problem it finds, not only the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.chips import Chip, Parameter
from spikegraph.export.coding import CODINGS, READOUT_WEIGHT, READOUTS, SEED, STEP_US, Readout
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.fixed import IntegerFormat
from spikegraph.export.float_graph import FloatGraph, FloatPopulation
from spikegraph.export.graph import RESETS, Graph, Input, Population
from spikegraph.export.order import zero_delay_loop


def problems(graph: Graph | FloatGraph, chip: Chip | None = None) -> list[Problem]:
    """List everything that keeps a graph from being legal.

    Parameters
    ----------
    graph : Graph or FloatGraph
    chip : Chip, optional
        Check an integer graph against this chip's limits as well.
    """
    found = list(_structure(graph))
    if isinstance(graph, Graph):
        found += _integer_ranges(graph)
        if chip is not None:
            found += _chip_limits(graph, chip)
    else:
        found += _float_ranges(graph)
    return found


def require_legal(graph: Graph | FloatGraph, chip: Chip | None = None) -> None:
    """Raise `GraphError` with every problem, if there is one."""
    found = problems(graph, chip)
    if found:
        raise GraphError(found)


def _outside(where: str, name: str, value: Any, limit: IntegerFormat, on: str = "") -> Iterator[Problem]:
    array = np.asarray(value)
    if array.dtype.kind in "iu" and limit.holds_all(array):
        return  # without a list of which hold, as long as the array
    held = np.asarray(limit.holds(array), bool)
    if not held.all():
        bad = array[~held].ravel()
        what = f"{name} = {bad[0]}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
        yield Problem(
            where=where,
            what=f"{what} is outside {limit}{on}",
            remedy=f"bring {name} into that range",
            found=int(bad[0]),
            limit=str(limit),
        )


def _structure(graph: Graph | FloatGraph) -> Iterator[Problem]:
    yield from _outside("graph", "n_steps", graph.n_steps, fixed.N_STEPS)
    for name in [name for name in graph.inputs if name in graph.populations]:
        yield Problem(where=name, what="is both an input and a population", remedy="rename one of them")
    for kind in ("inputs", "populations", "outputs"):
        if not getattr(graph, kind):
            yield Problem(where="graph", what=f"has no {kind}", remedy=f"add one of the {kind}")
    nodes: dict[str, Input | Population | FloatPopulation] = {**graph.inputs, **graph.populations}
    for name, node in nodes.items():
        if len(node.shape) not in (1, 3) or min(node.shape, default=0) < 1:
            yield Problem(where=name, what=f"has shape {node.shape}", remedy="use (n,) or (c, h, w), each at least 1")
    for name, projection in graph.projections.items():
        dangling = [
            Problem(where=name, what=f"its {end} {node!r} does not exist", remedy="name a node of the graph")
            for end, node, among in (
                ("source", projection.source, nodes),
                ("target", projection.target, graph.populations),
            )
            if node not in among
        ]
        if dangling:
            yield from dangling
            continue
        mismatch = projection.shape_problem(nodes[projection.source].shape, nodes[projection.target].shape)
        if mismatch:
            path = f"{name} ({projection.kind}, {projection.source} → {projection.target})"
            yield Problem(where=path, what=mismatch, remedy="make the shapes meet")
        yield from _outside(name, "delay_steps", projection.delay_steps, fixed.DELAY_STEPS)
    for name, output in graph.outputs.items():
        if output.population not in graph.populations:
            remedy = f"name one of {', '.join(graph.populations)}"
            yield Problem(where=name, what=f"its population {output.population!r} does not exist", remedy=remedy)
        if output.variable not in ("s", "v"):
            yield Problem(where=name, what=f"variable = {output.variable!r}", remedy="use 's' or 'v'")
    if graph.readout is not None:
        yield from _readout(graph, graph.readout)
    yield from _inputs(graph)
    yield from _coding(graph)
    loop = zero_delay_loop(graph)
    if loop:
        remedy = "give one of its projections delay_steps of at least 1"
        yield Problem(where=" → ".join(loop), what="is a loop without delay", remedy=remedy)
    for name, population in graph.populations.items():
        if population.reset not in RESETS:
            yield Problem(where=name, what=f"reset = {population.reset!r}", remedy=f"use one of {', '.join(RESETS)}")
        yield from _outside(name, "refractory_steps", population.refractory_steps, fixed.REFRACTORY_STEPS)
        yield from _outside(name, "max_spikes", population.max_spikes, fixed.MAX_SPIKES)


def _readout(graph: Graph | FloatGraph, readout: Readout) -> Iterator[Problem]:
    where, n_each = "readout", readout.neurons_per_class
    if readout.kind not in READOUTS:
        yield Problem(where=where, what=f"kind = {readout.kind!r}", remedy=f"use one of {', '.join(READOUTS)}")
    if readout.kind == "membrane" and readout.joined:
        what = f"reads the potentials of {len(readout.outputs)} outputs, which have no scale in common"
        yield Problem(where=where, what=what, remedy="read one of them, or their spikes: count or first_spike")
    if readout.weights:
        yield from _outside(where, "weights", readout.weights, READOUT_WEIGHT)
        if len(readout.weights) != len(readout.outputs):
            what = f"has {len(readout.weights)} weights, of outputs it has {len(readout.outputs)}"
            yield Problem(where=where, what=what, remedy="give one for each, or none")
    if n_each < 1:
        yield Problem(where=where, what=f"neurons_per_class = {n_each}", remedy="give at least 1")
        return
    n_classes = 0
    for position, name in enumerate(readout.outputs):
        output = graph.outputs.get(name)
        if output is None:
            remedy = f"name one of {', '.join(graph.outputs)}"
            yield Problem(where=where, what=f"its output {name!r} does not exist", remedy=remedy)
        elif output.population in graph.populations:
            n = graph.populations[output.population].n
            if position == 0:
                n_classes = n // n_each
                if n % n_each:
                    what = f"output {name!r} has {n} neurons, which do not divide into classes of {n_each}"
                    yield Problem(where=where, what=what, remedy="change neurons_per_class, or the population")
            elif n_classes and n % n_classes:
                what = f"output {name!r} has {n} neurons, which {n_classes} classes do not share evenly"
                yield Problem(where=where, what=what, remedy="give it a multiple of as many, or leave it out")


def _inputs(graph: Graph | FloatGraph) -> Iterator[Problem]:
    for name, source in graph.inputs.items():
        yield from _outside(name, "min_value", source.min_value, fixed.INPUT_VALUE)
        yield from _outside(name, "max_value", source.max_value, fixed.INPUT_VALUE)
        if source.min_value > source.max_value:
            what = f"min_value = {source.min_value} exceeds max_value = {source.max_value}"
            yield Problem(where=name, what=what, remedy="swap them")


def _coding(graph: Graph | FloatGraph) -> Iterator[Problem]:
    if graph.coding is None:
        return
    if graph.coding.kind not in CODINGS:
        what = f"kind = {graph.coding.kind!r}"
        yield Problem(where="coding", what=what, remedy=f"use one of {', '.join(CODINGS)}")
    yield from _outside("coding", "seed", graph.coding.seed, SEED)
    yield from _outside("coding", "max_value", graph.coding.max_value, fixed.INPUT_VALUE)
    yield from _outside("coding", "step_us", graph.coding.step_us, STEP_US)
    sends = graph.coding.largest
    if graph.coding.kind == "events" and sends < 1:
        yield Problem(where="coding", what=f"max_value = {sends}", remedy="let a spike carry at least 1 event")
    for name, node in graph.inputs.items():
        if not min(node.min_value, 0) <= sends <= max(node.max_value, 0):
            what = f"the coding sends {sends}, but its spikes carry {node.min_value}…{node.max_value}"
            yield Problem(where=name, what=what, remedy="widen min_value…max_value, or change the coding")


def _granularity(where: str, name: str, parameter: Array, shape: Shape) -> Iterator[Problem]:
    if parameter.shape not in ((), shape[:1], shape):
        expected = " or ".join(str(s) for s in dict.fromkeys([(), shape[:1], shape]))
        what = f"{name} has shape {parameter.shape}, expected {expected}"
        yield Problem(where=where, what=what, remedy="give one number, one per channel or one per neuron")


def _integer_ranges(graph: Graph) -> Iterator[Problem]:
    limits = {
        "decay_u": fixed.DECAY_U,
        "decay_v": fixed.DECAY_V,
        "threshold_mant": fixed.THRESHOLD_MANT,
        "bias_mant": fixed.BIAS_MANT,
        "bias_exp": fixed.BIAS_EXP,
    }
    for name, population in graph.populations.items():
        for parameter, limit in limits.items():
            value = getattr(population, parameter)
            yield from _granularity(name, parameter, value, population.shape)
            yield from _outside(name, parameter, value, limit)
        if population.start_step < 0:
            what = f"start_step = {population.start_step} is negative"
            yield Problem(where=name, what=what, remedy="use 0, or `pipelined`")
    for name, projection in graph.projections.items():
        yield from _outside(name, "weight", projection.weight, fixed.WEIGHT)
        yield from _outside(name, "weight_exp", projection.weight_exp, fixed.WEIGHT_EXP)


def _float_ranges(graph: FloatGraph) -> Iterator[Problem]:
    if not 0 < graph.dt < float("inf"):
        yield Problem(where="graph", what=f"dt = {graph.dt} s", remedy="give a positive time step")
    for name, population in graph.populations.items():
        yield from _granularity(name, "v_threshold", population.v_threshold, population.shape)
        yield from _granularity(name, "bias", population.bias, population.shape)
        if not (population.v_threshold > 0).all():
            what = f"v_threshold = {population.v_threshold.min()} is not positive"
            yield Problem(where=name, what=what, remedy="train with positive thresholds")
        for tau in ("tau_syn", "tau_mem"):
            value = np.asarray(getattr(population, tau))
            yield from _granularity(name, tau, value, population.shape)
            if not (value >= 0).all():
                what = f"{tau} = {value[~(value >= 0)][0]} s"
                yield Problem(where=name, what=what, remedy="give a time constant of 0 or more seconds")
    for name, projection in graph.projections.items():
        if projection.clip is not None and not 0 < projection.clip < float("inf"):
            remedy = "give a positive magnitude, or None"
            yield Problem(where=name, what=f"clip = {projection.clip}", remedy=remedy)


def _chip_limits(graph: Graph, chip: Chip) -> Iterator[Problem]:
    on = f" on {chip.title}"
    for name, source in graph.inputs.items():
        if source.graded and not chip.graded_input.value:
            remedy = "use rate or first_spike coding, or events of max_value 1, or a chip with graded spikes"
            values = f"{source.min_value}…{source.max_value}"
            what = f"graded input ({values}), but spikes are binary{on}"
            yield Problem(where=name, what=what, remedy=remedy, found=values, limit="0…1")
    for name, population in graph.populations.items():
        for parameter in Population.PARAMETERS:
            value, limit = getattr(population, parameter), getattr(chip, parameter)
            yield from _outside(name, parameter, value, limit.format, on)
            yield from _sharing(name, parameter, value, limit, on)
        if population.reset not in chip.reset.modes:
            what = f"reset = {population.reset!r}, but only {', '.join(chip.reset.modes)} exists{on}"
            modes = ", ".join(chip.reset.modes)
            remedy = f"train with that reset, convert with --reset {chip.reset.modes[0]}, or choose another chip"
            yield Problem(where=name, what=what, remedy=remedy, found=population.reset, limit=modes)
        limit = chip.refractory_steps.format
        yield from _outside(name, "refractory_steps", population.refractory_steps, limit, on)
        if population.max_spikes and not chip.max_spikes.value:
            what = f"max_spikes = {population.max_spikes}, but neurons count no spikes{on}"
            remedy = "use a refractory period that outlasts the sample"
            yield Problem(where=name, what=what, remedy=remedy, found=population.max_spikes, limit=0)
    for name, projection in graph.projections.items():
        for field in ("weight", "weight_exp", "delay_steps"):
            yield from _outside(name, field, getattr(projection, field), getattr(chip, field).format, on)


def _sharing(where: str, name: str, value: Array, limit: Parameter, on: str) -> Iterator[Problem]:
    n_values = len(np.unique(value))
    if limit.shared and n_values > 1:
        what = f"{name} has {n_values} values, but a population shares one{on}"
        remedy = "quantize for this chip, or split the population"
        yield Problem(where=where, what=what, remedy=remedy, found=n_values, limit=1)
