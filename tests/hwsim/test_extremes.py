"""The largest values of a run, before they wrapped and saturated: against a plain loop over the law."""

from __future__ import annotations

from typing import Any

import numpy as np
from graph_strategies import Case, cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export import fixed
from spikegraph.export.bounds import bounds
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.extremes import Seen, extremes
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def unwrapped(graph: Graph, rasters: dict[str, Any]) -> dict[str, Seen]:
    """Take x from the reference, and u and v before wrapping and saturation from a loop of its own."""
    program = compile_program(graph)
    traces = run_reference(program, rasters, list(graph.populations)).traces
    found = {}
    for p in program.populations:
        trace, ends = traces[p.name], {"u": [0], "v": [0]}
        u = v = np.zeros(trace.x.shape[1:], np.int64)
        held, fired = np.zeros(u.shape, np.int64), np.zeros(u.shape, np.int64)
        for t in range(graph.n_steps):
            u = fixed.decay(u, p.decay_u) + trace.x[t] * 64
            ends["u"] += [u.min(), u.max()]
            u = fixed.wrap24(u)
            v = np.where(held > 0, 0, fixed.decay(v, p.decay_v) + u + p.bias)
            ends["v"] += [v.min(), v.max()]
            s, v, fired = trace.s[t], trace.v[t].astype(np.int64), fired + trace.s[t]
            held = np.where(s, p.refractory_steps - 1, np.maximum(held - 1, 0))
            if p.max_spikes:
                held = np.where(fired >= p.max_spikes, graph.n_steps, held)
        x = (min(0, int(trace.x.min())), max(0, int(trace.x.max())))
        found[p.name] = Seen(x=x, **{name: (int(min(e)), int(max(e))) for name, e in ends.items()})
    return found


@settings(relaxed, max_examples=60)
@given(case=cases(n_steps=st.integers(1, 8)))
def test_random_graphs(case: Case) -> None:
    found = extremes(case.graph, [case.rasters])
    assert found == unwrapped(case.graph, case.rasters)
    for name, bound in bounds(case.graph).items():
        for variable in ("x", "u", "v"):
            (low, high), (least, most) = getattr(found[name], variable), getattr(bound, variable)
            assert least <= low
            assert high <= most


def test_a_run_in_batches_and_beyond_the_ends() -> None:
    # 5 · 32767 · 64 = 10,485,440 wraps, once by hand; and v saturates at the other end.
    graph = Graph(
        inputs={"in": Input(shape=(5,))},
        populations={"n": Population(shape=(1,), threshold_mant=131071)},
        projections={"p": Dense(source="in", target="n", weight=[[32767] * 5])},
        outputs={"out": Output(population="n")},
        n_steps=3,
    )
    silence, all_at_once = (np.full((3, 1, 5), value, np.int16) for value in (0, 1))
    seen = extremes(graph, [{"in": silence}, {"in": all_at_once}, {"in": silence}])["n"]
    wrapped = 5 * 32767 * 64 - 2**24
    assert seen.x == (0, 5 * 32767)
    assert seen.u == (0, 5 * 32767 * 64)
    # v: wrapped, then 2 · wrapped, which saturates, then that end + wrapped.
    assert seen.v == (1 - 2**23 + wrapped, 0)
