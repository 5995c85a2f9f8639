"""The law that hypotheses depart from is the reference engine's."""

import numpy as np
from graph_strategies import cases
from hypothesis import given, settings

from spikegraph.export.errors import GraphError
from spikegraph.export.order import topological_order
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.program import compile_program
from spikegraph.targets.fan_in import fan_in
from spikegraph.targets.otherwise import computed, input_sums, parts_of
from spikegraph.targets.places import reference


def assert_by_law(graph, rasters):
    execution, program = reference(graph, rasters), compile_program(graph)
    spikes = {**rasters, **{name: traces["s"] for name, traces in execution.items()}}
    n_samples = next(iter(rasters.values())).shape[1]
    for population in program.populations:
        parts = parts_of(graph, population, spikes, n_samples)
        made = computed(parts, input_sums(parts))
        for variable, array in execution[population.name].items():
            assert np.array_equal(made[variable], array), (population.name, variable)


@given(cases())
@settings(max_examples=60)
def test_nothing_changed_is_the_reference(case):
    assert_by_law(case.graph, case.rasters)


@given(cases())
@settings(max_examples=20)
def test_in_a_pipeline_as_well(case):
    try:
        graph = pipelined(case.graph)
    except GraphError:  # a loop that cannot turn in its time on a chip
        return
    assert_by_law(graph, case.rasters)


@given(cases())
@settings(max_examples=40)
def test_fan_in_lists_what_is_summed(case):
    graph, rng = case.graph, np.random.default_rng(0)
    for p in graph.projections.values():
        source, target = graph.shape_of(p.source), graph.shape_of(p.target)
        s = rng.integers(-3, 4, (1, *source))
        x = p.weighted_sum(p.weight, s, target).ravel()
        for neuron in range(x.size):
            sources, weights = fan_in(p, source, target, neuron)
            assert (s.ravel()[sources] * weights.astype(np.int64)).sum() == x[neuron]
    assert topological_order(graph)
