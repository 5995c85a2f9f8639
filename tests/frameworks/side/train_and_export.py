"""Train one framework's networks and write what it computes, and what its exporter makes of them.

`python -m side.train_and_export FRAMEWORK OUT [NAME …]` in tests/frameworks, with the Python of the framework's own
environment. For each network: OUT/NAME.nir by the framework's exporter; OUT/NAME.npz with test spikes, labels and the
spikes and potentials of every layer; OUT/NAME.json with versions, accuracy, seconds, and the exporter's error if any.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import time
import traceback
from pathlib import Path

import nir
import numpy as np
import torch
from side import digits, training

EPOCHS = 8
RATE = 4e-3


def make(framework, name, out):
    build, shape = framework.NETWORKS[name]
    torch.manual_seed(digits.SEED)
    network, begin = build(), time.perf_counter()
    training.train(network, shape, EPOCHS, RATE)
    seconds = time.perf_counter() - begin
    spikes, labels, traces, accuracy = training.tested(network, shape)
    arrays = {"x": spikes.numpy().astype(np.uint8), "labels": labels.numpy()}
    for layer, (s, v) in traces.items():
        arrays[f"s.{layer}"], arrays[f"v.{layer}"] = s.numpy().astype(np.uint8), v.numpy()
    np.savez_compressed(out / f"{name}.npz", **arrays)
    told = {
        "versions": {package: importlib.metadata.version(package) for package in framework.PACKAGES},
        "accuracy": accuracy,
        "seconds": seconds,
        "layers": list(traces),
        "spikes_per_sample": {layer: float(s.sum() / s.shape[1]) for layer, (s, _) in traces.items()},
    }
    try:
        nir.write(str(out / f"{name}.nir"), network.export(shape))
    except Exception as error:
        traceback.print_exc()
        told["export_error"] = f"{type(error).__name__}: {error}"
    (out / f"{name}.json").write_text(json.dumps(told))


def main(framework, out, *names):
    torch.set_num_threads(1)
    networks = importlib.import_module(f"side.{framework}_networks")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or networks.NETWORKS:
        make(networks, name, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
