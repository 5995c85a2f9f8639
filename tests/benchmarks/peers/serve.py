"""One peer in a process of its own: `python -m peers.serve ADAPTER VARIANT NETWORK.npz`, in tests/benchmarks.

An adapter is a module of this folder with

    build(network, variant, batch) -> (prepare, run)

`prepare(spikes)` turns uint8 (T, batch, *shape) into what the peer likes best, and is not timed; `run(prepared)` is
timed and returns the output's spike counts (batch, n_out), or (counts, seconds) of a peer that times itself. Optional:
`PACKAGES`, the distributions whose versions are reported; `batches(network, variant)`, the batch sizes to try;
`SECONDS`, how long a round shall last, 0 for one batch.

Lines of JSON on standard output: {"ready": …} once the best batch size is found, or {"error": …}; then for each line
that comes in, one round: {"seconds", "samples", "seen", "counts"}. What a peer prints itself goes to standard error.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np
from peers.network import Network

ROUND_S = 1.0
TUNING_S = 60.0


def timed(run, prepared):
    """Return counts and seconds of one batch."""
    start = time.perf_counter()
    result = run(prepared)
    seconds = time.perf_counter() - start
    return result if isinstance(result, tuple) else (np.asarray(result), seconds)


class Peer:
    """An adapter at its best batch size."""

    def __init__(self, adapter, variant, network):
        self.adapter, self.variant, self.network = adapter, variant, network
        batches = adapter.batches(network, variant) if hasattr(adapter, "batches") else network.batches
        self.rates, begin = {}, time.perf_counter()
        for batch in batches:
            if self.rates and time.perf_counter() - begin > TUNING_S:
                break
            self.rates[batch] = self.rate(batch)
        self.batch = max(self.rates, key=self.rates.get)
        self.prepare, self.run = adapter.build(network, variant, self.batch)
        seconds = getattr(adapter, "SECONDS", ROUND_S)
        n_batches = max(1, round(seconds * self.rates[self.batch] / self.batch))
        starts = [i * self.batch % (network.n_samples - self.batch + 1) for i in range(n_batches)]
        self.samples = np.concatenate([np.arange(start, start + self.batch) for start in starts])
        self.prepared = [self.prepare(network.spikes[:, start : start + self.batch]) for start in starts]
        self.round()  # warm

    def rate(self, batch):
        """Samples a second: the best of a few batches after a first one."""
        prepare, run = self.adapter.build(self.network, self.variant, batch)
        prepared = prepare(self.network.spikes[:, :batch])
        timed(run, prepared)
        times = []
        while len(times) < 2 or (sum(times) < 0.5 and len(times) < 20):
            times.append(timed(run, prepared)[1])
        return batch / min(times)

    def round(self):
        results = [timed(self.run, prepared) for prepared in self.prepared]
        counts = np.zeros((self.network.n_samples, results[0][0].shape[-1]), int)
        counts[self.samples] = np.concatenate([counts for counts, _ in results])
        seen = np.unique(self.samples)
        return {
            "seconds": sum(seconds for _, seconds in results),
            "samples": len(self.samples),
            "seen": seen.tolist(),
            "counts": counts[seen].tolist(),
        }


def main(name, variant, path):
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**message):
        print(json.dumps(message), file=out, flush=True)

    try:
        adapter = importlib.import_module(f"peers.{name}")
        versions = {package: importlib.metadata.version(package) for package in getattr(adapter, "PACKAGES", [name])}
        peer = Peer(adapter, variant, Network.load(Path(path)))
        rates = {str(batch): rate for batch, rate in peer.rates.items()}
        say(ready={"batch": peer.batch, "rates": rates, "samples": len(peer.samples), "versions": versions})
        for _ in sys.stdin:
            say(**peer.round())
    except Exception as error:
        traceback.print_exc()
        say(error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
