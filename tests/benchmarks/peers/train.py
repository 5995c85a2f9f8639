"""One way to train in a process of its own: `python -m peers.train CONTENDER VARIANT TASK`, in tests/benchmarks.

A contender is a module of this folder, `training_CONTENDER`, with

    build(task, variant) -> torch.nn.Module

from spikes (T, B, *shape) to the spikes of the output (T, B, n_classes). A step is forward, cross entropy of the spike
counts, backward and Adam, always of the same batch. Lines of JSON on standard output: {"ready": …} with the loss
before the first step, then for each line that comes in {"seconds", "processor_seconds", "loss", "peak_mb"}: of a step,
medians of a round.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import resource
import sys
import time
import traceback
from statistics import median

import torch
from peers.training_tasks import TASKS

ROUND_S = 2.0
LEARNING_RATE = 1e-4  # small: the rates, and so the work, stay as they are


class Training:
    def __init__(self, contender, variant, task):
        self.spikes, self.label = task.batch()
        self.model = contender.build(task, variant).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)

    def step(self):
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.model(self.spikes).sum(0), self.label)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def round(self):
        times, processor_times, begin = [], [], time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < ROUND_S:
            start, processor_start = time.perf_counter(), time.process_time()
            loss = self.step()
            times.append(time.perf_counter() - start)
            processor_times.append(time.process_time() - processor_start)
        seconds = {"seconds": median(times), "processor_seconds": median(processor_times)}
        return {**seconds, "loss": loss, "peak_mb": peak_mb()}


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(name, variant, task):
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**message):
        print(json.dumps(message), file=out, flush=True)

    try:
        contender = importlib.import_module(f"peers.training_{name}")
        before = peak_mb()
        training = Training(contender, variant, TASKS[task])
        loss = training.step()
        for _ in range(2):  # warm
            training.step()
        say(ready={"loss": loss, "before_mb": before, "version": importlib.metadata.version(name)})
        for _ in sys.stdin:
            say(**training.round())
    except Exception as error:
        traceback.print_exc()
        say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
