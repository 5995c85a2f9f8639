"""Lava processes of our own, for what no stock process computes, and bit-accurate models for all that runs here.

Import after `_compat.make_importable`. `build_lava` copies this file into a folder, beside network.py.

    Neurons     any population of docs/semantics.md: parameters per neuron, any reset, refractory periods, spike limits
    Synapses    any projection: weights of 16 bits, any delay, convolution, sparse lists

Their models, and one that writes down what a stock `LIFReset` computes, are beneath.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import PyLifResetModelBitAcc
from scipy.sparse import csr_matrix

from spikegraph.export import fixed

Array = npt.NDArray[Any]
Sums = Callable[[Array], Array]
PARAMETERS = ("decay_u", "decay_v", "threshold", "bias")
STATES = ("u", "v", "held", "n_spikes")


class Neurons(AbstractProcess):  # type: ignore[misc]
    """A population: the step, reset, refractory period and spike limit of docs/semantics.md.

    Parameters
    ----------
    decay_u, decay_v, threshold, bias : ndarray of int64 (n,)
        Threshold and bias in the units of v.
    reset : "zero", "subtract" or "none"
    refractory_steps, max_spikes : int
    reset_interval, reset_offset : int
        All state is cleared in the steps that leave this remainder, counted from 1: as in Lava's LIFReset.
    """

    def __init__(self, *, name: str, **parameters: Any) -> None:
        super().__init__(name=name, **parameters)
        shape = parameters["bias"].shape
        self.a_in, self.s_out = InPort(shape=shape), OutPort(shape=shape)
        for parameter in PARAMETERS:
            setattr(self, parameter, Var(shape=shape, init=parameters[parameter]))
        for state in STATES:
            setattr(self, state, Var(shape=shape, init=0))


class Synapses(AbstractProcess):  # type: ignore[misc]
    """A projection: a weighted sum, shifted by the weight exponent, that is sent some steps later.

    Parameters
    ----------
    n_source, n_target : int
    weights : mapping
        See `weighted_sums`.
    weight_exp : int
    delay_steps : int, at least 1
        Steps between a spike and its arrival.
    n_steps, start_step, late_steps : int
        Samples of `n_steps` follow each other, the first from `start_step` on, in the source's time. A spike of one
        of the last `late_steps` of them would arrive after the end of its sample, so it arrives nowhere.
    """

    def __init__(self, *, name: str, n_source: int, n_target: int, **parameters: Any) -> None:
        super().__init__(name=name, n_target=n_target, **parameters)
        self.s_in, self.a_out = InPort(shape=(n_source,)), OutPort(shape=(n_target,))


def weighted_sums(weights: Mapping[str, Any]) -> Sums:
    """Return the function from spikes (n_source,) to weighted sums (n_target,), both of int64.

    Parameters
    ----------
    weights : mapping
        "form" is one of
        "matrix": "weight" (out, in);
        "sparse": "data", "indices", "indptr" of a CSR matrix of "shape" (out, in);
        "window": "weight" (out, in / groups, height, width), "source" (c, h, w), "target" (c, h, w), "stride",
        "padding", "dilation", "groups", as in PyTorch.
    """
    if weights["form"] == "matrix":
        matrix = weights["weight"].astype(np.float64)  # exact below 2^53, and far faster than int64
        return lambda s: (matrix @ s).astype(np.int64)
    if weights["form"] == "sparse":
        lists = weights["data"].astype(np.int64), weights["indices"], weights["indptr"]
        sparse = csr_matrix(lists, shape=weights["shape"])
        return lambda s: np.asarray(sparse @ s)
    groups = weights["groups"]
    kernel = weights["weight"].astype(np.float64).reshape(groups, len(weights["weight"]) // groups, -1)
    seen = _seen(weights).reshape(groups, kernel.shape[2], -1)
    return lambda s: (kernel @ np.append(s, 0)[seen]).astype(np.int64).reshape(-1)


def _seen(weights: Mapping[str, Any]) -> Array:
    """Return the source neuron under each tap (in, kernel_h, kernel_w, out_h, out_w); in the padding, one too many."""
    source, (rows, columns) = weights["source"], weights["target"][1:]
    kernel = weights["weight"].shape[2:]
    (pad_h, pad_w), (stride_h, stride_w), (wide_h, wide_w) = (weights[k] for k in ("padding", "stride", "dilation"))
    numbers = np.arange(np.prod(source)).reshape(source)
    numbers = np.pad(numbers, ((0, 0), (pad_h, pad_h), (pad_w, pad_w)), constant_values=numbers.size)
    row = np.arange(kernel[0])[:, None] * wide_h + np.arange(rows) * stride_h
    column = np.arange(kernel[1])[:, None] * wide_w + np.arange(columns) * stride_w
    return np.asarray(numbers[:, row[:, None, :, None], column[None, :, None, :]])


@implements(proc=Neurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class NeuronsModel(PyLoihiProcessModel):  # type: ignore[misc]
    """`Neurons` on a CPU, bit for bit."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int64)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    decay_u: Array = LavaPyType(np.ndarray, np.int64)
    decay_v: Array = LavaPyType(np.ndarray, np.int64)
    threshold: Array = LavaPyType(np.ndarray, np.int64)
    bias: Array = LavaPyType(np.ndarray, np.int64)
    u: Array = LavaPyType(np.ndarray, np.int64)
    v: Array = LavaPyType(np.ndarray, np.int64)
    held: Array = LavaPyType(np.ndarray, np.int64)
    n_spikes: Array = LavaPyType(np.ndarray, np.int64)

    def run_spk(self) -> None:
        """Compute one step."""
        parameters = self.proc_params
        x = self.a_in.recv()
        if self.time_step % parameters["reset_interval"] == parameters["reset_offset"]:
            for state in STATES:
                getattr(self, state)[:] = 0
        self.u[:] = fixed.wrap24(fixed.decay(self.u, self.decay_u) + (x << fixed.ALIGN_BITS))
        v = fixed.saturate24(fixed.decay(self.v, self.decay_v) + self.u + self.bias)
        v[self.held > 0] = 0
        s = v > self.threshold
        if parameters["reset"] != "none":
            v -= s * (v if parameters["reset"] == "zero" else self.threshold)
        self.v[:] = v
        self.held[:] = np.where(s, parameters["refractory_steps"] - 1, np.maximum(self.held - 1, 0))
        if parameters["max_spikes"]:
            self.n_spikes += s
            self.held[self.n_spikes >= parameters["max_spikes"]] = parameters["reset_interval"]
        self.s_out.send(s)
        parameters["trace"].put(self.time_step - 1, s, self.u, self.v)


@implements(proc=Synapses, protocol=LoihiProtocol)
@requires(CPU)
@tag("bit_accurate_loihi", "fixed_pt")
class SynapsesModel(PyLoihiProcessModel):  # type: ignore[misc]
    """`Synapses` on a CPU, bit for bit."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.sums = weighted_sums(proc_params["weights"])
        self.on_their_way = np.zeros((proc_params["delay_steps"], proc_params["n_target"]), np.int64)

    def run_spk(self) -> None:
        """Send what is due, then take up what arrives: in this order, so that loops do not wait for themselves."""
        parameters, t = self.proc_params, self.time_step - 1
        due = self.on_their_way[t % parameters["delay_steps"]]
        self.a_out.send(due)
        s = self.s_in.recv()
        step = (t - parameters["start_step"]) % parameters["n_steps"]
        late = step >= parameters["n_steps"] - parameters["late_steps"]
        due[:] = 0 if late else fixed.shift(self.sums(s.astype(np.int64)), parameters["weight_exp"])


class LIFResetModel(PyLifResetModelBitAcc):  # type: ignore[misc]
    """Lava's own model of `LIFReset`; what it computes is also written down."""

    def spiking_activation(self) -> Any:
        """Return the neurons that fire."""
        self.fired = super().spiking_activation()
        return self.fired

    def run_spk(self) -> None:
        """Compute one step."""
        super().run_spk()
        self.proc_params["trace"].put(self.time_step - 1, self.fired, self.u, self.v)
