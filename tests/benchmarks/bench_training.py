"""A training step against the peers: `make bench`; the table goes to docs/performance.md.

The same network, weights, spikes and labels, each contender in a process of its own (peers/train.py); the
peers from the environment `torch` of .bench-envs, ours from this one, with the same version of PyTorch. A round times
each contender once, one after the other; those that wait are stopped. Figures are medians over rounds, ratios medians
of the ratios within rounds. SPIKEGRAPH_ROUNDS sets the rounds, SPIKEGRAPH_THREADS the threads. On a machine with other
work, take one thread and the processor's time: threads that wait for each other spin.
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

import pytest
from process import Process, python_of

ROUNDS = int(os.environ.get("SPIKEGRAPH_ROUNDS", "7"))
THREADS = int(os.environ.get("SPIKEGRAPH_THREADS", "2"))
TASKS = ("dense", "conv")


@dataclass(frozen=True)
class Contender:
    label: str
    name: str
    variant: str = "-"

    def start(self, task: str, folder: Path) -> Process:
        python = Path(sys.executable) if self.name == "spikegraph" else python_of("torch")
        arguments = ("peers.train", self.name, self.variant, task)
        return Process(python, arguments, folder / f"{self.name}-{self.variant}.log", THREADS)


OURS = Contender("**spikegraph, float**", "spikegraph", "float")
CONTENDERS = [
    OURS,
    Contender("spikegraph, bit-true int8 (Loihi 1)", "spikegraph", "int8"),
    Contender("spikegraph, float, as `spikegraph train` runs it", "spikegraph", "float kept"),
    Contender("spikegraph, bit-true int8, as `spikegraph train` runs it", "spikegraph", "int8 kept"),
    Contender("spikegraph, float, without a compiler", "spikegraph", "plain"),
    Contender("SpikingJelly, multi-step", "spikingjelly"),
    Contender("SpikingJelly, multi-step, torch.compile", "spikingjelly", "compiled"),
    Contender("snnTorch", "snntorch"),
    Contender("snnTorch, torch.compile", "snntorch", "compiled"),
]


def say(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


@pytest.mark.parametrize("task", TASKS)
def test_training(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running: dict[Contender, Process] = {}
    rounds: dict[Contender, list[dict[str, Any]]] = {}
    refused: dict[Contender, str] = {}
    with capsys.disabled():
        try:
            for contender in CONTENDERS:
                try:
                    running[contender] = contender.start(task, tmp_path)
                except (RuntimeError, TimeoutError) as error:
                    refused[contender] = str(error)
                    say(f"  {task}: {contender.label}: {error}")
            for i in range(ROUNDS):
                for contender, process in running.items():
                    rounds.setdefault(contender, []).append(process.round())
                say(f"  {task}: round {i + 1}/{ROUNDS} done")
        finally:
            for process in running.values():
                process.end()
        report(task, running, rounds, refused)
    first = {
        contender: process.ready["loss"] for contender, process in running.items() if "int8" not in contender.variant
    }
    # Each rounds its sums in its own order, so a spike may fall differently; the network is the same.
    assert first == pytest.approx(dict.fromkeys(first, first[OURS]), rel=0.02)


def report(
    task: str,
    running: dict[Contender, Process],
    rounds: dict[Contender, list[dict[str, Any]]],
    refused: dict[Contender, str],
) -> None:
    say(f"\n{platform.processor() or platform.machine()}, {time.strftime('%d %B %Y, %H:%M UTC', time.gmtime())}")
    say(f"\n| {task}, threads: {THREADS} | ms a step (best) | × ours | ms of processor | × ours | first loss | MB |")
    say("|---|---|---|---|---|---|---|")
    for contender, answers in rounds.items():
        ready, cells = running[contender].ready, []
        for measure in ("seconds", "processor_seconds"):
            seconds, ours = ([answer[measure] for answer in each] for each in (answers, rounds[OURS]))
            ratio = median(theirs / our for theirs, our in zip(seconds, ours, strict=True))
            cells.append(f"{1e3 * median(seconds):.1f} ({1e3 * min(seconds):.1f}) | {ratio:.2f}")
        memory = answers[-1]["peak_mb"] - ready["before_mb"]
        say(f"| {contender.label} {ready['version']} | {' | '.join(cells)} | {ready['loss']:.4f} | {memory:.0f} |")
    for contender, reason in refused.items():
        say(f"| {contender.label} | – | – | – | {reason} |")
