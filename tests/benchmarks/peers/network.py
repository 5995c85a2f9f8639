"""What a peer is given: a network of layers, and input spikes, in one .npz file that needs NumPy alone to read.

Imported by the host and, in its own environment (Python 3.9 or later), by each peer.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

KEEP = 15  # in sixteenths: what a step leaves of v, 1 - decay_v / 4096 with decay_v = 256


@dataclass(frozen=True)
class Layer:
    """Weighted sum → LIF without a current → (sum pooling by 2 of its spikes).

    v ← trunc(v · 15 / 16) + 64 · x;  a spike where v > threshold, which resets v to 0.

    Parameters
    ----------
    weight : ndarray of int8
        (out, in), or (out, in, height, width) of a convolution with stride 1.
    threshold : int
        In units of v.
    padding : int
        Of the convolution.
    pool : bool
        Whether the spikes are summed over windows of 2 × 2 (a last odd row or column falls away).
    """

    weight: np.ndarray
    threshold: int
    padding: int = 0
    pool: bool = False

    @property
    def is_conv(self) -> bool:
        return self.weight.ndim == 4


@dataclass(frozen=True)
class Network:
    """A chain of layers and input spikes, uint8 (T, N, *shape); batch sizes that a peer may try."""

    layers: list[Layer]
    spikes: np.ndarray
    batches: list[int]

    @property
    def n_steps(self) -> int:
        return len(self.spikes)

    @property
    def n_samples(self) -> int:
        return self.spikes.shape[1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.spikes.shape[2:]

    def shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of each layer's population."""
        shape, shapes = self.input_shape, []
        for layer in self.layers:
            if layer.is_conv:
                grown = (n + 2 * layer.padding + 1 - layer.weight.shape[-1] for n in shape[1:])
                shape = (len(layer.weight), *grown)
            else:
                shape = (len(layer.weight),)
            shapes.append(shape)
            shape = (shape[0], shape[1] // 2, shape[2] // 2) if layer.pool else shape
        return shapes

    def folded_weights(self) -> list[np.ndarray]:
        """Return each layer's weights with the pooling before it folded in, exactly: for peers without sum pooling.

        A kernel of 3 behind a pool of 2 is a kernel of 6 with stride 2 and twice the padding.
        """
        weights, shapes = [], self.shapes()
        for i, layer in enumerate(self.layers):
            weight = layer.weight
            if i and self.layers[i - 1].pool:
                if layer.is_conv:
                    weight = weight.repeat(2, axis=2).repeat(2, axis=3)
                else:
                    channels, height, width = shapes[i - 1]
                    pooled = weight.reshape(-1, channels, height // 2, width // 2)
                    whole = np.zeros((len(weight), channels, height, width), weight.dtype)
                    whole[:, :, : height // 2 * 2, : width // 2 * 2] = pooled.repeat(2, axis=2).repeat(2, axis=3)
                    weight = whole.reshape(len(weight), -1)
            weights.append(weight)
        return weights

    def stride(self, i: int) -> int:
        """Return the stride of a convolution, and the factor of its padding, with the pooling before it folded in."""
        return 2 if i and self.layers[i - 1].pool else 1

    def synapses(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return source, target and weight of each synapse of a layer whose weight is not 0, pooling folded in."""
        weight, layer = self.folded_weights()[i], self.layers[i]
        if not layer.is_conv:
            target, source = np.nonzero(weight)
            return source, target, weight[target, source].astype(int)
        before, shape = [self.input_shape, *self.shapes()][i], self.shapes()[i]
        stride, index = self.stride(i), np.arange(np.prod(before)).reshape(before)
        rows, columns = np.indices(shape[1:])
        sources, targets, weights = [], [], []
        for (o, channel, r, c), w in np.ndenumerate(weight):
            y = rows * stride + r - layer.padding * stride
            x = columns * stride + c - layer.padding * stride
            inside = (y >= 0) & (y < before[1]) & (x >= 0) & (x < before[2]) & (w != 0)
            sources.append(index[channel][y[inside], x[inside]])
            targets.append(o * rows.size + np.flatnonzero(inside))
            weights.append(np.full(inside.sum(), int(w)))
        return np.concatenate(sources), np.concatenate(targets), np.concatenate(weights)

    def save(self, path: Path) -> None:
        fields = [{k: v for k, v in asdict(layer).items() if k != "weight"} for layer in self.layers]
        arrays = {f"weight_{i}": layer.weight for i, layer in enumerate(self.layers)}
        np.savez(path, about=json.dumps({"layers": fields, "batches": self.batches}), spikes=self.spikes, **arrays)

    @classmethod
    def load(cls, path: Path) -> Network:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            layers = [Layer(weight=file[f"weight_{i}"], **fields) for i, fields in enumerate(about["layers"])]
            return cls(layers, file["spikes"], about["batches"])
