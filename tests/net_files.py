"""Small `.net` files for tests, written as lava-dl writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

CUBA = {"type": "CUBA", "iDecay": 4096, "vDecay": 128, "vThMant": 25, "refDelay": 1, "gradedSpike": False}
LOIHI = {
    "type": "LOIHI",
    "iDecay": 1024,
    "vDecay": 128,
    "vThMant": 25,
    "refDelay": 1,
    "wgtExp": 0,
    "theta": 1600,
    "tauRho": 0.5,
    "scaleRho": 10.0,
}
Layer = Mapping[str, Any]


def dense(n_in: int, n_out: int, neuron: Mapping[str, Any] | None = CUBA, seed: int = 0, **members: Any) -> Layer:
    rng = np.random.default_rng(seed)
    layer = {
        "type": "dense",
        "shape": [n_out],
        "inFeatures": n_in,
        "outFeatures": n_out,
        "weight": 2.0 * rng.integers(-20, 30, (n_out, n_in)).astype(np.float32),
    }
    return {**layer, **({} if neuron is None else {"neuron": neuron}), **members}


def conv(source: Sequence[int], channels: int, kernel: int = 3, seed: int = 0, **members: Any) -> Layer:
    rng = np.random.default_rng(seed)
    height, width = (n - kernel + 1 for n in source[1:])
    return {
        "type": "conv",
        "shape": [channels, height, width],
        "inChannels": source[0],
        "outChannels": channels,
        "kernelSize": [kernel, kernel],
        "stride": [1, 1],
        "padding": [0, 0],
        "dilation": [1, 1],
        "groups": 1,
        "weight": 2.0 * rng.integers(-9, 12, (channels, source[0], kernel, kernel, 1)).astype(np.float32),
        "neuron": LOIHI,
        **members,
    }


def write_net(path: Path, layers: Sequence[Layer], simulation: Mapping[str, Any] | None = None) -> Path:
    with h5py.File(path, "w") as file:
        for i, layer in enumerate(layers):
            group = file.create_group(f"layer/{i}")
            for name, value in layer.items():
                if name == "type" and isinstance(value, str):
                    group.create_dataset("type", (1,), "S10", [value.encode()])
                elif isinstance(value, Mapping):
                    for parameter, number in value.items():
                        group.create_dataset(f"{name}/{parameter}", data=number)
                else:
                    group.create_dataset(name, data=value)
        for name, value in ({"Ts": 1, "tSample": 12} if simulation is None else simulation).items():
            file.create_dataset(f"simulation/{name}", data=value)
    return path
