"""Orders of computation, loops and depths of random graphs, against what they must satisfy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from graph_strategies import graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.errors import GraphError
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.export.order import depths, in_loops, topological_order, zero_delay_loop

Edges = list[tuple[str, str, int]]
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def build(edges: Edges, populations: str = "abcd", inputs: str = "i") -> Graph:
    """Build a graph of single neurons; projection k is named by its place."""
    return Graph(
        inputs={name: Input(shape=(1,)) for name in inputs},
        populations={name: Population(shape=(1,), threshold_mant=1) for name in populations},
        projections={
            f"p{k}": Dense(source=s, target=t, weight=[[2]], delay_steps=d) for k, (s, t, d) in enumerate(edges)
        },
        outputs={"out": Output(population=populations[-1])},
        n_steps=8,
    )


edge_lists = st.lists(
    st.tuples(st.sampled_from("iabcd"), st.sampled_from("abcd"), st.sampled_from([0, 0, 1, 2, 3])), max_size=9
)


def loops_of(edges: Edges) -> list[list[int]]:
    """List every simple loop as the indices of its edges, by walking."""
    found: list[list[int]] = []

    def walk(start: str, at: str, path: list[int], seen: set[str]) -> None:
        for k, (s, t, _) in enumerate(edges):
            if s == at and t == start:
                found.append([*path, k])
            elif s == at and t not in seen and t > start:
                walk(start, t, [*path, k], seen | {t})

    for node in sorted({s for s, _, _ in edges}):
        walk(node, node, [], {node})
    return found


@relaxed
@given(edges=edge_lists)
def test_zero_delay_loops_are_found_and_only_they(edges: Edges) -> None:
    graph = build(edges)
    zero = [loop for loop in loops_of(edges) if sum(edges[k][2] for k in loop) == 0]
    loop = zero_delay_loop(graph)
    assert (loop is not None) == bool(zero)
    if loop is not None:
        assert loop[0] == loop[-1]
        for s, t in pairwise(loop):
            assert (s, t, 0) in edges


@relaxed
@given(edges=edge_lists)
def test_topological_order(edges: Edges) -> None:
    graph = build(edges)
    if zero_delay_loop(graph):
        return
    order = topological_order(graph)
    assert sorted(order) == list("abcd")
    for s, t, d in edges:
        if d == 0 and s != "i":
            assert order.index(s) < order.index(t)


def test_ties_go_by_position() -> None:
    assert topological_order(build([], populations="dbca")) == ["d", "b", "c", "a"]
    assert topological_order(build([("a", "d", 0)], populations="dbca")) == ["b", "c", "a", "d"]
    # A delayed projection orders nothing.
    assert topological_order(build([("a", "d", 1)], populations="dbca")) == ["d", "b", "c", "a"]


@relaxed
@given(edges=edge_lists)
def test_in_loops(edges: Edges) -> None:
    on_a_loop = {k for loop in loops_of(edges) for k in loop}
    assert in_loops(build(edges)) == {f"p{k}" for k in on_a_loop if edges[k][2] > 0}


@relaxed
@given(edges=edge_lists)
def test_depths_exist_exactly_where_each_loop_has_enough_delay(edges: Edges) -> None:
    loops = loops_of(edges)
    enough = all(sum(edges[k][2] for k in loop) >= len(loop) for loop in loops)
    if not enough:
        with pytest.raises(GraphError, match="projections with"):
            depths(build(edges))
        return
    depth = depths(build(edges))
    on_a_loop = {k for loop in loops for k in loop}
    assert depth["i"] == 0
    lengths = [1 - d if k in on_a_loop else 1 for k, (_, _, d) in enumerate(edges)]
    for k, (s, t, _) in enumerate(edges):
        assert depth[t] >= depth[s] + lengths[k]
    # Each depth is reached by a path: it is 0, or some projection is exactly as long as the difference.
    for node, value in depth.items():
        reached = [depth[s] + lengths[k] for k, (s, t, _) in enumerate(edges) if t == node]
        assert value == max([0, *reached])


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([], {"i": 0, "a": 0, "b": 0, "c": 0, "d": 0}),
        ([("i", "a", 0), ("a", "b", 0), ("b", "c", 0), ("i", "c", 0)], {"a": 1, "b": 2, "c": 3, "d": 0}),
        # A delay of its own does not shorten a path that is no loop.
        ([("i", "a", 3), ("a", "b", 0)], {"a": 1, "b": 2}),
        # A self loop changes nothing.
        ([("i", "a", 0), ("a", "a", 1), ("a", "b", 0)], {"a": 1, "b": 2}),
        # Forward without delay, back with two: as deep as the forward path.
        ([("i", "a", 0), ("a", "b", 0), ("b", "a", 2)], {"a": 1, "b": 2}),
        # One delay step each way: a and b turn in time at equal depth.
        ([("i", "a", 0), ("a", "b", 1), ("b", "a", 1), ("b", "c", 0)], {"a": 1, "b": 1, "c": 2}),
        # The delay of a loop may outrun its length; depth never falls below that of a beginning.
        ([("i", "a", 0), ("a", "b", 5), ("b", "a", 5)], {"a": 1, "b": 0}),
        # Two projections between the same nodes: the shorter delay decides.
        ([("i", "a", 0), ("a", "b", 3), ("a", "b", 1), ("b", "a", 1)], {"a": 1, "b": 1}),
    ],
)
def test_depths_by_hand(edges: Edges, expected: dict[str, int]) -> None:
    depth = depths(build(edges))
    assert {name: depth[name] for name in expected} == expected


def test_a_loop_that_cannot_turn_is_named_with_what_it_lacks() -> None:
    edges = [("i", "a", 0), ("a", "b", 0), ("b", "c", 0), ("c", "a", 1)]
    with pytest.raises(GraphError) as raised:
        depths(build(edges))
    problem = raised.value.problem
    assert set(problem.where.split(" → ")) == {"a", "b", "c"}
    assert problem.what.startswith("is a loop of 3 projections with 1 delay steps in all")
    assert problem.remedy == "raise their delay_steps by 2 in all"
    for k, more in [(3, 2), (1, 2)]:  # wherever the delay is put
        repaired = [(s, t, d + more * (n == k)) for n, (s, t, d) in enumerate(edges)]
        depths(build(repaired))


@relaxed
@given(graph=graphs())
def test_the_order_in_which_nodes_are_written_down_changes_no_depth(graph: Graph) -> None:
    other = replace(
        graph,
        populations=dict(reversed(graph.populations.items())),
        projections=dict(reversed(graph.projections.items())),
    )
    try:
        expected = depths(graph)
    except GraphError:
        with pytest.raises(GraphError):
            depths(other)
    else:
        assert depths(other) == expected
