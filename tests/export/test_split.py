"""Populations split where a chip shares what differs in them: the same spikes and states, neuron by neuron."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graph_strategies import FEATURES, Case, cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.check import problems
from spikegraph.export.chips import Chip, load_chip
from spikegraph.export.errors import GraphError
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, SumPool2d
from spikegraph.export.passes import pipelined
from spikegraph.export.split import MOST_PARTS, split_execution, split_populations
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
VARIABLES = ("x", "u", "v", "s", "v_before_reset")
# What Loihi 1 shares, and nothing else of it: thresholds, decays, bias_exp.
SHARING = load_chip("generic", weight_bits=16).model_copy(
    update={
        name: getattr(load_chip("generic"), name).model_copy(update={"shared": True})
        for name in ("threshold_mant", "decay_u", "decay_v", "bias_exp")
    }
)


def traces_of(graph: Graph, rasters: dict[str, np.ndarray]) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, int]]:
    result = run_reference(compile_program(graph), rasters, list(graph.populations))
    counts = {q: sum(int(a.sum()) for a in nodes.values()) for q, nodes in result.per_step.items()}
    return {
        name: {variable: getattr(trace, variable) for variable in VARIABLES} for name, trace in result.traces.items()
    }, counts


def assert_same_run(graph: Graph, split: Graph, rasters: dict[str, np.ndarray]) -> None:
    (whole, counts), (parts, counts_of_parts) = traces_of(graph, rasters), traces_of(split, rasters)
    expected = split_execution(whole, split)
    assert set(expected) == set(parts) == set(split.populations)
    for name, trace in expected.items():
        for variable, array in trace.items():
            assert np.array_equal(parts[name][variable], array), (name, variable)
    assert counts_of_parts == counts


@settings(relaxed, max_examples=60)
@given(case=cases(FEATURES - {"extreme"}), data=st.data())
def test_random_graphs(case: Case, data: st.DataObject) -> None:
    """Only what is not tapped can be split: read a new population that nothing differs in."""
    shapes = case.graph.populations
    behind = Population(shape=(2,), threshold_mant=3)
    name = data.draw(st.sampled_from(sorted(shapes)))
    more = Dense(source=name, target="read", weight=np.ones((2, shapes[name].n), int))
    graph = replace(
        case.graph,
        populations={**case.graph.populations, "read": behind},
        projections={
            key: replace(p, weight_exp=max(p.weight_exp, 0))
            for key, p in {**case.graph.projections, "more": more}.items()
        },
        outputs={"out": Output(population="read")},
        readout=None,
    )
    split, parts = split_populations(graph, SHARING)
    for population in split.populations.values():
        for parameter in ("threshold_mant", "decay_u", "decay_v", "bias_exp"):
            assert len(np.unique(getattr(population, parameter))) == 1
    for of, made in parts.items():
        assert sorted(np.concatenate([part.neurons for part in made]).tolist()) == list(range(shapes[of].n))
    assert_same_run(graph, split, case.rasters)
    try:
        pipeline = pipelined(graph)
    except GraphError:
        return
    assert_same_run(pipeline, split_populations(pipeline, SHARING)[0], case.rasters)
    assert_same_run(pipeline, pipelined(split), case.rasters)


def image_net(**parameters: Any) -> Graph:
    """Image → convolution of three channels → pooling → dense."""
    rng = np.random.default_rng(0)
    return Graph(
        inputs={"in": Input(shape=(2, 6, 6))},
        populations={
            "conv": Population(shape=(3, 6, 6), **{"threshold_mant": 4, **parameters}),
            "pool": Population(shape=(3, 3, 3), threshold_mant=1),
            "read": Population(shape=(4,), threshold_mant=5),
        },
        projections={
            "a": Conv2d(source="in", target="conv", weight=rng.integers(-4, 5, (3, 2, 3, 3)), padding=1),
            "b": SumPool2d(source="conv", target="pool", weight=2),
            "c": Dense(source="pool", target="read", weight=rng.integers(-4, 5, (4, 27))),
            "again": Conv2d(source="conv", target="conv", weight=rng.integers(-1, 2, (3, 3, 1, 1)), delay_steps=1),
            "self": OneToOne(source="conv", target="conv", weight=[1, 2, 3], delay_steps=2),
        },
        outputs={"class": Output(population="read")},
        n_steps=6,
    )


def spikes(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: (rng.random((6, 3, *node.shape)) < 0.4).astype(np.int16) for name, node in graph.inputs.items()}


def test_channels_stay_convolutions() -> None:
    graph = image_net(decay_v=[100, 200, 100])
    split, parts = split_populations(graph, SHARING)
    assert [(part.name, part.shape, part.channels.tolist()) for part in parts["conv"]] == [
        ("conv.0", (2, 6, 6), [0, 2]),
        ("conv.1", (1, 6, 6), [1]),
    ]
    assert list(split.populations) == ["conv.0", "conv.1", "pool", "read"]
    assert (split.populations["conv.0"].decay_v, split.populations["conv.1"].decay_v) == (100, 200)
    kinds = {name: (p.kind, p.source, p.target, p.weight.shape) for name, p in split.projections.items()}
    assert kinds == {
        "a.0": ("Conv2d", "in", "conv.0", (2, 2, 3, 3)),
        "a.1": ("Conv2d", "in", "conv.1", (1, 2, 3, 3)),
        # 2 · 36 and 36 neurons, each in one window.
        "b.0": ("Sparse", "conv.0", "pool", (72,)),
        "b.1": ("Sparse", "conv.1", "pool", (36,)),
        "c": ("Dense", "pool", "read", (4, 27)),
        "again.0": ("Conv2d", "conv.0", "conv.0", (2, 2, 1, 1)),
        "again.1": ("Conv2d", "conv.0", "conv.1", (1, 2, 1, 1)),
        "again.2": ("Conv2d", "conv.1", "conv.0", (2, 1, 1, 1)),
        "again.3": ("Conv2d", "conv.1", "conv.1", (1, 1, 1, 1)),
        "self.0": ("OneToOne", "conv.0", "conv.0", (2, 6, 6)),
        "self.1": ("OneToOne", "conv.1", "conv.1", (1, 6, 6)),
    }
    assert split.provenance["split"] == {"conv": {"conv.0": [[0, 36], [72, 108]], "conv.1": [[36, 72]]}}
    assert_same_run(graph, split, spikes(graph))


def test_neurons_become_sparse() -> None:
    threshold = np.where(np.arange(108).reshape(3, 6, 6) % 5 == 0, 9, 4)
    graph = image_net(threshold_mant=threshold)
    split, parts = split_populations(graph, SHARING)
    assert [part.shape for part in parts["conv"]] == [(22,), (86,)]  # 0, 5, …, 105
    assert split.projections["a.0"].kind == "Sparse"
    assert_same_run(graph, split, spikes(graph))


def test_nothing_to_split() -> None:
    graph = image_net(bias_mant=np.arange(3))
    split, parts = split_populations(graph, SHARING)
    assert (split, parts) == (graph, {})
    alike = image_net(decay_v=[7, 7, 7])
    assert split_populations(alike, SHARING)[1] == {}


def test_a_right_shift_of_multiples_is_exact_and_of_others_refused() -> None:
    def shifted(weight: list[list[int]]) -> Graph:
        return Graph(
            inputs={"in": Input(shape=(2,))},
            populations={
                "a": Population(shape=(2,), threshold_mant=[1, 2]),
                "b": Population(shape=(1,), threshold_mant=2),
            },
            projections={
                "p": Dense(source="in", target="a", weight=[[3, 0], [0, 3]], weight_exp=-1),
                "q": Dense(source="a", target="b", weight=weight, weight_exp=-2),
            },
            outputs={"out": Output(population="b")},
            n_steps=6,
        )

    split, _ = split_populations(shifted([[8, -4]]), SHARING)
    # 3 >> 1 = 1 is not above 64, so p keeps its shift: its source is whole.
    assert [p.weight_exp for p in split.projections.values()] == [-1, -1, 0, 0]
    assert_same_run(shifted([[8, -4]]), split, spikes(split))
    what = "q: shifts its sum right by 2, so that the sums of the parts of a do not add up to it; use a weight_exp of 0"
    with pytest.raises(GraphError, match=what):
        split_populations(shifted([[8, -3]]), SHARING)


def test_what_is_not_split() -> None:
    graph = image_net(decay_v=[100, 200, 100])
    tapped = replace(graph, outputs={**graph.outputs, "seen": Output(population="conv")})
    what = (
        "conv: decay_v differs between neurons, and a population shares one on Generic integer hardware; output 'seen'"
    )
    with pytest.raises(GraphError, match=what):
        split_populations(tapped, SHARING)
    taken = replace(graph, inputs={**graph.inputs, "conv.1": Input(shape=(1,))})
    with pytest.raises(GraphError, match=r"conv\.1: is a name that a part of conv needs; rename the node"):
        split_populations(taken, SHARING)
    many = Graph(
        inputs={"in": Input(shape=(1,))},
        populations={
            "many": Population(shape=(MOST_PARTS + 1,), threshold_mant=np.arange(MOST_PARTS + 1) + 1),
            "read": Population(shape=(1,), threshold_mant=1),
        },
        projections={},
        outputs={"out": Output(population="read")},
        n_steps=2,
    )
    with pytest.raises(GraphError, match="it would be split into 257 populations, more than 256; train with one per"):
        split_populations(many, SHARING)


@pytest.mark.parametrize("chip", [load_chip("loihi1"), load_chip("loihi2")], ids=["loihi1", "loihi2"])
def test_a_split_graph_is_legal_where_the_whole_was_not(chip: Chip) -> None:
    even = image_net(decay_v=[100, 200, 100])
    even = replace(even, projections={k: replace(p, weight=2 * p.weight) for k, p in even.projections.items()})
    split, parts = split_populations(even, chip)
    assert bool(parts) == bool(problems(even, chip)) == (chip.name == "loihi1")
    assert problems(split, chip) == []
