"""The native engine against the peers that people would use: `make bench`; the table goes to docs/performance.md.

Each peer runs in an environment and a process of its own (peers/serve.py), at its best batch size, with two threads. A
round runs every peer and our engine once, one after the other; those that wait are stopped, so nothing else runs at the
same time. Figures are medians over rounds. SPIKEGRAPH_PEERS chooses rows by name, SPIKEGRAPH_ROUNDS the rounds.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from peers.networks import chain_of
from process import THREADS, Process, python_of
from workloads import workload_a, workload_b

from spikegraph.export.connectivity import Array
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program

ROUNDS = int(os.environ.get("SPIKEGRAPH_ROUNDS", "7"))
SLOW_ROUNDS = 3
A_BATCHES, B_BATCHES = [8, 16, 50, 100, 250, 500], [1, 2, 4, 8, 16, 32]
SCENARIOS = {
    "A": lambda: (*workload_a(1000), A_BATCHES),
    "A, high rates": lambda: (*workload_a(500, rate=0.3), A_BATCHES),
    "B": lambda: (*workload_b(64), B_BATCHES),
    "B, high rates": lambda: (*workload_b(64, rate=0.3), B_BATCHES),
}


@dataclass(frozen=True)
class Peer:
    """A row: an adapter and its variant in an environment; `slow` ones run at low rates only, and fewer rounds."""

    label: str
    environment: str
    adapter: str
    variant: str = "-"
    slow: bool = False


PEERS = [
    Peer("onnxruntime int8", "onnxruntime", "onnxruntime", "int8"),
    Peer("onnxruntime float32", "onnxruntime", "onnxruntime", "float32"),
    Peer("torch.compile int8", "torch", "pytorch", "compiled-int8"),
    Peer("torch.compile float32", "torch", "pytorch", "compiled-float32"),
    Peer("PyTorch int8", "torch", "pytorch", "int8"),
    Peer("PyTorch float32", "torch", "pytorch", "float32"),
    Peer("Norse", "torch", "norse"),
    Peer("Sinabs", "torch", "sinabs"),
    Peer("SpikingJelly", "torch", "spikingjelly"),
    Peer("snnTorch", "torch", "snntorch"),
    Peer("BindsNET", "bindsnet", "bindsnet"),
    Peer("Rockpool", "rockpool", "rockpool"),
    Peer("brian2 cpp_standalone, 1 thread", "brian2", "brian2", "serial", slow=True),
    Peer("brian2 cpp_standalone, OpenMP", "brian2", "brian2", "openmp", slow=True),
    Peer("NEST", "nest", "nest", slow=True),
    Peer("lava-nc fixed_pt", "lava", "lava", slow=True),
    Peer("SANA-FE", "sanafe", "sanafe", slow=True),
    Peer("nengo-loihi", "nengo_loihi", "nengo_loihi", slow=True),
]


def say(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


def number(rate: float) -> str:
    """Three figures at least."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def chosen(scenario: str) -> list[Peer]:
    names = [name.strip() for name in os.environ.get("SPIKEGRAPH_PEERS", "").split(",") if name.strip()]
    high = "high" in scenario
    return [
        p for p in PEERS if not (high and p.slow) and (not names or any(n.lower() in p.label.lower() for n in names))
    ]


def started(scenario: str, network: Path, folder: Path) -> tuple[dict[Peer, Process], dict[Peer, str]]:
    """Start each peer and let it find its batch size, one at a time; returns those that run, and why others do not."""
    running, refused = {}, {}
    for peer in chosen(scenario):
        try:
            begin = time.monotonic()
            arguments = ("peers.serve", peer.adapter, peer.variant, network)
            log = folder / f"{peer.adapter}-{peer.variant}.log"
            running[peer] = Process(python_of(peer.environment), arguments, log)
            ready = running[peer].ready
            rates = ", ".join(f"{batch}: {number(rate)}" for batch, rate in ready["rates"].items())
            say(f"  {scenario}: {peer.label}: samples/s by batch {rates} ({time.monotonic() - begin:.0f} s)")
        except (RuntimeError, TimeoutError) as error:
            refused[peer] = str(error)
            say(f"  {scenario}: {peer.label}: {error}")
        except BaseException:  # an interrupt leaves no stopped process behind
            for process in running.values():
                process.end()
            raise
    return running, refused


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_peers(scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, rasters, batches = SCENARIOS[scenario]()
    program, path = compile_program(graph), tmp_path / "network.npz"
    chain_of(graph, rasters["input"], batches).save(path)
    expected = run_native(program, rasters, threads=THREADS).traces["output"].s.sum(axis=0)
    n_samples = rasters["input"].shape[1]
    ours: list[float] = []
    rounds: dict[Peer, list[dict[str, Any]]] = {}
    with capsys.disabled():
        running, refused = started(scenario, path, tmp_path)
        try:
            for i in range(ROUNDS):
                begin = time.perf_counter()
                run_native(program, rasters, threads=THREADS)
                ours.append(n_samples / (time.perf_counter() - begin))
                for peer, process in list(running.items()):
                    if peer.slow and i >= SLOW_ROUNDS:
                        continue
                    try:
                        rounds.setdefault(peer, []).append(process.round())
                    except (RuntimeError, TimeoutError) as error:
                        refused[peer] = str(error)
                        running.pop(peer).end()
                say(f"  {scenario}: round {i + 1}/{ROUNDS} done")
        finally:
            for process in running.values():
                process.end()
        report(scenario, expected, ours, {peer: rounds[peer] for peer in running}, running, refused)


def report(
    scenario: str,
    expected: Array,
    ours: list[float],
    rounds: dict[Peer, list[dict[str, Any]]],
    running: dict[Peer, Process],
    refused: dict[Peer, str],
) -> None:
    """Print the table in Markdown. The ratio is the median of the ratios within the rounds."""
    say(f"\n{platform.processor() or platform.machine()}, {time.strftime('%d %B %Y, %H:%M UTC', time.gmtime())}")
    say(f"\n| {scenario} | samples/s (best round) | × of ours | same counts | batch |\n|---|---|---|---|---|")
    say(f"| spikegraph | {median(ours):,.0f} ({max(ours):,.0f}) | 1 | 100 % | – |")
    for peer, answers in rounds.items():
        rates = [answer["samples"] / answer["seconds"] for answer in answers]
        ratio = median(our / rate for our, rate in zip(ours, rates, strict=False))
        same = np.mean(np.array(answers[0]["counts"]) == expected[answers[0]["seen"]])
        share = "100 %" if same == 1 else f"{100 * same:.1f} %"
        versions = " ".join(running[peer].ready["versions"].values())
        say(
            f"| {peer.label} {versions} | {number(median(rates))} ({number(max(rates))}) | {ratio:,.1f} | {share} |"
            f" {running[peer].ready['batch']} |"
        )
    for peer, reason in refused.items():
        say(f"| {peer.label} | – | – | – | {reason} |")
