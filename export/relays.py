"""Delays that are longer than a chip's → chains of relays: neurons that pass each spike on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegraph.export.chips import Chip
from spikegraph.export.errors import ChipError, GraphError
from spikegraph.export.graph import Graph, OneToOne, Population, Projection
from spikegraph.export.passes import clocked

_MOST_MORE = 4  # relays that a chain may have beyond the fewest, if the pipeline asks for it


def delay_chains(graph: Graph, chip: Chip) -> tuple[Graph, dict[str, str]]:
    """Put relays on the way of the projections whose delay is longer than the chip's.

    A relay population has a neuron for each of the source's, reached by it alone, with a weight above the threshold and
    no memory: it fires whenever a spike arrives, and at no other time. Projections of one source share relays where
    their delays are the same. On a chip each relay adds a step to the depth of what is behind it.

    Requires: a legal graph that is not pipelined.
    Ensures: every spike, u and v of what existed before is what it was. A graded input passes no relay, whose spikes
    are binary: its projections are left, and so is a pipelined graph.

    Returns
    -------
    Graph
    dict of projection → what was done
    """
    long = {
        name: p
        for name, p in graph.projections.items()
        if p.delay_steps > chip.delay_steps.maximum and not (p.source in graph.inputs and graph.inputs[p.source].graded)
    }
    if not long or any(population.start_step for population in graph.populations.values()):
        return graph, {}
    try:
        for more in range(_MOST_MORE):
            chained, done = _chained(graph, long, chip, more)
            if not late_projections(clocked(chained), chip):
                return chained, done
    except GraphError:  # there is no pipeline, which relays do not change
        pass
    return _chained(graph, long, chip, 0)


def late_projections(graph: Graph, chip: Chip) -> dict[str, int]:
    """Return the projections whose delay, beyond the step of delivery, is longer than the chip's.

    `graph` is as the chip's clock runs it: see `passes.clocked`.
    """
    delays = {name: p.delay_steps - 1 for name, p in graph.projections.items()}
    return {name: delay for name, delay in delays.items() if delay > chip.delay_steps.maximum}


def _chained(graph: Graph, long: dict[str, Projection], chip: Chip, more: int) -> tuple[Graph, dict[str, str]]:
    populations, projections = dict(graph.populations), dict(graph.projections)
    relay = Population(shape=(1,), threshold_mant=chip.threshold_mant.minimum)
    weight, exponent = _above(int(relay.threshold_mant), chip)
    relays: dict[tuple[str, int], str] = {}  # by source, and how much later they fire
    done = {}
    for name, p in long.items():
        n_parts = -(-p.delay_steps // chip.delay_steps.maximum) + more
        parts = [p.delay_steps * (k + 1) // n_parts - p.delay_steps * k // n_parts for k in range(n_parts)]
        source, late = p.source, 0
        for part in parts[:-1]:
            late += part
            after = relays.get((p.source, late), "")
            if not after:
                after = relays[p.source, late] = _free(f"{p.source}_after_{late}", graph)
                populations[after] = replace(relay, shape=graph.shape_of(p.source))
                projections[f"{source}_to_{after}"] = OneToOne(
                    source=source, target=after, weight=np.array(weight), weight_exp=exponent, delay_steps=part
                )
            source = after
        projections[name] = replace(p, source=source, delay_steps=parts[-1])
        done[name] = f"delay_steps {p.delay_steps} = {' + '.join(map(str, parts))}, by way of {n_parts - 1} relays"
    return replace(graph, populations=populations, projections=projections), done


def _free(name: str, graph: Graph) -> str:
    while name in graph.populations or name in graph.inputs:
        name += "_"
    return name


def _above(threshold: int, chip: Chip) -> tuple[int, int]:
    """Return the smallest weight of the chip, with its exponent, that lifts a neuron over a threshold."""
    weights = chip.weight.format
    for exponent in range(max(chip.weight_exp.minimum, 0), chip.weight_exp.maximum + 1):
        for weight in range(1, weights.maximum + 1):
            if weights.holds(weight) and weight << exponent > threshold:
                return weight, exponent
    what = f"has no weight above the threshold {threshold}"
    raise ChipError(f"chip {chip.name!r}", what, "shorten delays: relays need such a weight")
