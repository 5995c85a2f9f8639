"""Biases on a chip whose populations share one bias exponent: written with one, where that rounds nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import per_neuron
from spikegraph.export.graph import Graph


def one_bias_exponent(graph: Graph, chip: Chip) -> tuple[Graph, dict[str, str]]:
    """Write the biases of each population with the smallest exponent that holds all of them exactly.

    Requires: a legal graph.
    Ensures: every bias, and so every u, v and spike, is what it was. A population that has no such exponent is left.

    Returns
    -------
    Graph
    dict of population → what was done
    """
    populations, done = dict(graph.populations), {}
    for name, population in graph.populations.items():
        used = np.unique(population.bias_exp)
        if not (chip.bias_exp.shared and len(used) > 1):
            continue
        shape = population.shape if population.bias_exp.shape == population.shape else population.shape[:1]
        shape = population.shape if population.bias_mant.shape == population.shape else shape
        mant, exp = (per_neuron(a.astype(np.int64), shape) for a in (population.bias_mant, population.bias_exp))
        bias = mant << exp
        for exponent in range(chip.bias_exp.minimum, chip.bias_exp.maximum + 1):
            mantissa = bias >> exponent
            if ((mantissa << exponent) == bias).all() and np.all(chip.bias_mant.format.holds(mantissa)):
                populations[name] = replace(population, bias_mant=mantissa, bias_exp=exponent)
                done[name] = f"biases of {len(used)} exponents written with bias_exp = {exponent}"
                break
    return (replace(graph, populations=populations), done) if done else (graph, {})
