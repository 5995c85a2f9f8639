"""What we write loads in lava-dl's own reader, and runs there with the same spikes. `make check-lava-dl` runs this."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance.fetch import lava_dl

from spikegraph.export.connectivity import Array
from spikegraph.export.formats import read, save
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population
from spikegraph.export.loss import LossReport
from spikegraph.targets.places import native

pytestmark = pytest.mark.peers

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".peers-envs" / "lava-dl" / "bin" / "python"
COMPAT, RUNNER = ROOT / "targets" / "lava" / "_compat.py", Path(__file__).with_name("runner.py")
TIMEOUT_S = 300


def run_file(net: Path, n_steps: int, inputs: Mapping[str, Array], folder: Path) -> tuple[list[Array], Array]:
    """Return each layer's spikes (T, n) as lava-dl runs a file, and v of the last layer after the last step (n,)."""
    if not PYTHON.exists():
        pytest.skip("lava-dl has no environment here; `make check-lava-dl` makes it")
    np.savez(folder / "inputs.npz", n_steps=n_steps, **inputs)  # type: ignore[arg-type]
    files = [COMPAT, net, folder / "inputs.npz", folder / "traces.npz"]
    process = subprocess.Popen(
        [PYTHON, RUNNER, *files], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        if process.poll() is None:  # Lava's processes are a session of their own, so that none outlives the test
            os.killpg(process.pid, signal.SIGKILL)
    assert (folder / "traces.npz").exists(), said[-3000:]
    with np.load(folder / "traces.npz") as traces:
        spikes = [traces[str(i)].reshape(n_steps, -1) for i in range(len(traces.files) - 1)]
        return spikes, traces["v"].ravel()


def in_lava_dl(graph: Graph, inputs: Mapping[str, Array], folder: Path) -> tuple[list[Array], LossReport]:
    """Write a graph, and return each layer's spikes as lava-dl runs it."""
    report = save(graph, folder / "a.net")
    return run_file(folder / "a.net", graph.n_steps, inputs, folder)[0], report


def same(graph: Graph, raster: Array, folder: Path, inputs: Mapping[str, Array] | None = None) -> LossReport:
    """Compare the spikes of every layer, and make sure that there are some."""
    ours = native(graph, {next(iter(graph.inputs)): raster[:, None].astype(np.int16)})
    theirs, report = in_lava_dl(graph, inputs or {"spikes": raster.astype(np.int32)}, folder)
    assert len(theirs) == len(graph.populations)
    for (name, of), spikes in zip(ours.items(), theirs, strict=True):
        assert of["s"].any(), f"{name} is silent"
        np.testing.assert_array_equal(spikes, of["s"].reshape(graph.n_steps, -1), err_msg=name)
    return report


RNG = np.random.default_rng(5)


def weights(*shape: int, low: int = -60, high: int = 64) -> Array:
    return 2 * RNG.integers(low // 2, high // 2, shape)


def network(populations: Mapping[str, Population], projections: Mapping[str, Any], shape: Any, **more: Any) -> Graph:
    last = list(populations)[-1]
    return Graph(
        inputs={"in": Input(shape=shape, **more)},
        populations=populations,
        projections=projections,
        outputs={"out": Output(population=last)},
        n_steps=24,
    )


def dense_layers(**changes: Any) -> Graph:
    """20 → 15 → 10 with leaks, currents and biases."""
    first = Population(
        shape=(15,), decay_u=1024, decay_v=128, threshold_mant=90, bias_mant=np.arange(-7, 8), bias_exp=6
    )
    second = Population(shape=(10,), decay_u=4096, decay_v=500, threshold_mant=60)
    return network(
        {"a": replace(first, **changes), "b": second},
        {
            "p": Dense(source="in", target="a", weight=weights(15, 20)),
            "q": Dense(source="a", target="b", weight=weights(10, 15)),
        },
        (20,),
    )


def spikes(graph: Graph, share: float = 0.3) -> Array:
    return RNG.random((graph.n_steps, *graph.inputs["in"].shape)) < share


def test_dense(tmp_path: Path) -> None:
    graph = dense_layers()
    report = same(graph, spikes(graph), tmp_path)
    assert not [loss for loss in report.losses if "lava-dl" in loss.what and loss.effect != "none"]


def test_odd_and_small_weights(tmp_path: Path) -> None:
    graph = dense_layers()
    odd = replace(graph.projections["q"], weight=RNG.integers(-3, 6, (10, 15)))
    second = replace(graph.populations["b"], threshold_mant=4)
    graph = replace(graph, projections={**graph.projections, "q": odd}, populations={**graph.populations, "b": second})
    same(graph, spikes(graph), tmp_path)


def test_decays_for_each_neuron(tmp_path: Path) -> None:
    graph = dense_layers(decay_u=RNG.integers(500, 4096, 15), decay_v=RNG.integers(1, 900, 15))
    same(graph, spikes(graph), tmp_path)


def test_a_recurrent_layer(tmp_path: Path) -> None:
    graph = dense_layers()
    loop = Dense(source="a", target="a", weight=weights(15, 15, low=-20, high=20), delay_steps=1)
    graph = replace(graph, projections={**graph.projections, "r": loop})
    same(graph, spikes(graph), tmp_path)


def test_delays_without_bias(tmp_path: Path) -> None:
    """lava-dl delays what arrives at a layer, not its spikes: they are later there, and the next one's are the same."""
    graph = dense_layers(bias_mant=0, bias_exp=0)
    q = graph.projections["q"]
    late = replace(graph, projections={**graph.projections, "q": replace(q, delay_steps=3)})
    raster = spikes(late)
    ours = native(late, {"in": raster[:, None].astype(np.int16)})
    theirs, _ = in_lava_dl(late, {"spikes": raster.astype(np.int32)}, tmp_path)
    a, b = (ours[name]["s"][:, 0] for name in "ab")
    np.testing.assert_array_equal(theirs[0][3:], a[:-3])
    np.testing.assert_array_equal(theirs[1], b)
    assert b.any()


def test_an_input_with_neurons_and_convolutions(tmp_path: Path) -> None:
    """A 2x7x6 image goes in as a bias, kernels are not square and strides differ; then a dense layer."""
    neurons = {"decay_v": 128, "threshold_mant": 30}
    graph = network(
        {
            "i": Population(shape=(2, 7, 6), **neurons, bias_mant=5, bias_exp=6),
            "c": Population(shape=(4, 4, 4), **neurons, bias_mant=[1, -2, 3, 0], bias_exp=6),
            "d": Population(shape=(10,), **neurons),
        },
        {
            "x": OneToOne(source="in", target="i", weight=np.array(1)),
            "k": Conv2d(
                source="i", target="c", weight=weights(4, 2, 3, 3, low=-20, high=30), stride=(2, 2), padding=(1, 2)
            ),
            "q": Dense(source="c", target="d", weight=weights(10, 64)),
        },
        (2, 7, 6),
        min_value=-30,
        max_value=30,
    )
    x = RNG.integers(-30, 31, (2, 7, 6))
    raster = np.broadcast_to(x, (graph.n_steps, 2, 7, 6))
    same(graph, raster, tmp_path, {"bias": x + 5})


@pytest.mark.parametrize(("weight", "said"), [(-32, "cuts -32 by a step"), (300, "cuts weights to -256…254")])
def test_what_the_report_says_of_weights_is_so(weight: int, said: str, tmp_path: Path) -> None:
    """One weight for all: lava-dl runs another, and our report said so."""
    graph = dense_layers()
    matrix = np.full((10, 15), weight)
    matrix[:, ::2] //= 2
    if weight > 0:
        matrix[0, 0] = -2
    if weight < 0:
        second = Population(shape=(10,), decay_v=0, threshold_mant=60, bias_mant=100, bias_exp=6)
    else:
        second = Population(shape=(10,), decay_v=4096, threshold_mant=1000)
    q = Dense(source="a", target="b", weight=matrix)
    graph = replace(graph, projections={**graph.projections, "q": q}, populations={**graph.populations, "b": second})
    raster = spikes(graph)
    theirs, report = in_lava_dl(graph, {"spikes": raster.astype(np.int32)}, tmp_path)
    ours = native(graph, {"in": raster[:, None].astype(np.int16)})
    np.testing.assert_array_equal(theirs[0], ours["a"]["s"][:, 0])
    assert (theirs[1] != ours["b"]["s"][:, 0]).any()
    assert any(said in loss.what for loss in report.losses)


def test_refractory_periods_are_left_out_as_the_report_says(tmp_path: Path) -> None:
    graph = dense_layers(refractory_steps=4)
    raster = spikes(graph)
    theirs, report = in_lava_dl(graph, {"spikes": raster.astype(np.int32)}, tmp_path)
    without = native(_without(graph), {"in": raster[:, None].astype(np.int16)})
    np.testing.assert_array_equal(theirs[0], without["a"]["s"][:, 0])
    assert any("leaves out refDelay (4" in loss.what for loss in report.losses)


@pytest.mark.parametrize("written", [False, True], ids=["as it is", "written again"])
def test_a_trained_network_and_the_layer_that_has_no_neurons(written: bool, tmp_path: Path) -> None:
    """lava-dl's own MNIST network: spikes of its three layers, and v of the last one, which only adds up."""
    net = lava_dl("mnist.net")
    graph, _ = read(net)
    assert isinstance(graph, Graph)
    assert graph.coding is not None
    x = np.rint(np.random.default_rng(0).random(784) * graph.coding.max_value).astype(np.int16)
    ours = native(graph, {"input": np.broadcast_to(x, (graph.n_steps, 1, 784))})
    if written:
        net = tmp_path / "again.net"
        save(graph, net)
    bias = int(graph.populations["layer0"].bias_mant)
    theirs, v = run_file(net, graph.n_steps, {"bias": x + bias}, tmp_path)
    for (name, of), spikes in zip(ours.items(), theirs, strict=True):
        assert of["s"].any() == (name != "layer3")
        np.testing.assert_array_equal(spikes, of["s"][:, 0], err_msg=name)
    np.testing.assert_array_equal(v, ours["layer3"]["v"][-1, 0])
    assert len(np.unique(v)) > 5


def _without(graph: Graph) -> Graph:
    return replace(graph, populations={n: replace(p, refractory_steps=1) for n, p in graph.populations.items()})
