"""Trained networks with what was recorded of them elsewhere: the graph, what goes in, what must come out.

Recordings are of two sorts. Those of lava-dl's trainer (tiny, dense, ntidigits) have each layer's spikes some steps
later than a zero-delay graph: the delays that it puts between layers. Those of PilotNet were made on a chip, where
layer k runs k steps late, and show what the chip shows: 128 in place of v in the step of a spike (docs/semantics.md),
and windows of 17 steps, where the file says 16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from conformance.fetch import lava_dl

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.connectivity import Array
from spikegraph.export.formats import read
from spikegraph.export.graph import Dense, Graph, Input, Output, Population

RECORDED = 24  # steps of PilotNet's recordings
WINDOW = 17  # steps from one reset of PilotNet's recordings to the next
LAYERS = {f"layer{i}": f"conv-{i - 1}" for i in range(1, 6)} | {f"layer{i}": f"fc-{i - 7}" for i in range(7, 11)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One run.

    Parameters
    ----------
    graph : Graph
    rasters : mapping of input → ndarray of int16 (T, B, *shape)
    recorded : mapping of population → variable → ndarray (T, B, *shape)
        v that a chip does not show is masked (numpy.ma).
    """

    graph: Graph
    rasters: Mapping[str, Array]
    recorded: Mapping[str, Mapping[str, Array]]


def _net(name: str, n_steps: int) -> Graph:
    graph, _ = read(lava_dl(name), Assumptions(n_steps=n_steps))
    assert isinstance(graph, Graph)
    return graph


def _array(name: str) -> Array:
    return np.asarray(np.load(lava_dl(f"gts/{name}.npy")))


def _steps_first(array: Array) -> Array:
    """(W, H, C, T) or (n, T), as lava-dl has them, → (T, 1, C, H, W) or (T, 1, n)."""
    return np.ascontiguousarray(array.T)[:, None]


def _every_step(image: Array, n_steps: int) -> Array:
    """(W, H, C) → (T, 1, C, H, W), the same in every step."""
    return np.broadcast_to(image.T.astype(np.int16), (n_steps, 1, *image.T.shape))


def alone(graph: Graph, population: str, n_steps: int) -> Graph:
    """Return one layer of a network, fed by an input in place of the layer before."""
    fed = {name: replace(p, source="spikes") for name, p in graph.into(population).items()}
    (source,) = {p.source for p in graph.into(population).values()}
    return replace(
        graph,
        inputs={"spikes": Input(shape=graph.shape_of(source))},
        populations={population: graph.populations[population]},
        projections=fed,
        outputs={"out": Output(population=population)},
        coding=None,
        readout=None,
        n_steps=n_steps,
    )


def tiny() -> Case:
    """3x16x16, two convolutions; an image that goes in as a bias. Recorded of the trainer: one step late."""
    image, steps = _array("tinynet/input_bias"), 15
    graph = _net("tiny.net", steps)
    recorded = {f"layer{i}": {"s": _of_trainer(name)} for i, name in enumerate(("input", "layer1", "output"))}
    recorded["layer1"]["u"] = 64 * _of_trainer("current")  # it counts in weights, which u shifts by 6
    bias = int(graph.populations["layer0"].bias_mant)
    return Case(graph=graph, rasters={"input": _every_step(image - bias, steps)}, recorded=recorded)


def _of_trainer(name: str) -> Array:
    """(1, C, H, W, T), one step late → (T - 1, 1, C, H, W)."""
    return np.moveaxis(_array(f"tinynet/{name}"), -1, 0)[1:]


def tiny_layer(population: str) -> Case:
    """One layer of tiny, fed with the recorded spikes of the layer before."""
    whole = tiny()
    before = {"layer1": "layer0", "layer2": "layer1"}[population]
    spikes = whole.recorded[before]["s"].astype(np.int16)
    graph = alone(whole.graph, population, len(spikes))
    return Case(graph=graph, rasters={"spikes": spikes}, recorded={population: whole.recorded[population]})


def dense() -> Case:
    """200 → 256, 2000 steps. Recorded: one step late."""
    graph = Graph(
        inputs={"in": Input(shape=(200,))},
        populations={"out": Population(shape=(256,), decay_v=415, threshold_mant=6)},  # as lava-dl's own test has it
        projections={"weights": Dense(source="in", target="out", weight=_array("dense/weight"))},
        outputs={"out": Output(population="out")},
        n_steps=1999,
    )
    spikes = _steps_first(_array("dense/in"))[:-1].astype(np.int16)
    recorded = {"s": _steps_first(_array("dense/out"))[1:], "u": 64 * _steps_first(_array("dense/current"))[1:]}
    return Case(graph=graph, rasters={"in": spikes}, recorded={"out": recorded})


def ntidigits() -> Case:
    """Spoken digits, 64-256-256-242 with a delay for each neuron, 3000 steps. Recorded: late by four layers."""
    spikes = _steps_first(_array("ntidigits/input"))
    n_steps = len(spikes) - 4
    recorded = _steps_first(_array("ntidigits/output"))[4:]
    raster = spikes[:n_steps].reshape(n_steps, 1, 1, 1, 64).astype(np.int16)
    graph = _net("gts/ntidigits/ntidigits.net", n_steps)
    return Case(graph=graph, rasters={"input": raster}, recorded={"layer4": {"s": recorded}})


def pilotnet() -> Case:
    """A camera's image → a steering angle: five convolutions, four dense layers. One image; what a chip recorded."""
    graph = _net("gts/pilotnet_lif/network.net", WINDOW)
    bias = int(graph.populations["layer0"].bias_mant)
    recorded = {"layer0": {"s": _chip("input")[:WINDOW]}}
    for depth, population in enumerate(list(LAYERS)[:-1], start=1):
        recorded[population] = _chips(population, slice(depth, depth + WINDOW))
    short = len(recorded["layer9"]["s"])  # of the last layer the recording ends a step early
    assert short == WINDOW - 1
    graph = replace(graph, n_steps=short)
    recorded = {name: {v: array[:short] for v, array in of.items()} for name, of in recorded.items()}
    image = _array("pilotnet_lif/image") - bias
    return Case(graph=graph, rasters={"input": _every_step(image, short)}, recorded=recorded)


def pilotnet_layer(population: str, window: str) -> Case:
    """One layer, fed with the recorded spikes of the layer before.

    A chip's layer hears a spike one step later. "before": what it does before its first window begins, driven by its
    bias; "first" and "second": the windows, of which the second is cut off by the end of the recording.
    """
    depth = list(LAYERS).index(population) + 1
    steps = {
        "before": slice(0, depth),
        "first": slice(depth, depth + WINDOW),
        "second": slice(depth + WINDOW, RECORDED),
    }[window]
    heard = np.zeros_like(_chip(_before(population)))
    heard[1:] = _chip(_before(population))[:-1]
    recorded = _chips(population, steps)
    spikes = heard[steps][: len(recorded["s"])].astype(np.int16)
    network = _net("gts/pilotnet_lif/network.net", WINDOW)
    graph = alone(network, population, len(spikes))
    shape = graph.inputs["spikes"].shape
    rasters = {"spikes": spikes.reshape(len(spikes), 1, *shape)}
    return Case(graph=graph, rasters=rasters, recorded={population: recorded})


def pilotnet_last() -> Case:
    """The last layer was recorded in another run, of another image: only what comes before its window is the same."""
    case = pilotnet_layer("layer10", "before")
    steps = case.graph.n_steps - 1  # in the step before its window, the recording shows what the reset has left
    return Case(
        graph=replace(case.graph, n_steps=steps),
        rasters={name: raster[:steps] for name, raster in case.rasters.items()},
        recorded={"layer10": {v: array[:steps] for v, array in case.recorded["layer10"].items()}},
    )


def _before(population: str) -> str:
    names = ["input", *LAYERS.values()]
    return names[names.index(LAYERS[population]) - 1]


def _chip(name: str) -> Array:
    return _steps_first(_array(f"pilotnet_lif/{name}"))


def _chips(population: str, steps: slice) -> dict[str, Array]:
    name = LAYERS[population]
    s = _chip(f"{name}-s" if name == "fc-3" else name)[steps]
    u, v = (_chip(f"{name}-{variable}")[steps] for variable in "uv")
    return {"s": s, "u": u, "v": np.ma.masked_array(v, s.astype(bool))}  # type: ignore[no-untyped-call]


_FED = list(LAYERS)[:-1]
CASES: dict[str, Callable[[], Case]] = {
    "tiny, layer1": lambda: tiny_layer("layer1"),
    "tiny, layer2": lambda: tiny_layer("layer2"),
    "tiny": tiny,
    "dense": dense,
    "ntidigits": ntidigits,
    **{
        f"pilotnet, {p}, {w}": lambda p=p, w=w: pilotnet_layer(p, w)  # type: ignore[misc]
        for p in _FED
        for w in ("before", "first", "second")
        if w != "second" or _FED.index(p) + 1 + WINDOW < RECORDED
    },
    "pilotnet, layer10, before": pilotnet_last,
    "pilotnet": pilotnet,
}
