"""A network trained in its framework, and what is read here from the file that the framework's exporter wrote."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from frameworks.cases import Case

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.chips import load_chip
from spikegraph.export.connectivity import Array
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import read
from spikegraph.export.graph import Graph
from spikegraph.export.loss import LossReport
from spikegraph.export.quantize import quantize
from spikegraph.hwsim.float_engine import run_float
from spikegraph.hwsim.result import Trace
from spikegraph.hwsim.simulate import decide

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".peers-envs"
_CHUNK = 150  # samples at once


def python_of(framework: str) -> Path | None:
    """Return the Python of a framework's environment, if `make peers-envs` made it."""
    folder = ENVIRONMENTS / framework
    return folder / "bin" / "python" if (folder / "installed.txt").is_file() else None


def run_side(framework: str, module: str, *arguments: str | Path) -> None:
    """Run a module of side/ in a framework's environment."""
    python = python_of(framework)
    assert python is not None
    command = [str(python), "-W", "ignore", "-m", f"side.{module}", framework, *map(str, arguments)]
    environment = {"OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """One network, as its framework computes it.

    Parameters
    ----------
    x : ndarray (T, B, *shape)
    labels : ndarray (B,)
    layers : dict of NIR node → (spikes, potentials), (T, B, *shape)
    told : dict
        Versions, accuracy, the exporter's error.
    file : Path
    """

    x: Array
    labels: Array
    layers: dict[str, tuple[Array, Array]]
    told: dict[str, Any]
    file: Path

    @classmethod
    def load(cls, folder: Path, name: str) -> Trained:
        told = json.loads((folder / f"{name}.json").read_text())
        with np.load(folder / f"{name}.npz") as arrays:
            layers = {layer: (arrays[f"s.{layer}"], arrays[f"v.{layer}"]) for layer in told["layers"]}
            x, labels = arrays["x"], arrays["labels"]
        return cls(x=x, labels=labels, layers=layers, told=told, file=folder / f"{name}.nir")

    @property
    def output(self) -> Array:
        return list(self.layers.values())[-1][0]

    def accuracy(self, spikes: Array) -> float:
        counts = spikes.sum(axis=0, dtype=int).reshape(len(self.labels), -1)
        return float((counts.argmax(axis=1) == self.labels).mean())


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A network on both sides, layer by layer."""

    case: Case
    trained: Trained
    graph: FloatGraph
    report: LossReport
    ours: dict[str, Trace]

    def population(self, layer: str) -> str:
        """The population that a layer became: recurrent ones of snnTorch are called "layer.lif"."""
        return layer if layer in self.graph.populations else f"{layer}.lif"

    def spikes(self) -> Iterator[tuple[str, Array, Array]]:
        """Yield each layer with its spikes there and here, from the input on."""
        for layer, (s, _) in self.trained.layers.items():
            ours = self.ours[self.population(layer)].s
            yield layer, s.reshape(ours.shape), ours

    def potentials(self, layer: str) -> tuple[Array, Array]:
        """Return a layer's potentials there and here, both before or both after a spike's reset."""
        trace = self.ours[self.population(layer)]
        ours = trace.v_before_reset if self.case.v == "before" else trace.v
        return self.trained.layers[layer][1].reshape(ours.shape) - np.float32(self.case.v_reset), ours

    def threshold(self, layer: str) -> Array:
        """A layer's thresholds, (n,) or (c, h, w)."""
        population = self.graph.populations[self.population(layer)]
        return np.broadcast_to(population.v_threshold, population.shape)

    def quantized(self, chip: str) -> Graph:
        return quantize(self.graph, load_chip(chip))[0]

    def accuracy(self, graph: Graph | FloatGraph) -> float:
        (name,) = graph.inputs
        x = self.trained.x.reshape(*self.trained.x.shape[:2], *graph.inputs[name].shape)
        right = 0
        for start in range(0, len(self.trained.labels), _CHUNK):
            part = slice(start, start + _CHUNK)
            right += int(decide(graph, {name: x[:, part]}).correct(self.trained.labels[part]).sum())
        return right / len(self.trained.labels)


def compare(case: Case, folder: Path) -> Comparison:
    """Read the exported file of a case here, run it in float32, and put it beside the framework's own run."""
    trained = Trained.load(folder, case.network)
    assumed = Assumptions(
        convention=case.convention or case.framework, reset=case.reset, n_steps=len(trained.x), max_value=1
    )
    graph, report = read(trained.file, assumed)
    assert isinstance(graph, FloatGraph)
    (name,) = graph.inputs
    x = trained.x.reshape(*trained.x.shape[:2], *graph.inputs[name].shape)
    ours = dict(run_float(graph, {name: x}, record=list(graph.populations)).traces)
    return Comparison(case=case, trained=trained, graph=graph, report=report, ours=ours)
