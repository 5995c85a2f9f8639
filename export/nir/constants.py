"""Neurons that fire in every step: how a graph says that a constant goes through the current, as NIR's biases do."""

from __future__ import annotations

from spikegraph.export.connectivity import Array
from spikegraph.export.float_graph import FloatDense, FloatGraph


def constants_of(graph: FloatGraph) -> tuple[set[str], dict[str, Array]]:
    """Return the populations that fire in every step and do nothing else, and what they bring to others.

    Returns
    -------
    set of str
        Populations of one neuron with no input, whose bias lifts it over its threshold from 0 in each step.
    dict of population → ndarray of its shape
        What is added to its input in every step.
    """
    tapped = {output.population for output in graph.outputs.values()}
    found: set[str] = set()
    brought: dict[str, Array] = {}
    for name, population in graph.populations.items():
        fires = population.n == 1 and bool((population.bias > population.v_threshold).all())
        restarts = population.reset == "zero" and population.refractory_steps == 1 and not population.max_spikes
        if not fires or not restarts or name in tapped or graph.into(name):
            continue
        leaving = [p for p in graph.projections.values() if p.source == name]
        if not leaving or not all(isinstance(p, FloatDense) and p.delay_steps == 0 for p in leaving):
            continue
        found.add(name)
        for p in leaving:
            value = p.weight.reshape(graph.populations[p.target].shape)
            brought[p.target] = brought[p.target] + value if p.target in brought else value
    return found, brought
