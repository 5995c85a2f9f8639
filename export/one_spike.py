"""One-spike neurons on a chip that counts no spikes: rewritten, so that every neuron still fires at most once.

Where the chip's longest refractory period outlasts the window, it takes the place of the limit, and not one number
differs: after its spike a neuron is held in either case. Where the window is longer, a neuron's spike inhibits the
neuron itself, one step later and for good: it does not leak, and all that can still reach it is not enough to lift it
over its threshold. Its spikes are the same; u and v after them are not. What cannot be proven is left as it is, for the
chip to refuse.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import per_neuron
from spikegraph.export.graph import Graph, OneToOne, Population


def one_spike(graph: Graph, chip: Chip) -> tuple[Graph, dict[str, str]]:
    """Rewrite the populations with `max_spikes` = 1 for a chip without spike counters.

    Returns
    -------
    Graph
    dict of str → str
        What was done, by population.
    """
    if chip.max_spikes.value:
        return graph, {}
    populations, projections, done = dict(graph.populations), dict(graph.projections), {}
    for name, population in graph.populations.items():
        if population.max_spikes != 1:
            continue
        pause = chip.refractory_steps.maximum
        if graph.n_steps <= pause:
            populations[name] = replace(population, max_spikes=0, refractory_steps=pause)
            done[name] = f"max_spikes → refractory_steps = {pause}"
            continue
        inhibition = _inhibition(graph, name, population, chip)
        if inhibition is not None:
            populations[name] = replace(population, max_spikes=0)
            projections[f"{name}_to_itself"] = inhibition
            size = fixed.shift(int(inhibition.weight), inhibition.weight_exp)
            done[name] = f"max_spikes → spikes inhibit their neurons by {-size}"
    return replace(graph, populations=populations, projections=projections), done


def _inhibition(graph: Graph, name: str, population: Population, chip: Chip) -> OneToOne | None:
    """Return the smallest self-inhibition that is for good; None if none is, or it may be too much for u."""
    incoming = graph.into(name).values()
    keeps = not np.any(population.decay_v) and np.all(population.decay_u == 4096)
    sources = {p.source for p in incoming}
    spike_once = all(
        graph.coding is not None and graph.coding.kind == "first_spike"
        if source in graph.inputs
        else graph.populations[source].max_spikes == 1
        for source in sources
    )
    plain = all(p.weight_exp >= 0 for p in incoming)  # a sum that is floored need not be the sum of what is
    if not (keeps and spike_once and plain and population.reset == "zero" and population.refractory_steps == 1):
        return None
    negative, positive = (
        sum(
            (p.reach(graph.shape_of(p.source), population.shape)[end] << p.weight_exp for p in incoming),
            np.zeros(population.shape, np.int64),
        )
        for end in (0, 1)
    )
    threshold = per_neuron(population.threshold_mant, population.shape)
    steady = population.bias_mant.astype(np.int64) << population.bias_exp  # in units of v
    risen = np.maximum(per_neuron(steady, population.shape), 0) * graph.n_steps
    needed = int((positive - threshold + -(-risen >> fixed.ALIGN_BITS)).max())
    largest = -chip.weight.minimum
    for exponent in range(max(0, chip.weight_exp.minimum), chip.weight_exp.maximum + 1):
        size = largest << exponent
        # Nor may u wrap, in the step in which the inhibition meets what else arrives.
        fits = (size - int(negative.min())) << fixed.ALIGN_BITS < fixed.STATE_HALF
        if size >= needed and fits and int(positive.max()) << fixed.ALIGN_BITS <= fixed.STATE_MAX:
            return OneToOne(source=name, target=name, weight=np.array(-largest), weight_exp=exponent, delay_steps=1)
    return None
