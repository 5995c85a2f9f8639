"""The layers of a network as a line of text, such as "32c5 mp2 64c5 mp2 do0.5 256". Needs no torch."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from spikegraph.export.connectivity import Shape
from spikegraph.export.errors import RecipeError

MOST_WEIGHTS = 1 << 29  # 16 bytes of each in training (itself, its gradient, two moments of Adam's): 8 GiB
MOST_NEURONS = 1 << 26  # 4 bytes of each for every step of every sample: 256 MiB

_WORD = re.compile(
    r"(?P<n>\d+)(?P<kind>c|r|rec)?(?P<k>\d+)?(/(?P<stride>\d+))?|(?P<pool>mp|ap)(?P<size>\d+)|do(?P<p>0?\.\d+)"
)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One word of an architecture.

    Attributes
    ----------
    kind : "conv", "residual", "dense", "recurrent", "maxpool", "avgpool" or "dropout"
    n : int
        Channels or neurons.
    kernel, stride : int
    p : float
        For dropout: the share that is dropped.
    """

    kind: str
    n: int = 0
    kernel: int = 1
    stride: int = 1
    p: float = 0.0


def parse(text: str) -> list[Layer]:
    """Read an architecture.

    - `32c5`: convolution with 32 channels and a 5 x 5 kernel, which is odd, so that the padding (2 on each side) keeps
      the image's size; `32c5/2`: with stride 2;
    - `64r`, `64r/2`: a residual block of two 3 x 3 convolutions (a 1 x 1 convolution beside where the shape changes);
    - `mp2`, `ap2`: max pooling of spikes, average pooling;
    - `512`, `512rec`: dense, and with recurrent synapses;
    - `do0.5`: dropout.

    Neurons follow every convolution and dense layer; so does a batch norm every convolution, if the recipe asks for it.

    Raises
    ------
    ValueError
        A word is none of these, a number in it is too large, a kernel is even, or a convolution or pooling follows a
        dense layer.
    """
    layers = []
    for word in text.split():
        match = _WORD.fullmatch(word)
        if match is None or not _makes_sense(match):
            raise ValueError(f"{word!r} is no layer: use 32c5, 32c5/2, 64r, 64r/2, mp2, ap2, do0.5, 512 or 512rec")
        if any(int(match[name] or 0) > MOST_NEURONS for name in ("n", "k", "stride", "size")):
            raise ValueError(f"{word!r} is too large: no number may be above {MOST_NEURONS:,}")
        layers.append(layer := _layer(match))
        if layer.kind == "conv" and layer.kernel % 2 == 0:
            remedy = f"use {layer.n}c{layer.kernel - 1} or {layer.n}c{layer.kernel + 1}"
            raise ValueError(f"{word!r} has an even kernel, which no padding centres on a pixel: {remedy}")
        if layer.kind in _SPATIAL and any(before.kind in ("dense", "recurrent") for before in layers):
            raise ValueError(f"{word!r} follows a dense layer, which has no rows and columns")
    return layers


_SPATIAL = ("conv", "residual", "maxpool", "avgpool")
_KINDS = {None: "dense", "c": "conv", "r": "residual", "rec": "recurrent", "mp": "maxpool", "ap": "avgpool"}


def _makes_sense(match: re.Match[str]) -> bool:
    n, kind, k, stride = match["n"], match["kind"], match["k"], match["stride"]
    if match["pool"]:
        return int(match["size"]) >= 1
    if match["p"]:
        return 0 < float(match["p"]) < 1
    return (
        int(n) >= 1
        and ((k is not None and int(k) >= 1) == (kind == "c"))
        and (stride is None or (kind in ("c", "r") and int(stride) >= 1))
    )


def _layer(match: re.Match[str]) -> Layer:
    if match["pool"]:
        return Layer(kind=_KINDS[match["pool"]], kernel=int(match["size"]))
    if match["p"]:
        return Layer(kind="dropout", p=float(match["p"]))
    kernel, stride = int(match["k"] or 1), int(match["stride"] or 1)
    return Layer(kind=_KINDS[match["kind"]], n=int(match["n"]), kernel=kernel, stride=stride)


def reads_images(layers: Sequence[Layer]) -> bool:
    """Tell whether layers see the rows and columns of their input: a dense one never comes before one that does."""
    return any(layer.kind in _SPATIAL for layer in layers)


def shapes_of(layers: Sequence[Layer], input_shape: Shape, n_outputs: int) -> list[Shape]:
    """Return the shape behind each layer, and of the dense output last, before anything of that size is made.

    Parameters
    ----------
    input_shape : (n,) or (c, h, w)
    n_outputs : int

    Raises
    ------
    RecipeError
        A layer needs rows and columns that there are not, or leaves none; there are too many weights or neurons.
    """
    shapes, shape, n_weights, n_neurons = [], tuple(input_shape), 0, 0
    output = Layer(kind="dense", n=n_outputs)
    for layer, name in zip([*layers, output], [*names_of(layers), "output"], strict=True):
        if layer.kind in _SPATIAL and len(shape) != 3:
            what = f"{name} needs rows and columns, and samples of shape {shape} have none"
            raise RecipeError("network.layers", what, "use dense layers, such as 512")
        before, shape = shape, _shape_behind(layer, shape)
        if min(shape) < 1:
            raise RecipeError("network.layers", f"nothing is left of {tuple(input_shape)} after {name}", "pool less")
        n_weights += _weights(layer, before)
        n_neurons += {"residual": 2, "avgpool": 0, "dropout": 0}.get(layer.kind, 1) * math.prod(shape)
        for what, n, most in (("weights", n_weights, MOST_WEIGHTS), ("neurons", n_neurons, MOST_NEURONS)):
            if n > most:
                found = f"the network has {n:,} {what} up to {name}, and at most {most:,} are trained"
                raise RecipeError("network.layers", found, "use smaller layers, or pool before them")
        shapes.append(shape)
    return shapes


def _shape_behind(layer: Layer, shape: Shape) -> Shape:
    match layer.kind:
        case "conv":
            around = 2 * (layer.kernel // 2) - layer.kernel
            return (layer.n, *((size + around) // layer.stride + 1 for size in shape[1:]))
        case "residual":
            return (layer.n, *((size - 1) // layer.stride + 1 for size in shape[1:]))
        case "maxpool" | "avgpool":
            return (shape[0], *(size // layer.kernel for size in shape[1:]))
        case "dropout":
            return shape
    return (layer.n,)


def _weights(layer: Layer, before: Shape) -> int:
    n_in = before[0] if layer.kind in _SPATIAL else math.prod(before)
    skip = layer.n * n_in if layer.n != n_in or layer.stride != 1 else 0
    return {
        "conv": layer.n * n_in * layer.kernel**2,
        "residual": layer.n * (n_in + layer.n) * 9 + skip,
        "dense": layer.n * n_in,
        "recurrent": layer.n * (n_in + layer.n),
    }.get(layer.kind, 0)


def names_of(layers: Sequence[Layer]) -> list[str]:
    """Name layers by kind and number: conv1, pool1, hidden1, …; a hidden layer that is alone is "hidden"."""
    stems = {"conv": "conv", "residual": "block", "maxpool": "pool", "avgpool": "pool", "dropout": "dropout"}
    named, total = Counter[str](), Counter(stems.get(layer.kind, "hidden") for layer in layers)
    names = []
    for layer in layers:
        stem = stems.get(layer.kind, "hidden")
        named[stem] += 1
        names.append(stem if stem == "hidden" and total[stem] == 1 else f"{stem}{named[stem]}")
    return names
