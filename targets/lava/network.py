"""The processes of a planned network in Lava. Needs nothing but lava-nc 0.10.0, NumPy and SciPy.

Import after `_compat.make_importable`. `build_lava` copies this file into a folder, beside run.py.
"""

from __future__ import annotations

import itertools
import mmap
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi1SimCfg, Loihi2SimCfg
from lava.magma.runtime.message_infrastructure import multiprocessing as lava_processes
from lava.proc.dense import models as dense_models
from lava.proc.dense.process import DelayDense, Dense
from lava.proc.io import source
from lava.proc.lif.process import LIFReset
from lava.proc.sparse import models as sparse_models
from lava.proc.sparse.process import DelaySparse, Sparse
from lava.utils.weightutils import SignMode, clip_weights, truncate_weights
from scipy.sparse import csr_matrix

from spikegraph.targets.lava import processes, session

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

# Each model by name: no tag fits all. "fixed_pt" is unknown to some processes, "bit_accurate_loihi" to others.
MODELS = {
    source.RingBuffer: source.PySendModelFixed,
    Dense: dense_models.PyDenseModelBitAcc,
    DelayDense: dense_models.PyDelayDenseModelBitAcc,
    Sparse: sparse_models.PySparseModelBitAcc,
    DelaySparse: sparse_models.PyDelaySparseModelBitAcc,
    LIFReset: processes.LIFResetModel,
    processes.Neurons: processes.NeuronsModel,
    processes.Synapses: processes.SynapsesModel,
}
SIMULATORS = {"Loihi1SimCfg": Loihi1SimCfg, "Loihi2SimCfg": Loihi2SimCfg}


class _Telling(lava_processes.SystemProcess):  # type: ignore[misc]
    """A process of Lava's that says what ended it; else its parent alone would know, were it to wait for it."""

    def run(self) -> None:
        target = self._target  # type: ignore[has-type]

        def telling(*args: Any, **kwargs: Any) -> None:
            try:
                target(*args, **kwargs)
            except Exception as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
                raise

        self._target = telling
        super().run()


class NetworkError(Exception):
    """Lava would not compute what the plan says."""


class Trace:
    """What a population computed in each step of the network, in memory that forked processes share.

    Parameters
    ----------
    n_total : int
        Steps of the network.
    n : int
        Neurons.
    """

    def __init__(self, n_total: int, n: int) -> None:
        size = n_total * n
        shared = mmap.mmap(-1, 9 * size)  # a process writes what ours reads, without a channel for every number
        self.u = np.frombuffer(shared, np.int32, size).reshape(n_total, n)
        self.v = np.frombuffer(shared, np.int32, size, 4 * size).reshape(n_total, n)
        self.s = np.frombuffer(shared, np.uint8, size, 8 * size).reshape(n_total, n)

    def put(self, t: int, s: Array, u: Array, v: Array) -> None:
        """Write down one step."""
        self.s[t], self.u[t], self.v[t] = s, u, v


def simulate(
    plan: Mapping[str, Any], arrays: Arrays, rasters: Arrays, leader: session.Leader
) -> dict[str, dict[str, Array]]:
    """Run a plan. Lava forks from this process; call from under `if __name__ == "__main__"`.

    Parameters
    ----------
    plan, arrays
        What `load_plan` returns.
    rasters : mapping of input name → ndarray of int (T, B, *shape)
    leader : Leader
        Told when Lava's processes must live, and when they may end.

    Returns
    -------
    dict of population → {"s": uint8, "u": int32, "v": int32}
        Each (T, B, *shape), step 0 where the population's sample starts; v after reset.
    """
    n_steps, n_samples = plan["n_steps"], next(iter(rasters.values())).shape[1]
    steps = plan["period"] * np.arange(n_samples) + np.arange(n_steps)[:, None]
    result: dict[str, dict[str, Array]] = {}
    for part in plan["parts"]:
        network = LavaNetwork(_part(plan, part), arrays, rasters)
        network.run(leader)
        for name, trace in network.traces.items():
            node = plan["populations"][name]
            at, shape = node["start_step"] + steps, (n_steps, n_samples, *node["shape"])
            result[name] = {variable: getattr(trace, variable)[at].reshape(shape) for variable in ("s", "u", "v")}
    return result


def _part(plan: Mapping[str, Any], populations: Sequence[str]) -> dict[str, Any]:
    # Lava runs whatever is connected to a process, and nothing else.
    projections = {name: p for name, p in plan["projections"].items() if p["target"] in populations}
    sources = {p["source"] for p in projections.values()}
    return {
        **plan,
        "inputs": {name: node for name, node in plan["inputs"].items() if name in sources},
        "populations": {name: plan["populations"][name] for name in populations},
        "projections": projections,
    }


class LavaNetwork:
    """The processes of a plan, all connected, and a `Trace` of each population."""

    def __init__(self, plan: Mapping[str, Any], arrays: Arrays, rasters: Arrays) -> None:
        self.plan, self.arrays = plan, arrays
        self.n_samples = next(iter(rasters.values())).shape[1]
        self.n_total = plan["period"] * self.n_samples + (plan["depth"] if plan["streamed"] else 0)
        self.traces = {name: Trace(self.n_total, _size(node)) for name, node in plan["populations"].items()}
        self.neurons = {name: self._population(name) for name in plan["populations"]}
        outputs = {name: self._source(rasters[name]).s_out for name in plan["inputs"]}
        outputs |= {name: neurons.s_out for name, neurons in self.neurons.items()}
        self.synapses = {name: self._synapses(name) for name in plan["projections"]}
        for name, projection in plan["projections"].items():
            self._connect(projection, outputs[projection["source"]], self.synapses[name])
        self.first = next(iter(self.neurons.values()))
        self.processes = [*(output.process for output in outputs.values()), *self.synapses.values()]

    def _connect(self, projection: Mapping[str, Any], s_out: Any, synapses: Any) -> None:
        a_in = self.neurons[projection["target"]].a_in
        if projection["process"] != "Conv":
            s_out.connect(synapses.s_in)
            synapses.a_out.connect(a_in)
            return
        # Lava's images are (w, h, c); neurons are numbered in the order of (c, h, w).
        s_out.reshape(tuple(projection["source_shape"])).transpose((2, 1, 0)).connect(synapses.s_in)
        synapses.a_out.transpose((2, 1, 0)).flatten().connect(a_in)

    def _source(self, raster: Array) -> Any:
        n_steps, period = self.plan["n_steps"], self.plan["period"]
        data = np.zeros((int(np.prod(raster.shape[2:])), self.n_total), np.int32)
        for sample in range(self.n_samples):
            data[:, sample * period : sample * period + n_steps] = raster[:, sample].reshape(n_steps, -1).T
        return source.RingBuffer(data=data)

    def _population(self, name: str) -> Any:
        node = self.plan["populations"][name]
        values = {parameter: self.arrays[f"{parameter}/{name}"] for parameter in node["arrays"]}
        timing = {"reset_interval": self.plan["period"], "reset_offset": node["reset_offset"]}
        if node["process"] == "Neurons":
            return processes.Neurons(name=name, trace=self.traces[name], **values, **timing, **node["options"])
        if not self.plan["streamed"] and node["start_step"] > 0:
            values["bias_mant"] = 0 * values["bias_mant"]  # until `_clear_or_start`
        neurons = LIFReset(name=name, shape=values["bias_mant"].shape, **values, **timing, **node["options"])
        neurons.proc_params["trace"] = self.traces[name]
        return neurons

    def _synapses(self, name: str) -> Any:
        p = self.plan["projections"][name]
        process, options, shape = p["process"], p["options"], p.get("matrix_shape")
        values = {part: self.arrays[f"{part}/{name}"] for part in p["arrays"]}
        if process == "Synapses":
            return processes.Synapses(name=name, weights={**p["weights"], **values}, **options)
        sparse = "indptr" in values
        weight: Any = _matrix(values, shape) if sparse else values["weight"].astype(np.int32)
        sign_mode = SignMode[p["sign_mode"]]
        _require_kept(name, weight, sign_mode)
        if process == "Conv":
            flipped = weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)  # Lava's is a convolution in the strict sense
            return _convolution().Conv(
                name=name, weight=flipped, **{key: _tuple(value) for key, value in options.items()}
            )
        options = {"name": name, "weights": weight, "sign_mode": sign_mode, **options}
        delay = p["delay_steps"] - 1  # the step that every process takes
        if process == "DelayDense":
            return DelayDense(delays=np.full(weight.shape, delay), **options)
        if process == "DelaySparse":
            delays = csr_matrix((np.full(weight.nnz, delay), weight.indices, weight.indptr), weight.shape)
            return DelaySparse(delays=delays, **options)
        return (Sparse if sparse else Dense)(**options)

    def run(self, leader: session.Leader) -> None:
        """Run all samples and end Lava's processes."""
        simulator = SIMULATORS[self.plan["simulator"]]
        # Keyed by the process itself. By its class it would do as well, but Lava would first run every file of the
        # folder that the class is in, in search of models.
        models = {process: _model(process) for process in self.processes}
        starts = {0, self.n_total}
        if not self.plan["streamed"]:
            own = {0, *(node["start_step"] for node in self.plan["populations"].values())}
            starts |= {sample * self.plan["period"] + step for sample in range(self.n_samples) for step in own}
        lava_processes.SystemProcess = _Telling
        with leader.children_must_live():
            self.first.create_runtime(simulator(exception_proc_model_map=models))
            for start, end in itertools.pairwise(sorted(starts)):
                if start > 0:
                    self._clear_or_start(start)
                self.first.run(RunSteps(num_steps=end - start))
        self.first.stop()  # not after an error: it would wait for processes that may be gone; `session` ends them

    def _clear_or_start(self, start: int) -> None:
        # Between samples u and v are cleared by reset_interval; what is on its way through the synapses, and the
        # biases, are not. A bias waits for its population's start, or an early spike would still be on its way then.
        step = start % self.plan["period"]
        if step == 0:
            for synapses in self.synapses.values():
                buffer = getattr(synapses, "a_buff", None) or synapses.a_buf  # a Conv has the latter
                buffer.set(np.zeros(buffer.shape))
        for name, node in self.plan["populations"].items():
            bias_mant, start_step = self.arrays[f"bias_mant/{name}"], node["start_step"]
            if start_step > 0 and bias_mant.any() and step in (0, start_step):
                self.neurons[name].bias_mant.set(bias_mant if step == start_step else 0 * bias_mant)


def _model(process: Any) -> Any:
    return MODELS[type(process)] if type(process) in MODELS else _convolution().ConvModel


def _convolution() -> Any:
    from spikegraph.targets.lava import convolution

    return convolution


def _size(node: Mapping[str, Any]) -> int:
    return int(np.prod(node["shape"]))


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _matrix(values: Arrays, shape: Any) -> Any:
    return csr_matrix((values["data"].astype(np.int32), values["indices"], values["indptr"]), shape=tuple(shape))


def _require_kept(name: str, weight: Any, sign_mode: SignMode) -> None:
    held = truncate_weights(clip_weights(weight, sign_mode, num_bits=8), sign_mode, 8)
    changed = held != weight
    n_changed = int(changed.nnz if hasattr(changed, "nnz") else changed.sum())
    if n_changed:
        raise NetworkError(f"{name}: Lava would change {n_changed} of its weights; build it anew")
