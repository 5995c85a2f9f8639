"""Random spike graphs, for every engine and target to be held against each other (hypothesis strategies).

`cases()` draws a small legal graph of any kind of node with input to run it on: every projection kind, delays,
recurrence, skips, refractory periods, spike limits, parameters per neuron and per channel, graded input, odd shapes,
binary weights, joint readouts, and numbers that wrap and saturate. A target that holds less draws from
`cases(features=...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from spikegraph.export.coding import Readout
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.graph import (
    Conv2d,
    Dense,
    Graph,
    Input,
    OneToOne,
    Output,
    Population,
    Sparse,
    SumPool2d,
)

KINDS = ("Dense", "Conv2d", "SumPool2d", "Sparse", "OneToOne")
FEATURES = frozenset(
    {
        *KINDS,
        "delays",
        "recurrence",
        "resets",
        "refractory",
        "max_spikes",
        "per_neuron",
        "graded",
        "extreme",  # numbers at the ends of their ranges: u wraps and v saturates
        "images",  # (c, h, w) shapes
        "binary",  # weights of one magnitude, of either sign and never 0
        "readouts",  # several outputs that decide together, of several neurons a class
    }
)

ANY_LENGTH = st.integers(1, 12)


@dataclass(frozen=True)
class Case:
    """A graph, and spikes for its inputs: name → ndarray of int16 (T, B, *shape)."""

    graph: Graph
    rasters: dict[str, Array]

    def __repr__(self) -> str:
        nodes = {**self.graph.inputs, **self.graph.populations, **self.graph.projections}
        lines = [f"{name}: {node!r}" for name, node in nodes.items()]
        rasters = [f"raster {name}: {raster.tolist()}" for name, raster in self.rasters.items()]
        return "\n".join([f"n_steps = {self.graph.n_steps}", *lines, *rasters])


def _generator() -> st.SearchStrategy[np.random.Generator]:
    # Arrays come from a seeded generator: hypothesis draws whole arrays far too slowly.
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def _dims(draw: st.DrawFn, features: frozenset[str]) -> Shape:
    if "images" in features and draw(st.booleans()):
        return (draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    return (draw(st.integers(1, 7)),)


def _weight(draw: st.DrawFn, rng: np.random.Generator, shape: Shape, features: frozenset[str]) -> Array:
    largest = draw(st.sampled_from([1, 7, 127, 32767] if "extreme" in features else [1, 7, 127]))
    if "binary" in features and draw(st.sampled_from([False, False, False, True])):
        return np.asarray(rng.choice([-largest, largest], shape))
    weight = rng.integers(-largest - (largest > 1), largest + 1, shape)
    return np.asarray(weight * (rng.random(shape) < draw(st.sampled_from([1.0, 0.6]))))


def _window_target(draw: st.DrawFn, source: Shape, *, dilate: bool) -> tuple[dict[str, Shape], Shape]:
    """Draw a window that fits over (h, w), and the height and width that it makes."""
    kernel, stride, padding, dilation, out = [], [], [], [], []
    for size in source[1:]:
        k = draw(st.integers(1, 3))
        d = draw(st.integers(1, 2)) if dilate else 1
        p = draw(st.integers(0, d * (k - 1)))
        while size + 2 * p < d * (k - 1) + 1:
            k -= 1
            p = min(p, d * (k - 1))
        s = draw(st.integers(1, 3))
        kernel.append(k)
        stride.append(s)
        padding.append(p)
        dilation.append(d)
        out.append((size + 2 * p - d * (k - 1) - 1) // s + 1)
    window = {"kernel": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}
    return window, tuple(out)


def _kind_and_target(draw: st.DrawFn, source: Shape, features: frozenset[str]) -> tuple[str, Shape, dict[str, object]]:
    kinds = [k for k in KINDS if k in features and (len(source) == 3 or k not in ("Conv2d", "SumPool2d"))]
    kind = draw(st.sampled_from(kinds))
    if kind == "OneToOne":
        return kind, source, {}
    if kind == "SumPool2d":
        window, out = _window_target(draw, source, dilate=False)
        geometry = {"kernel_size": window["kernel"], "stride": window["stride"], "padding": window["padding"]}
        return kind, (source[0], *out), geometry
    if kind == "Conv2d":
        window, out = _window_target(draw, source, dilate=True)
        groups = draw(st.sampled_from([g for g in (1, 2, 3) if source[0] % g == 0]))
        channels = groups * draw(st.integers(1, 2))
        return kind, (channels, *out), {**window, "groups": groups}
    return kind, _dims(draw, features), {}


def projection(
    draw: st.DrawFn,
    ends: tuple[str, str],
    shapes: tuple[Shape, Shape],
    kind: str,
    geometry: dict[str, object],
    features: frozenset[str],
    delay_steps: int,
) -> Dense | Conv2d | SumPool2d | Sparse | OneToOne:
    """Draw the weights of a projection of this kind between these shapes."""
    rng, (source, target) = draw(_generator()), shapes
    common = {
        "source": ends[0],
        "target": ends[1],
        "delay_steps": delay_steps,
        "weight_exp": draw(st.sampled_from([0, 0, 1, -1, -8, 7] if "extreme" in features else [0, 0, 1, -1, -3])),
    }
    n_source, n_target = int(np.prod(source)), int(np.prod(target))
    if kind == "Dense":
        return Dense(weight=_weight(draw, rng, (n_target, n_source), features), **common)
    if kind == "Conv2d":
        rest = {name: value for name, value in geometry.items() if name != "kernel"}
        shape = (target[0], source[0] // geometry["groups"], *geometry["kernel"])
        return Conv2d(weight=_weight(draw, rng, shape, features), **rest, **common)
    if kind == "SumPool2d":
        return SumPool2d(weight=_weight(draw, rng, (), features), **geometry, **common)
    if kind == "Sparse":  # rows of any length, empty ones and two synapses between the same two neurons included
        fan_out = rng.integers(0, n_target + 2, n_source)
        indices = rng.integers(0, n_target, fan_out.sum())
        indptr = np.concatenate([[0], np.cumsum(fan_out)])
        return Sparse(indptr=indptr, indices=indices, weight=_weight(draw, rng, indices.shape, features), **common)
    shape = draw(st.sampled_from([(), source[:1], source]))
    return OneToOne(weight=_weight(draw, rng, shape, features), **common)


def _parameter(
    draw: st.DrawFn, rng: np.random.Generator, shape: Shape, choices: list[int], features: frozenset[str]
) -> Array | int:
    shapes = [(), shape[:1], shape] if "per_neuron" in features else [()]
    values = rng.choice(choices, draw(st.sampled_from(shapes)))
    return values if np.ndim(values) else int(values)


def population(draw: st.DrawFn, shape: Shape, features: frozenset[str]) -> Population:
    """Draw the parameters of a population."""
    rng = draw(_generator())
    extreme = "extreme" in features
    return Population(
        shape=shape,
        decay_u=_parameter(draw, rng, shape, [4096, 4096, 1, 500, 2048, 3000, 4095], features),
        decay_v=_parameter(draw, rng, shape, [0, 1, 128, 1000, 2048, 4095] + [4096] * extreme, features),
        threshold_mant=_parameter(draw, rng, shape, [1, 2, 5, 20, 130] + [4000, 131071] * extreme, features),
        bias_mant=_parameter(draw, rng, shape, [0, 0, 1, -1, 37, -200] + [-4096, 4095] * extreme, features),
        bias_exp=_parameter(draw, rng, shape, [0, 1, 3] + [6, 7] * extreme, features),
        reset=draw(st.sampled_from(["zero", "subtract", "none"])) if "resets" in features else "zero",
        refractory_steps=draw(st.sampled_from([1, 1, 2, 3, 50])) if "refractory" in features else 1,
        max_spikes=draw(st.sampled_from([0, 0, 0, 1, 2])) if "max_spikes" in features else 0,
    )


def _inputs(draw: st.DrawFn, features: frozenset[str]) -> dict[str, Input]:
    inputs: dict[str, Input] = {}
    for i in range(draw(st.integers(1, 2))):
        low, high = draw(
            st.sampled_from([(0, 1), (-2, 3), (-32768, 32767), (2, 5)] if "graded" in features else [(0, 1)])
        )
        inputs[f"in{i}"] = Input(shape=_dims(draw, features), min_value=low, max_value=high)
    return inputs


@st.composite
def graphs(
    draw: st.DrawFn,
    features: frozenset[str] = FEATURES,
    n_steps: st.SearchStrategy[int] = ANY_LENGTH,
    inputs: Mapping[str, Input] | None = None,
) -> Graph:
    """Draw a legal graph that is not pipelined: a chain with skips, recurrence and a second input added to it.

    `inputs` may be given, such as those of another graph; their names are in0, in1.
    """
    delay = st.sampled_from([0, 0, 0, 1, 2, 9]) if "delays" in features else st.just(0)
    inputs = _inputs(draw, features) if inputs is None else inputs
    shapes = {name: node.shape for name, node in inputs.items()}
    populations: dict[str, Population] = {}
    projections = {}

    def connect(source: str, target: str, kind: str, geometry: dict[str, object], delay_steps: int) -> None:
        name = f"p{len(projections)}"
        ends = (shapes[source], shapes[target])
        projections[name] = projection(draw, (source, target), ends, kind, geometry, features, delay_steps)

    def connect_any(source: str, target: str, delay_steps: int) -> None:
        kinds = [k for k in ("Dense", "Sparse") if k in features]
        kinds += ["OneToOne"] * (shapes[source] == shapes[target] and "OneToOne" in features)
        connect(source, target, draw(st.sampled_from(kinds)), {}, delay_steps)

    previous = "in0"
    for i in range(draw(st.integers(1, 3))):
        name = f"pop{i}"
        kind, shape, geometry = _kind_and_target(draw, shapes[previous], features)
        populations[name] = population(draw, shape, features)
        shapes[name] = shape
        connect(previous, name, kind, geometry, draw(delay))
        previous = name
    names = [*inputs, *populations]
    for _ in range(draw(st.integers(0, 3))):  # skips, the second input, parallel projections
        target = draw(st.sampled_from(list(populations)))
        source = draw(st.sampled_from(names[: names.index(target)]))
        connect_any(source, target, draw(delay))
    if "recurrence" in features:
        for _ in range(draw(st.integers(0, 2))):
            target = draw(st.sampled_from(list(populations)))
            source = draw(st.sampled_from(names[names.index(target) :]))
            connect_any(source, target, draw(st.sampled_from([1, 1, 2, 3])))
    # The order in which nodes are written down must not matter.
    shuffled = {name: populations[name] for name in draw(st.permutations(list(populations)))}
    graph = Graph(
        inputs=inputs,
        populations=shuffled,
        projections=projections,
        outputs={"out": Output(population=previous, variable=draw(st.sampled_from(["s", "v"])))},
        n_steps=draw(n_steps),
    )
    # Not often: what is tapped is computed in another way by the native engine.
    if "readouts" in features and draw(st.sampled_from([False, False, False, True])):
        return joint(draw, graph, draw(st.sampled_from(["count", "first_spike"])))
    return graph


def joint(draw: Callable[[st.SearchStrategy[Any]], Any], graph: Graph, kind: Literal["count", "first_spike"]) -> Graph:
    """Let any of the populations, whose sizes differ, decide together on one class or on as many as they share."""
    read = draw(st.lists(st.sampled_from(sorted(graph.populations)), min_size=1, max_size=3))
    sizes = [graph.populations[name].n for name in read]
    n_classes = draw(st.sampled_from([n for n in range(1, min(sizes) + 1) if all(m % n == 0 for m in sizes)]))
    names = ["out", *(f"out{k}" for k in range(1, len(read)))]
    readout = Readout(
        kind=kind,
        output=names[0],
        neurons_per_class=sizes[0] // n_classes,
        joined=tuple(names[1:]),
        weights=draw(st.sampled_from([(), tuple(range(1, len(read) + 1))])),
    )
    outputs = {name: Output(population=population) for name, population in zip(names, read, strict=True)}
    return replace(graph, outputs=outputs, readout=readout)


@st.composite
def rasters(draw: st.DrawFn, graph: Graph, max_batch: int = 3) -> dict[str, Array]:
    """Draw spikes for the inputs of a graph, from silence to a spike on every line in every step."""
    rng, n_samples = draw(_generator()), draw(st.integers(1, max_batch))
    result = {}
    for name, node in graph.inputs.items():
        shape = (graph.n_steps, n_samples, *node.shape)
        values = rng.integers(node.min_value, node.max_value, shape, endpoint=True)
        if not node.graded:
            values = np.ones(shape, np.int64)
        result[name] = (values * (rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.6, 1.0])))).astype(np.int16)
    return result


@st.composite
def cases(
    draw: st.DrawFn,
    features: frozenset[str] = FEATURES,
    n_steps: st.SearchStrategy[int] = ANY_LENGTH,
    max_batch: int = 3,
) -> Case:
    """Draw a graph and spikes for it."""
    graph = draw(graphs(features, n_steps))
    return Case(graph=graph, rasters=draw(rasters(graph, max_batch)))
