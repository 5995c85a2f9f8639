"""Rules of a neuron that a chip lacks, where another rule that it has does the same within the window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.bounds import bounds
from spikegraph.export.chips import Chip
from spikegraph.export.graph import Graph, Population


def same_pauses(graph: Graph, chip: Chip) -> tuple[Graph, dict[str, str]]:
    """Rewrite spike limits that no neuron can reach, and pauses that outlast the window.

    - At most ceil(n_steps / refractory_steps) spikes fit into the window: a limit of as many or more is none.
    - A refractory period of n_steps or more silences a neuron for the rest of its window, whatever its length.

    Requires: a legal graph.
    Ensures: every spike, u and v is what it was.
    """
    populations, done = dict(graph.populations), {}
    for name, population in graph.populations.items():
        most = -(-graph.n_steps // population.refractory_steps)
        said = []
        if population.max_spikes >= most and not chip.max_spikes.value:
            population = replace(population, max_spikes=0)
            said.append(f"max_spikes left out: no more than {most} fit into the window")
        pause = max(graph.n_steps, chip.refractory_steps.minimum)
        if population.refractory_steps > chip.refractory_steps.maximum >= pause:
            said.append(f"refractory_steps {population.refractory_steps} → {pause}, which outlasts the window as well")
            population = replace(population, refractory_steps=pause)
        if said:
            populations[name], done[name] = population, "; ".join(said)
    return (replace(graph, populations=populations), done) if done else (graph, {})


def same_resets(graph: Graph, chip: Chip) -> tuple[Graph, dict[str, str]]:
    """Rewrite a reset that the chip lacks as one to zero, where nothing of v outlives the step of the spike.

    So it is where a pause follows (in which v is held at 0), after the only spike that is allowed, and where v is
    forgotten at once.

    Requires: a legal graph.
    Ensures: every spike and u is what it was, and v but for the steps of spikes, in which it is 0.
    """
    populations, done = dict(graph.populations), {}
    for name, population in graph.populations.items():
        forgotten = bool((population.decay_v == fixed.DECAY_ONE).all())
        lost = population.refractory_steps > 1 or population.max_spikes == 1 or forgotten
        if population.reset not in chip.reset.modes and "zero" in chip.reset.modes and lost:
            populations[name] = replace(population, reset="zero")
            done[name] = f"reset {population.reset} → zero: no v outlives the step of a spike"
    return (replace(graph, populations=populations), done) if done else (graph, {})


def same_decays(graph: Graph, chip: Chip) -> tuple[Graph, dict[str, str]]:
    """Rewrite decay_v = 4096 as the chip's largest, where v is so small that this forgets it at once as well.

    A chip that keeps k / 4096 of v keeps nothing of |v| < 4096 / k, because decay rounds toward zero. That v stays
    below is proven by its bounds.

    Requires: a legal graph.
    Ensures: every spike, u and v is what it was.
    """
    most = chip.decay_v.maximum
    if most >= fixed.DECAY_ONE:
        return graph, {}
    populations, done, reach = dict(graph.populations), {}, bounds(graph)
    for name, population in graph.populations.items():
        decay = population.decay_v
        if (decay == fixed.DECAY_ONE).any() and _kept(population, reach[name].v) * (fixed.DECAY_ONE - most) < 4096:
            populations[name] = replace(population, decay_v=np.where(decay == fixed.DECAY_ONE, most, decay))
            done[name] = f"decay_v {fixed.DECAY_ONE} → {most}, which forgets |v| < {4096 // (fixed.DECAY_ONE - most)}"
    return (replace(graph, populations=populations), done) if done else (graph, {})


def _kept(population: Population, v: tuple[int, int]) -> int:
    """Bound |v| after the reset."""
    highest = v[1]
    if population.reset == "zero":  # what is above the threshold is reset
        highest = min(highest, int(population.threshold_mant.max()) << fixed.ALIGN_BITS)
    return max(highest, -v[0])
