"""A run that stops at its decisions: what it reports is what the reference engine reports until decision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph_strategies import Case, cases, joint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.coding import Decision, InputCoding, Readout
from spikegraph.export.errors import GraphError, OptionError
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.counts import QUANTITIES, Counts
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import BatchResult
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.simulate import simulate

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def decide(graph: Graph, result: BatchResult) -> Decision:
    assert graph.readout is not None
    traces = [result.traces[graph.outputs[name].population] for name in graph.readout.outputs]
    s, v = (
        [getattr(trace, name).reshape(*trace.s.shape[:2], -1) for trace in traces] for name in ("s", "v_before_reset")
    )
    return graph.readout.decide(s, v)


def assert_stops_as_the_reference_counts(graph: Graph, rasters: dict[str, np.ndarray]) -> None:
    program = compile_program(graph)
    whole = run_reference(program, rasters)
    expected = decide(graph, whole)
    stopped = run_native(program, rasters, until="decision")
    got = decide(graph, stopped)
    for name in ("predicted", "decided", "step"):
        assert np.array_equal(getattr(got, name), getattr(expected, name)), name
    a = Counts.from_steps(whole.per_step, expected.step)
    b = Counts.from_steps(stopped.per_step, got.step, "decision")
    assert b.window == {}
    assert set(b.until_decision) == set(a.until_decision) == set(QUANTITIES)
    for quantity, nodes in a.until_decision.items():
        assert set(b.until_decision[quantity]) == set(nodes)
        for node, array in nodes.items():
            assert b.until_decision[quantity][node].dtype == array.dtype
            assert b.until_decision[quantity][node].tolist() == array.tolist(), (quantity, node)
    # It did stop: an input spikes in its own time, from step 0, so nothing is read of it once the last population,
    # which starts `depth` later, has come as far as the decision.
    if graph.readout and graph.readout.kind == "first_spike":
        for name in graph.inputs:
            later = np.arange(graph.n_steps)[:, None] > expected.step + program.depth
            assert not stopped.per_step["spikes"][name][later].any()


@settings(relaxed, max_examples=200)
@given(case=cases(), data=st.data())
def test_random_graphs(case: Case, data: st.DataObject) -> None:
    """Any population may be read, so that others lie behind it, or beside it."""
    read = data.draw(st.sampled_from(sorted(case.graph.populations)))
    kind = data.draw(st.sampled_from(["first_spike", "first_spike", "count", "membrane"]))
    graph = replace(case.graph, outputs={"out": Output(population=read)}, readout=Readout(kind=kind, output="out"))
    assert_stops_as_the_reference_counts(graph, case.rasters)


@settings(relaxed, max_examples=100)
@given(case=cases(n_steps=st.integers(5, 14)), data=st.data())
def test_random_pipelined_graphs(case: Case, data: st.DataObject) -> None:
    """Populations before the output run ahead of it, those behind it have yet to come as far."""
    read = data.draw(st.sampled_from(sorted(case.graph.populations)))
    graph = replace(
        case.graph, outputs={"out": Output(population=read)}, readout=Readout(kind="first_spike", output="out")
    )
    try:
        graph = pipelined(graph)
    except GraphError:
        return
    assert_stops_as_the_reference_counts(graph, case.rasters)


@settings(relaxed, max_examples=150)
@given(case=cases(n_steps=st.integers(3, 12)), data=st.data())
def test_several_outputs_that_decide_together(case: Case, data: st.DataObject) -> None:
    """In a pipeline a deeper output may fire later, and yet earlier in its own time."""
    graph = joint(data.draw, case.graph, data.draw(st.sampled_from(["first_spike", "first_spike", "count"])))
    if data.draw(st.booleans()):
        try:
            graph = pipelined(graph)
        except GraphError:
            return
    assert_stops_as_the_reference_counts(graph, case.rasters)


@settings(relaxed, max_examples=60)
@given(case=cases(n_steps=st.integers(3, 10)), starts=st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_populations_that_start_at_any_step(case: Case, starts: list[int]) -> None:
    """A late population may yet need spikes that an early one fires after the decision in its own time."""
    populations = {
        name: replace(node, start_step=starts[int(name.removeprefix("pop"))])
        for name, node in case.graph.populations.items()
    }
    graph = replace(
        case.graph,
        populations=populations,
        outputs={"out": Output(population="pop0")},
        readout=Readout(kind="first_spike", output="out"),
    )
    assert_stops_as_the_reference_counts(graph, case.rasters)


def relay(kind: str = "first_spike") -> Graph:
    """Two inputs → two neurons that pass each spike on, read there → two more behind them."""
    passes = {"shape": (2,), "threshold_mant": 1, "decay_v": 4096}
    return Graph(
        inputs={"in": Input(shape=(2,))},
        populations={"out": Population(**passes), "behind": Population(**passes)},
        projections={
            "p": Dense(source="in", target="out", weight=[[2, 0], [0, 2]]),
            "q": Dense(source="out", target="behind", weight=[[2, 0], [0, 2]]),
        },
        outputs={"class": Output(population="out")},
        n_steps=4,
        coding=InputCoding(kind="first_spike"),
        readout=Readout(kind=kind, output="class"),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_two_outputs_by_hand(engine: str) -> None:
    """The second relay, one step later in a pipeline, decides with the first: in its own time it fires as early."""
    both = Readout(kind="first_spike", output="class", joined=("late",), weights=(1, 2))
    graph = replace(
        relay(), outputs={"class": Output(population="out"), "late": Output(population="behind")}, readout=both
    )
    for one in (graph, pipelined(graph)):
        run = run_of(one, engine=engine, until="decision")
        assert run.decision_step.tolist() == [0, 0, 3, 0, 2]
        assert run.decided.tolist() == [True, True, False, False, True]
        assert (run.output, run.depth) == ("behind", 2)
        assert run.counts.until_decision["spikes"]["behind"].tolist() == [1, 1, 0, 2, 1]
    # Over the window: 2 neurons of each output; sample 0 fires both inputs, one spike each.
    assert run_of(graph, engine=engine).output_spikes.tolist()[0] == [1, 1, 1, 1]  # type: ignore[union-attr]


X = np.array([[1, 0.5], [0.5, 1], [0, 0], [1, 1], [0, 0.34]], np.float32)
LABEL = np.array([0, 1, 0, 0, 1])


def run_of(graph: Graph, **options: object) -> Run:
    return simulate(graph, [(X, LABEL, np.arange(5))], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("in_a_pipeline", [False, True])
@pytest.mark.parametrize("engine", ["native", "reference"])
def test_counts_by_hand(engine: str, in_a_pipeline: bool) -> None:
    graph = pipelined(relay()) if in_a_pipeline else relay()
    run = run_of(graph, engine=engine, until="decision")
    # x = 1 fires in step 0, x = 0.34 in round(0.66 · 3) = 2; sample 2 is silent, 3 is a tie in step 0.
    assert run.decision_step.tolist() == [0, 0, 3, 0, 2]
    assert run.decided.tolist() == [True, True, False, False, True]
    # Spikes until then: 1, 1, 0, 2, 1; each reaches 2 synapses in p and, passed on in the same step, 2 in q.
    assert run.counts.until_decision["sops"]["p"].tolist() == [2, 2, 0, 4, 2]
    assert run.counts.until_decision["sops"]["q"].tolist() == [2, 2, 0, 4, 2]
    assert run.counts.until_decision["spikes"]["behind"].tolist() == [1, 1, 0, 2, 1]
    # 2 neurons × steps up to and including the decision.
    assert run.counts.until_decision["neuron_updates"]["behind"].tolist() == [2, 2, 8, 2, 6]


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_only_what_is_known_is_said(engine: str) -> None:
    whole, run = run_of(relay(), engine=engine), run_of(relay(), engine=engine, until="decision")
    assert (whole.until, run.until) == ("window", "decision")
    assert run.counts.window == {}
    assert run.output_spikes is None
    said, all_said = run.summary(), whole.summary()
    assert set(all_said["per_sample"]) == {"window", "until_decision"}
    assert set(said["per_sample"]) == {"until_decision"}
    assert not {"wraps", "saturations"} & set(said)
    for name in ("accuracy", "undecided", "decision_latency_steps", "dense_macs", "samples"):
        assert said[name] == all_said[name]
    assert said["per_sample"]["until_decision"] == all_said["per_sample"]["until_decision"]
    with pytest.raises(OptionError, match="stopped at its decisions"):
        run.counts.mean("sops")
    with pytest.raises(OptionError, match="stopped at its decisions"):
        run.counts.total("wraps")


@pytest.mark.parametrize("kind", ["count", "membrane"])
def test_a_decision_in_the_last_step_changes_what_is_reported_and_nothing_else(kind: str) -> None:
    whole, run = run_of(relay(kind)), run_of(relay(kind), until="decision")
    assert run.decision_step.tolist() == [3] * 5
    for quantity, nodes in whole.counts.window.items():
        for node, array in nodes.items():
            assert run.counts.until_decision[quantity][node].tolist() == array.tolist()
    assert run.counts.window == {}


def test_what_is_refused() -> None:
    with pytest.raises(OptionError, match="choose one of window, decision"):
        run_of(relay(), until="noon")
    with pytest.raises(OptionError, match="leave out --until decision"):
        run_of(relay(), until="decision", record=["out"])
