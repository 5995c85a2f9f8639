"""One layer as it is written: its kind, and its members as lava-dl names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import h5py
import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Conv2d, OneToOne, Population, SumPool2d
from spikegraph.export.loss import Loss
from spikegraph.export.netx.neurons import BIAS_EXP, NEVER

_REMEDY = "save it as .h5"


@dataclass
class Layer:
    """A layer: `members` are numbers, arrays and, for neurons, a dict of these."""

    kind: str
    members: dict[str, Any]

    @classmethod
    def of_synapses(
        cls, where: str, kernel: Conv2d | SumPool2d | OneToOne | None, weight: Array, source: Shape, target: Shape
    ) -> Layer:
        """Return a layer with these synapses and no neurons yet."""
        values = weight.astype(np.float32)  # whole numbers below 2^24, which float32 holds
        if isinstance(kernel, Conv2d):
            window = {"stride": kernel.stride, "padding": kernel.padding, "dilation": kernel.dilation}
            sizes = {"inChannels": source[0], "outChannels": target[0], "kernelSize": weight.shape[2:]}
            return cls(
                "conv", {"shape": target, **sizes, **window, "groups": kernel.groups, "weight": values[..., None]}
            )
        if isinstance(kernel, SumPool2d):
            size = tuple(int(n) for n in np.broadcast_to(kernel.kernel_size, 2))
            pool = {"kernelSize": size, "stride": kernel.stride, "padding": kernel.padding, "dilation": (1, 1)}
            return cls("pool", {"shape": target, **pool, "weight": np.full((1, 1, *size), values, np.float32)})
        if kernel is not None:
            raise GraphError([Problem(where=where, what="is no layer of a .net file", remedy=_REMEDY)])
        sizes = {"inFeatures": prod(source), "outFeatures": prod(target)}
        return cls("dense", {"shape": [prod(target)], **sizes, "weight": values})

    def write(self, group: h5py.Group) -> None:
        """Write the layer in a group of a file."""
        group.create_dataset("type", (1,), "S10", [self.kind.encode()])
        _write(group, self.members)


def _write(group: h5py.Group, members: Mapping[str, Any]) -> None:
    for name, value in members.items():
        if isinstance(value, Mapping):
            _write(group.create_group(name), value)
        else:
            group.create_dataset(name, data=value, track_times=False)


def in_a_row(population: Population) -> Population:
    """Return the same neurons as a vector."""
    rows: dict[str, Any] = {}
    for name in population.PARAMETERS:
        value = getattr(population, name)
        rows[name] = (
            np.repeat(value, population.n // len(value)) if value.ndim == 1 else value.reshape(-1 if value.ndim else ())
        )
    return replace(population, shape=(population.n,), **rows)


def neuron_members(name: str, population: Population, *, last: bool) -> tuple[dict[str, Any], list[Loss]]:
    """Return `neuron` and `bias` of a population.

    Raises
    ------
    GraphError
        With every rule that no layer of a `.net` file has.
    """
    where, losses, problems = f"population {name}", list[Loss](), []
    threshold = population.threshold_mant
    held = population.refractory_steps > 1 or population.max_spikes > 0
    silent = population.reset == "none" and not held and last and bool((threshold == NEVER - 1).all())
    if threshold.min() != threshold.max():
        n = len(np.unique(threshold))
        what = f"threshold_mant has {n} values, a layer has one"
        problems.append(Problem(where=where, what=what, remedy="fold thresholds into weights, or save it as .h5"))
    if population.reset != "zero" and not silent:
        what = f"reset = {population.reset!r}, a layer resets to zero"
        problems.append(Problem(where=where, what=what, remedy="train with that reset, or save it as .h5"))
    if population.max_spikes:
        what = f"max_spikes = {population.max_spikes}, a layer has no such limit"
        problems.append(Problem(where=where, what=what, remedy=_REMEDY))
    values = {}
    for parameter in ("decay_u", "decay_v"):
        values[parameter] = _per_channel(getattr(population, parameter), population.shape)
        if values[parameter] is None:
            what = f"{parameter} differs within a channel"
            problems.append(Problem(where=where, what=what, remedy=_REMEDY))
    mant, exp = (per_neuron(value, population.shape) for value in (population.bias_mant, population.bias_exp))
    bias = _per_channel(np.left_shift(mant, exp, dtype=np.int64), population.shape)
    if bias is None:
        problems.append(Problem(where=where, what="the bias differs within a channel", remedy=_REMEDY))
    if problems or bias is None:
        raise GraphError(problems)
    as_written = {**values, "threshold_mant": threshold.ravel()[0], "bias_mant": bias, "bias_exp": np.array(0)}
    for parameter, value in as_written.items():
        was = getattr(population, parameter).shape
        if value is not None and was != value.shape:
            what = f"held as {'one number' if value.ndim == 0 else 'one for each channel'}"
            losses.append(Loss(node=where, attribute=parameter, effect="none", what=what))
    neuron = {
        "type": "CUBA",
        "iDecay": values["decay_u"],
        "vDecay": values["decay_v"],
        "vThMant": NEVER if silent else threshold.ravel()[0].astype(np.int64),
        "refDelay": population.refractory_steps,
        "gradedSpike": False,
    }
    members: dict[str, Any] = {"neuron": neuron}
    if bias.any():
        members["bias"] = _mantissa(where, population, bias, losses)
    elif population.bias_exp.any():
        losses.append(Loss(node=where, attribute="bias_exp", effect="none", what="of a bias that is 0: read as 0"))
    return members, losses


def _mantissa(where: str, population: Population, bias: Array, losses: list[Loss]) -> Array:
    """Return a bias as a file has it, mantissa · 2^6, and say what that rounds or clips."""
    limits = fixed.BIAS_MANT
    mantissa = np.clip(np.rint(bias / (1 << BIAS_EXP)), limits.minimum, limits.maximum).astype(np.int64)
    error = int(np.abs((mantissa << BIAS_EXP) - bias).max())
    if error:
        what = f"rounded to multiples of {1 << BIAS_EXP} within {limits}, off by up to {error} in units of v"
        attribute = "bias_mant, bias_exp"
        losses.append(Loss(node=where, attribute=attribute, effect="approximated", what=what, error=error))
    elif (population.bias_exp != BIAS_EXP).any():
        what = f"a mantissa with the exponent {BIAS_EXP}"
        losses.append(Loss(node=where, attribute="bias_mant, bias_exp", effect="none", what=what))
    return np.atleast_1d(mantissa).astype(np.float32)


def _per_channel(value: Array, shape: Shape) -> Array | None:
    """Return one number, or one for each channel (each neuron of a vector); None if a channel has several."""
    value = value.astype(np.int64)
    if value.ndim == 0 or (value == value.ravel()[0]).all():
        return np.asarray(value.ravel()[0])
    if value.shape == shape[:1]:
        return value
    rows = value.reshape(shape[0], -1)
    return rows[:, 0] if (rows == rows[:, :1]).all() else None
