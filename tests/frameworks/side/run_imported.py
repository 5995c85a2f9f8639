"""Run a NIR file with a framework's own importer.

`python -m side.run_imported FRAMEWORK GRAPH.nir SPIKES.npz OUT.npz` in tests/frameworks, with the Python of the
framework's own environment. SPIKES.npz holds x (T, B, …); OUT.npz gets s (T, B, …) or, where the importer raises, the
error.
"""

from __future__ import annotations

import importlib
import sys
import traceback

import nir
import numpy as np
import torch


def main(framework, graph, spikes, out):
    torch.set_num_threads(1)
    networks = importlib.import_module(f"side.{framework}_networks")
    try:
        with torch.no_grad():
            s = networks.imported(nir.read(graph), torch.from_numpy(np.load(spikes)["x"]).float())
        np.savez_compressed(out, s=s.numpy())
    except Exception as error:
        traceback.print_exc()
        np.savez_compressed(out, error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
