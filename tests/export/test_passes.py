"""`pipelined`: what it ensures, and refusals whose remedy works when followed.

That the runs are equal, tests/hwsim/test_semantics.py and test_reference_naive.py show.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from graph_strategies import graphs
from hypothesis import HealthCheck, assume, given, settings

from spikegraph.export.check import problems
from spikegraph.export.errors import GraphError
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.export.order import depths
from spikegraph.export.passes import pipelined

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def build(**edges: tuple[str, str, int]) -> Graph:
    return Graph(
        inputs={"i": Input(shape=(1,))},
        populations={name: Population(shape=(1,), threshold_mant=1) for name in "abc"},
        projections={name: Dense(source=s, target=t, weight=[[2]], delay_steps=d) for name, (s, t, d) in edges.items()},
        outputs={"out": Output(population="c")},
        n_steps=8,
    )


def delays(graph: Graph) -> dict[str, int]:
    return {name: p.delay_steps for name, p in graph.projections.items()}


@relaxed
@given(graph=graphs())
def test_what_it_ensures(graph: Graph) -> None:
    try:
        later = pipelined(graph)
    except GraphError:
        assume(False)
    depth = depths(graph)
    assert problems(later) == []
    assert {name: p.start_step for name, p in later.populations.items()} == {n: depth[n] for n in graph.populations}
    for name, p in later.projections.items():
        assert p.delay_steps >= 1
        # Shifted by the depths at both ends, every spike arrives as late as it did.
        assert p.delay_steps == graph.projections[name].delay_steps + depth[p.target] - depth[p.source]
        assert p.weight is graph.projections[name].weight or (p.weight == graph.projections[name].weight).all()
        if p.source == p.target:
            assert p.delay_steps == graph.projections[name].delay_steps
    assert list(later.projections) == list(graph.projections)
    assert list(later.populations) == list(graph.populations)
    for field in ("inputs", "outputs", "n_steps", "coding", "readout", "provenance"):
        assert getattr(later, field) == getattr(graph, field)


def test_by_hand() -> None:
    graph = build(p=("i", "a", 0), q=("a", "b", 0), r=("b", "c", 0), skip=("i", "c", 0), late=("a", "c", 4))
    later = pipelined(graph)
    assert delays(later) == {"p": 1, "q": 1, "r": 1, "skip": 3, "late": 6}
    assert [later.populations[name].start_step for name in "abc"] == [1, 2, 3]
    assert delays(graph) == {"p": 0, "q": 0, "r": 0, "skip": 0, "late": 4}  # the original is left alone


def test_loops_keep_their_delay() -> None:
    graph = build(p=("i", "a", 0), q=("a", "b", 0), r=("b", "c", 0), loop=("b", "b", 1), back=("c", "a", 5))
    later = delays(pipelined(graph))
    assert later["loop"] == 1
    assert later["q"] + later["r"] + later["back"] == 5


def test_a_loop_of_as_many_delay_steps_as_projections_is_accepted() -> None:
    """Each projection of it has a step already, wherever the loop is entered."""
    for entry in "ab":
        graph = build(p=("i", entry, 0), there=("a", "b", 1), back=("b", "a", 1), q=("b", "c", 0))
        later = delays(pipelined(graph))
        assert (later["there"], later["back"]) == (1, 1)


def test_a_loop_of_fewer_is_refused_and_the_remedy_works() -> None:
    graph = build(p=("i", "a", 0), q=("a", "b", 0), r=("b", "c", 0), back=("c", "a", 1), short=("b", "a", 1))
    for _ in range(3):
        with pytest.raises(GraphError, match="on a chip each takes at least one") as raised:
            pipelined(graph)
        problem = raised.value.problem
        lacking = int(re.fullmatch(r"raise their delay_steps by (\d+) in all", problem.remedy)[1])
        loop = problem.where.split(" → ")
        ends = list(pairwise(loop))
        name, p = next((n, p) for n, p in graph.projections.items() if (p.source, p.target) in ends)
        graph = replace(graph, projections={**graph.projections, name: replace(p, delay_steps=p.delay_steps + lacking)})
        try:
            pipelined(graph)
        except GraphError:
            continue
        return
    pytest.fail("the remedy never ends")


def test_an_illegal_graph_is_refused() -> None:
    with pytest.raises(GraphError, match="a → b → a: is a loop without delay; give one of its projections"):
        pipelined(build(p=("i", "a", 0), q=("a", "b", 0), r=("b", "a", 0)))


def test_twice_is_refused() -> None:
    later = pipelined(build(p=("i", "a", 0)))
    with pytest.raises(GraphError, match="graph: is pipelined already; pass the original graph"):
        pipelined(later)


def test_delays_beyond_the_law_are_refused() -> None:
    graph = build(p=("i", "a", 0), q=("a", "b", 0), far=("i", "b", 1022))
    with pytest.raises(GraphError, match="far: needs delay_steps = 1024 in the pipeline, outside 0…1023; shorten"):
        pipelined(graph)
    assert delays(pipelined(build(p=("i", "a", 0), q=("a", "b", 0), far=("i", "b", 1021))))["far"] == 1023
    both = build(p=("i", "a", 1023), q=("a", "b", 1023))
    with pytest.raises(GraphError, match="2 problems"):
        pipelined(both)
