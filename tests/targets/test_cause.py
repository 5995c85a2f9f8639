"""Each cause of a difference is planted, in the reference engine's own source or in the graph, and found.

What is planted here knows nothing of the hypotheses: it is other text in the place of a line, or another graph.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population
from spikegraph.hwsim import reference as engine
from spikegraph.hwsim.program import compile_program
from spikegraph.targets.difference import Difference
from spikegraph.targets.places import VARIABLES, Execution, Place, reference
from spikegraph.targets.verify import verify


def otherwise(*changes: tuple[str, str]) -> Place:
    """Return a place: the reference engine with other text in its source, or in that of its arithmetic."""
    sources = {"fixed": inspect.getsource(fixed), "engine": inspect.getsource(engine)}
    for old, new in changes:
        name = "fixed" if old in sources["fixed"] else "engine"
        assert sources[name].count(old) == 1, f"the change must fit in one place: {old}"
        sources[name] = sources[name].replace(old, new)
    modules = {name: ModuleType(f"other_{name}") for name in sources}
    for name, source in sources.items():
        sys.modules[f"other_{name}"] = modules[name]
        exec(compile(source, name, "exec"), modules[name].__dict__)  # noqa: S102 - our own source
        if name == "engine":
            modules[name].__dict__["fixed"] = modules["fixed"]

    def place(graph: Graph, rasters: Mapping[str, Array]) -> Execution:
        traces = modules["engine"].run_reference(compile_program(graph), rasters, list(graph.populations)).traces
        return {name: {v: getattr(trace, v) for v in VARIABLES} for name, trace in traces.items()}

    return place


def of(change: Any) -> Any:
    """Return a place: the reference engine on another graph."""
    return lambda graph, rasters: reference(change(graph), rasters)


def changed(node: str, **fields: Any) -> Any:
    """Return a change of fields of a population or projection."""

    def change(graph: Graph) -> Graph:
        kind = "populations" if node in graph.populations else "projections"
        nodes = dict(getattr(graph, kind))
        nodes[node] = replace(nodes[node], **fields)
        return replace(graph, **{kind: nodes})

    return change


def network(seed: int, **fields: Any) -> tuple[Graph, dict[str, Array]]:
    """Return x → a → b and spikes for x; fields replace those of a."""
    rng = np.random.default_rng(seed)
    a = {"decay_u": 900, "decay_v": 300, "threshold_mant": 130, "bias_mant": rng.integers(-900, 900, 12), "bias_exp": 1}
    graph = Graph(
        inputs={
            "x": Input(shape=(20,), min_value=-40, max_value=40) if fields.pop("graded", False) else Input(shape=(20,))
        },
        populations={
            "a": Population(shape=(12,), **{**a, **fields}),
            "b": Population(shape=(5,), decay_u=4096, decay_v=100, threshold_mant=200),
        },
        projections={
            "p": Dense(source="x", target="a", weight=rng.integers(-101, 128, (12, 20))),
            "q": Dense(source="a", target="b", weight=rng.integers(-60, 90, (5, 12)), weight_exp=1),
        },
        outputs={"o": Output(population="b")},
        n_steps=20,
    )
    low, high = (-40, 41) if graph.inputs["x"].graded else (1, 2)
    spikes = (rng.random((20, 6, 20)) < 0.3) * rng.integers(low, high, (20, 6, 20))
    return graph, {"x": spikes.astype(np.int16)}


def found(graph: Graph, rasters: Mapping[str, Array], place: Any, **options: Any) -> Difference:
    [comparison] = verify(graph, rasters, {"other": place}, **options).comparisons
    assert comparison.first is not None, "what is planted must be seen"
    assert comparison.first.departs == "other"
    assert comparison.first.cause is not None
    return comparison.first


PLANTED = {
    "decay rounding": (otherwise(("product + (product < 0) * (DECAY_ONE - 1)", "product")), {}),
    "threshold": (otherwise(("v_before_reset > population.threshold", "v_before_reset >= population.threshold")), {}),
    "one-step delay": (of(changed("p", delay_steps=1)), {}),
    "reset phase or kind": (of(changed("a", reset="subtract")), {}),
    "bias exponent": (of(changed("a", bias_exp=2)), {}),
    "refractory period": (of(changed("a", refractory_steps=2)), {"refractory_steps": 3}),
    "spike limit": (of(changed("a", max_spikes=0)), {"max_spikes": 2}),
    "decay constant": (of(changed("a", decay_u=901)), {}),
    "weight exponent": (of(changed("p", weight_exp=-1)), {}),
    "wrap or saturation": (
        otherwise(("return STATE_HALF - ((STATE_HALF - y) & ((1 << STATE_BITS) - 1))", "return saturate24(y)")),
        {"decay_u": 1},
    ),
}


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("seed", range(3))
def test_each_class_is_found(kind: str, seed: int) -> None:
    place, fields = PLANTED[kind]
    graph, rasters = network(seed, **fields)
    if kind == "threshold":  # a sum that meets the threshold to the last bit
        graph = changed(
            "a",
            decay_u=4096,
            decay_v=4096,
            bias_mant=0,
            bias_exp=0,
            threshold_mant=int(graph.projections["p"].weight.max()),
        )(graph)
        rasters["x"][:] = np.eye(20, dtype=np.int16)[:, None]
    if kind == "wrap or saturation":
        graph = changed("p", weight=graph.projections["p"].weight.astype(np.int64) * 250, weight_exp=1)(graph)
    first = found(graph, rasters, place)
    assert first.cause is not None
    assert (first.population, first.cause.kind) == ("a", kind)
    assert first.cause.n_explained == first.cause.n_values


def weights(change: Any) -> Any:
    def place(graph: Graph, rasters: Mapping[str, Array]) -> Any:
        return reference(changed("p", weight=change(graph.projections["p"].weight.astype(np.int64)))(graph), rasters)

    return place


@pytest.mark.parametrize(
    ("kind", "what", "change"),
    [
        ("weight rounding", "floored to multiples of 2", lambda w: w & ~1),
        ("weight rounding", "rounded toward zero to multiples of 2", lambda w: np.fix(w / 2).astype(int) * 2),
        ("weight clipping", "clipped to -64…63", lambda w: w.clip(-64, 63)),
        ("weight clipping", "clipped to -31…31", lambda w: w.clip(-31, 31)),
        ("weight rounding", "off by one step", lambda w: w + np.random.default_rng(1).integers(-1, 2, w.shape)),
        ("weights or spikes that arrive", "differ by up to", lambda w: w[::-1]),
    ],
)
def test_weights(kind: str, what: str, change: Any) -> None:
    first = found(*network(0), weights(change))
    assert first.cause.kind == kind
    assert what in first.cause.what


@pytest.mark.parametrize("hidden", [{"u"}, {"u", "v"}])
def test_spikes_alone_tell_as_well(hidden: set[str]) -> None:
    floored, _ = PLANTED["decay rounding"]

    def place(graph: Graph, rasters: Mapping[str, Array]) -> Any:
        return {n: {v: a for v, a in t.items() if v not in hidden} for n, t in floored(graph, rasters).items()}

    # v is small and mostly below 0, where flooring takes one unit more in every step.
    graph, rasters = network(0, decay_u=4096, decay_v=1, threshold_mant=2, bias_mant=0, bias_exp=0)
    small = np.random.default_rng(0).integers(-2, 3, (12, 20))
    graph = replace(changed("p", weight=small)(graph), n_steps=200)
    rasters = {"x": np.tile(rasters["x"], (10, 1, 1))}
    assert found(graph, rasters, place).cause.kind == "decay rounding"


def test_the_refractory_counter_in_a_probe() -> None:
    graph, rasters = network(0, refractory_steps=3)

    def place(graph: Graph, rasters: Mapping[str, Array]) -> Any:
        execution = {name: {v: a.copy() for v, a in t.items()} for name, t in reference(graph, rasters).items()}
        s, v = (execution["a"][name] for name in ("s", "v"))
        for steps in range(3):  # 128 in the step of the spike, 256 and 384 after it
            v[steps:][s[: len(s) - steps]] = 128 * (steps + 1)
        return execution

    first = found(graph, rasters, place)
    assert first.cause.kind == "refractory counter in the probe"
    assert first.cause.n_explained == first.cause.n_values


def test_reset_one_step_late_and_v_shown_before_it() -> None:
    graph, rasters = network(1)
    shown = otherwise(
        (
            "traces[name].put(step, x=x, u=state.u, v=state.v,",
            "traces[name].put(step, x=x, u=state.u, v=v_before_reset,",
        )
    )
    assert found(graph, rasters, shown).cause.what == "v is what it was before reset"


def test_state_that_is_not_cleared_between_samples() -> None:
    graph, rasters = network(2, reset="none", threshold_mant=131071)
    joined = replace(graph, n_steps=20 * 6)

    def place(_: Graph, rasters: Mapping[str, Array]) -> Any:
        in_turn = {"x": np.moveaxis(rasters["x"], 1, 0).reshape(120, 1, 20)}
        execution = reference(joined, in_turn)
        return {
            name: {v: np.moveaxis(a.reshape(6, 20, *a.shape[2:]), 0, 1) for v, a in t.items()}
            for name, t in execution.items()
        }

    first = found(graph, rasters, place)
    assert (first.sample, first.step, first.cause.kind) == (1, 0, "state between samples")


def test_other_spikes_at_the_input() -> None:
    graph, rasters = network(3, graded=True)
    ones = lambda graph, rasters: reference(graph, {"x": (rasters["x"] != 0).astype(np.int16)})  # noqa: E731
    assert found(graph, rasters, ones).cause.what == "each spike counts as 1"
    other = {"x": np.roll(rasters["x"], 1, axis=2)}
    first = found(
        graph, rasters, lambda graph, _: reference(graph, other), other_inputs=lambda: {"lines are moved": other}
    )
    assert (first.cause.kind, first.cause.what) == ("input coding", "lines are moved")


def test_images_read_the_wrong_way_round_and_kernels_flipped() -> None:
    rng = np.random.default_rng(4)
    graph = Graph(
        inputs={"x": Input(shape=(2, 5, 5))},
        populations={"a": Population(shape=(3, 3, 3), decay_u=2000, decay_v=300, threshold_mant=90)},
        projections={"p": Conv2d(source="x", target="a", weight=rng.integers(-50, 60, (3, 2, 3, 3)))},
        outputs={"o": Output(population="a")},
        n_steps=8,
    )
    rasters = {"x": rng.integers(0, 2, (8, 3, 2, 5, 5))}
    turned = lambda graph, rasters: reference(graph, {"x": rasters["x"].swapaxes(3, 4)})  # noqa: E731
    assert found(graph, rasters, turned).cause.what == "rows and columns are exchanged"
    last = lambda graph, r: reference(graph, {"x": np.moveaxis(r["x"], 2, 4).reshape(r["x"].shape)})  # noqa: E731
    assert found(graph, rasters, last).cause.what == "channels come last"
    flipped = found(graph, rasters, weights(lambda w: w[:, :, ::-1, ::-1]))
    assert flipped.cause.what == "kernels are flipped"
    assert flipped.arrived[0].expected == flipped.arrived[0].got


def test_recurrent_spikes_that_come_late_are_of_their_projection_alone() -> None:
    graph, rasters = network(5)
    loop = OneToOne(source="a", target="a", weight=np.array(-90), delay_steps=1)
    graph = replace(graph, projections={**graph.projections, "loop": loop})
    first = found(graph, rasters, of(changed("loop", delay_steps=2)))
    assert first.cause.what == "spikes of projection loop arrive one step late"


def test_a_refractory_period_of_any_length() -> None:
    graph, rasters = network(0, bias_mant=900)
    first = found(graph, rasters, of(changed("a", refractory_steps=3)))
    assert (first.cause.kind, first.cause.what) == ("refractory period", "it is 3 steps, not 1")
    assert first.cause.makes_all


def test_what_makes_some_values_only_is_no_cause() -> None:
    graph, rasters = network(0)

    def place(graph: Graph, rasters: Mapping[str, Array]) -> Any:
        floored = PLANTED["decay rounding"][0](graph, rasters)
        floored["a"]["u"][19, 0, 3] += 5
        return floored

    first = found(graph, rasters, place)
    assert str(first.cause).startswith("nearest to a cause: decay rounding: the decay of u and v is floored")


def test_a_recording_of_nothing() -> None:
    graph, rasters = network(0)
    nothing = lambda graph, r: {n: {"s": np.zeros_like(t["s"])} for n, t in reference(graph, r).items()}  # noqa: E731
    assert found(graph, rasters, nothing).cause.kind == "silence"


def test_the_one_that_departs_where_they_differ_is_blamed_whatever_the_other_does_later() -> None:
    graph, rasters = network(0)
    late = {name: {v: a.copy() for v, a in t.items()} for name, t in reference(graph, rasters).items()}
    late["a"]["v"][19, 5, 11] += 1
    decayed = reference(changed("a", decay_v=301)(graph), rasters)
    [comparison] = verify(graph, rasters, {"late": lambda *_: late}, to=("decayed", lambda *_: decayed)).comparisons
    assert comparison.first is not None
    assert comparison.first.departs == "decayed"
    assert comparison.first.cause.kind == "decay constant"


def test_what_no_hypothesis_makes_is_unknown() -> None:
    graph, rasters = network(6)

    def place(graph: Graph, rasters: Mapping[str, Array]) -> Any:
        execution = {name: {v: a.copy() for v, a in t.items()} for name, t in reference(graph, rasters).items()}
        execution["a"]["u"][7, 2, 3] += 1
        return execution

    assert found(graph, rasters, place).cause.kind == "unknown"
