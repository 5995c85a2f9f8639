"""Workload D: the trained MNIST network on all 10,000 test images: `make bench`; the table goes to docs/performance.md.

SPIKEGRAPH_MNIST_GRAPH names the graph file; without it the recipe stl-mnist-mlp is trained once into .bench-envs/mnist
(some fifteen minutes). SPIKEGRAPH_MNIST_DATA names the folder of the idx files; else they are fetched into the cache.

`simulate` runs as a user runs it, in a process of its own, whose memory is measured. PyTorch and lava-nc get rasters
that are encoded already; PyTorch sums in float32 and has its neurons in float64, where the truncating decay is exact.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from spikegraph import stages
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Dense, Graph
from spikegraph.hwsim.program import Program, compile_program
from spikegraph.hwsim.simulate import rasters_of
from spikegraph.targets.lava import run_lava
from spikegraph.trainer.data import load_split

ENVIRONMENTS = Path(__file__).parents[2] / ".bench-envs"
ROUNDS, BATCHES, FEW, MORE = 5, (50, 100, 250, 500), 10, 110

# The command line, which says at its end how much memory it had at its peak. (What wait4 tells of a child includes the
# parent's memory before the child became another program.)
COMMAND = """
import atexit, sys
from pathlib import Path
from spikegraph.cli import main

def peak():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
    print(line.split()[1], file=sys.stderr)

atexit.register(peak)
main()
"""


def say(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


def progress(what: str, done: int, total: int) -> None:
    if done % max(1, total // 20) == 0:
        say(f"  {what}: {done}/{total}")


def graph_file(data: Path | None) -> Path:
    if "SPIKEGRAPH_MNIST_GRAPH" in os.environ:
        return Path(os.environ["SPIKEGRAPH_MNIST_GRAPH"])
    path = ENVIRONMENTS / "mnist" / "graph.h5"
    if not path.is_file():
        stages.train("stl-mnist-mlp", path.parent / "run", data=data, progress=progress)
        stages.export(path.parent / "run", path)
    return path


def commanded(graph: Path, data: Path | None) -> tuple[float, float, dict[str, Any]]:
    """Run `spikegraph simulate`; returns seconds from start to end, MB at the peak and its report."""
    arguments = ["simulate", str(graph), "--data", "mnist:test", "--json"] + (["--data-dir", str(data)] if data else [])
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begin
    return seconds, int(done.stderr.split()[-1]) / 1e3, json.loads(done.stdout)


def torch_network(program: Program) -> Callable[[Any], tuple[Array, Array]]:
    """Return a function from input (T, B, n) to the output's spikes and v before reset, (T, B, n)."""
    import torch

    layers = []
    for p in program.populations:
        (incoming,) = p.incoming
        plain = p.reset == "zero" and p.refractory_steps == 1 and not p.max_spikes and (p.decay_u == 4096).all()
        if not (plain and isinstance(incoming.projection, Dense) and not incoming.projection.delay_steps):
            pytest.skip(f"{p.name} is more than a dense layer of current-free LIF neurons")
        weight = torch.tensor(incoming.projection.weight).float() * 64.0 * 2.0**incoming.projection.weight_exp
        keep, bias, threshold = (torch.tensor(a).double() for a in (4096 - p.decay_v, p.bias, p.threshold))
        layers.append((weight, keep / 4096, bias, threshold))

    @torch.inference_mode()
    def forward(s: Any) -> tuple[Array, Array]:
        for weight, keep, bias, threshold in layers:
            x = torch.nn.functional.linear(s, weight)
            v, s, before = torch.zeros_like(x[0], dtype=torch.float64), torch.empty_like(x), []
            for t in range(len(x)):
                v.mul_(keep).trunc_().add_(x[t]).add_(bias)
                before.append(v.clone() if len(threshold) == 10 else None)
                torch.gt(v, threshold, out=s[t])
                v.addcmul_(v, s[t].double(), value=-1)
        return s.numpy() > 0, torch.stack(before).numpy()

    return forward


def lava_rate(graph: Graph, rasters: Array) -> tuple[float, Array]:
    """Return samples a second beyond the start, and spike counts of the output."""
    name = next(iter(graph.outputs.values())).population
    times = {}
    for n in (FEW, MORE):
        begin = time.perf_counter()
        spikes = run_lava(graph, {next(iter(graph.inputs)): rasters[:, :n]})[name]["s"]
        times[n] = time.perf_counter() - begin
    return (MORE - FEW) / (times[MORE] - times[FEW]), spikes.sum(axis=0)


def test_mnist(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    data = Path(os.environ["SPIKEGRAPH_MNIST_DATA"]) if "SPIKEGRAPH_MNIST_DATA" in os.environ else None
    with capsys.disabled():
        path = graph_file(data)
        graph = stages.load_integer(path)
        split = load_split("mnist:test", data)
        say(f"\nD: {path}, {len(split)} images")
        x = split.samples(np.arange(len(split))).reshape(len(split), -1)
        raster = next(iter(rasters_of(graph, x, np.arange(len(split))).values())).astype(np.uint8)
        forward = torch_network(compile_program(graph))
        floats = torch.from_numpy(raster).float()
        forward(floats[:, :100])
        tried = {}
        for batch in BATCHES:
            begin = time.perf_counter()
            forward(floats[:, :batch])
            tried[batch] = batch / (time.perf_counter() - begin)
        batch = max(tried, key=lambda b: tried[b])
        ours, whole, peers = [], [], []
        for i in range(ROUNDS):
            seconds, peak, report = commanded(path, data)
            whole.append(len(split) / seconds)
            begin = time.perf_counter()
            run = stages.simulate(path, "mnist:test", data_dir=data)
            ours.append(len(split) / (time.perf_counter() - begin))
            begin = time.perf_counter()
            results = [forward(floats[:, start : start + batch]) for start in range(0, len(split), batch)]
            peers.append(len(split) / (time.perf_counter() - begin))
            say(f"  D: round {i + 1}/{ROUNDS} done")
        assert graph.readout is not None
        decision = graph.readout.decide(*(np.concatenate(a, axis=1) for a in zip(*results, strict=True)))
        same = np.mean((decision.predicted == run.predicted) & (decision.decided == run.decided))
        lava, counts = lava_rate(graph, raster)
        same_lava = np.mean((counts == run.output_spikes[: len(counts)]).all(axis=1))
        additions = report["per_sample"]["window"]["sops"]
        say(f"\naccuracy {run.accuracy:.4f}, {additions:,.0f} additions an image, {peak:.0f} MB at the peak")
        say("\n| D | samples/s (best round) | × of ours | same |\n|---|---|---|---|")
        say(f"| `spikegraph simulate`, the whole command | {median(whole):,.0f} ({max(whole):,.0f}) | | |")
        say(f"| the same as a call, encoding and decisions included | {median(ours):,.0f} ({max(ours):,.0f}) | 1 | |")
        ratio = median(a / b for a, b in zip(ours, peers, strict=True))
        say(
            f"| PyTorch, batches of {batch}, input encoded before | {median(peers):,.0f} ({max(peers):,.0f}) |"
            f" {ratio:,.1f} | decisions {100 * same:.2f} % |"
        )
        say(
            f"| lava-nc, {MORE} images, input encoded before | {lava:,.1f} | {median(ours) / lava:,.0f} |"
            f" counts {100 * same_lava:.0f} % |"
        )
    assert same == same_lava == 1
