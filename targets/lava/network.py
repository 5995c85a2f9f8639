"""The processes of a planned network in Lava, all stock. Needs nothing but lava-nc 0.10.0 and NumPy.

`build_lava` copies this file into a folder beside run.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
BUFFER = 64  # vectors that a recorder holds before its network waits for us


class NetworkError(Exception):
    """Lava would not compute what the plan says."""


def simulate(plan: Mapping[str, Any], arrays: Arrays, rasters: Arrays, *, states: bool) -> dict[str, Array]:
    """Run a plan. Lava forks from this process; call from under `if __name__ == "__main__"`.

    Parameters
    ----------
    plan, arrays
        What `load_plan` returns.
    rasters : mapping of input name → ndarray of int (T, B, *shape)
    states : bool
        Also record u and v.

    Returns
    -------
    dict
        `NAME/s` (bool), `NAME/u`, `NAME/v` (int32), each (T, B, *shape), step 0 where the population's sample starts.
    """
    n_steps, period, n_samples = plan["n_steps"], plan["period"], next(iter(rasters.values())).shape[1]
    network = LavaNetwork(plan, arrays, rasters, states=states)
    traces = network.run()
    network.stop()  # not after an error: it would wait for processes that may be gone; whoever started us ends them
    result = {}
    for (name, variable), trace in traces.items():
        population = plan["populations"][name]
        steps = population["start_step"] + period * np.arange(n_samples) + np.arange(n_steps)[:, None]
        result[f"{name}/{variable}"] = trace[steps].reshape(n_steps, n_samples, *population["shape"])
    return result


class LavaNetwork:
    """The processes of a plan, and a recorder for each variable: `Extractor` for spikes, `VarWire` for u and v.

    Both hand over one vector a step while the network runs; `Monitor` and `Var.get` hand over number by number.
    """

    def __init__(self, plan: Mapping[str, Any], arrays: Arrays, rasters: Arrays, *, states: bool) -> None:
        from lava.proc.io.extractor import Extractor, VarWire

        self.plan, self.arrays = plan, arrays
        self.n_samples = next(iter(rasters.values())).shape[1]
        self.n_total = plan["period"] * self.n_samples + (plan["depth"] if plan["streamed"] else 0)
        self.lifs = {name: self._population(name) for name in plan["populations"]}
        outputs = {name: self._source(rasters[name]).s_out for name, node in plan["inputs"].items() if node["used"]}
        outputs |= {name: lif.s_out for name, lif in self.lifs.items()}
        self.synapses = {name: self._synapses(name) for name in plan["projections"]}
        for name, projection in plan["projections"].items():
            outputs[projection["source"]].connect(self.synapses[name].s_in)
            self.synapses[name].a_out.connect(self.lifs[projection["target"]].a_in)

        self.recorders: dict[tuple[str, str], Any] = {}
        for name, lif in self.lifs.items():
            self.recorders[name, "s"] = Extractor(shape=lif.s_out.shape, buffer_size=BUFFER)
            lif.s_out.connect(self.recorders[name, "s"].in_port)
            for variable in ("u", "v") if states else ():
                self.recorders[name, variable] = VarWire(buffer_size=BUFFER)
                self.recorders[name, variable].connect_var(getattr(lif, variable))
        self.first = next(iter(self.lifs.values()))  # Lava runs whatever is connected to it

    def _source(self, raster: Array) -> Any:
        from lava.proc.io.source import RingBuffer

        n_steps, period = self.plan["n_steps"], self.plan["period"]
        data = np.zeros((int(np.prod(raster.shape[2:])), self.n_total), np.int32)
        for sample in range(self.n_samples):
            data[:, sample * period : sample * period + n_steps] = raster[:, sample].reshape(n_steps, -1).T
        return RingBuffer(data=data)

    def _population(self, name: str) -> Any:
        from lava.proc.lif.process import LIFReset

        population, bias_mant = self.plan["populations"][name], self.arrays[f"bias_mant/{name}"]
        if not self.plan["streamed"] and population["start_step"] > 0:
            bias_mant = 0 * bias_mant  # until `_clear_or_start`
        return LIFReset(
            shape=bias_mant.shape,
            du=population["du"],
            dv=population["dv"],
            vth=population["vth"],
            bias_mant=bias_mant,
            bias_exp=self.arrays[f"bias_exp/{name}"],
            reset_interval=self.plan["period"],
            reset_offset=population["reset_offset"],
        )

    def _synapses(self, name: str) -> Any:
        from lava.proc.dense.process import DelayDense, Dense
        from lava.utils.weightutils import SignMode, clip_weights, truncate_weights

        projection, weight = self.plan["projections"][name], self.arrays[f"weight/{name}"].astype(np.int32)
        sign_mode = SignMode[projection["sign_mode"]]
        held = truncate_weights(clip_weights(weight, sign_mode, num_bits=8), sign_mode, 8)
        if not np.array_equal(held, weight):
            raise NetworkError(f"{name}: Lava would change {int((held != weight).sum())} of its weights; build it anew")
        options = {"weights": weight, "weight_exp": projection["weight_exp"], "sign_mode": sign_mode}
        options["num_message_bits"] = projection["num_message_bits"]
        if projection["delay_steps"] == 1:  # the step that every Dense takes
            return Dense(**options)
        return DelayDense(delays=np.full(weight.shape, projection["delay_steps"] - 1), **options)

    def run(self) -> dict[tuple[str, str], Array]:
        """Run all samples; returns arrays (steps, neurons) in the time of the network."""
        self.first.create_runtime(_run_configuration())
        traces = {key: np.zeros((self.n_total, *self.lifs[key[0]].s_out.shape), np.int32) for key in self.recorders}
        starts = {0, self.n_total}
        if not self.plan["streamed"]:
            own = {0, *(population["start_step"] for population in self.plan["populations"].values())}
            starts |= {sample * self.plan["period"] + step for sample in range(self.n_samples) for step in own}
        for start, end in itertools.pairwise(sorted(starts)):
            self._piece(start, end, traces)
        return {key: trace != 0 if key[1] == "s" else trace for key, trace in traces.items()}

    def _piece(self, start: int, end: int, traces: dict[tuple[str, str], Array]) -> None:
        from lava.magma.core.run_conditions import RunSteps

        if start > 0:
            self._clear_or_start(start)
        self.first.run(RunSteps(num_steps=end - start, blocking=False))
        for t in range(start, end):
            for key, recorder in self.recorders.items():
                traces[key][t] = recorder.receive()
        self.first.wait()

    def _clear_or_start(self, start: int) -> None:
        # Between samples u and v are cleared by reset_interval; what is on its way through the synapses, and the
        # biases, are not. A bias waits for its population's start, or an early spike would still be on its way then.
        step = start % self.plan["period"]
        if step == 0:
            for synapses in self.synapses.values():
                synapses.a_buff.set(np.zeros(synapses.a_buff.shape))
        for name, population in self.plan["populations"].items():
            bias_mant, start_step = self.arrays[f"bias_mant/{name}"], population["start_step"]
            if start_step > 0 and bias_mant.any() and step in (0, start_step):
                self.lifs[name].bias_mant.set(bias_mant if step == start_step else 0 * bias_mant)

    def stop(self) -> None:
        """End Lava's processes, and the memory manager that each VarWire started for itself."""
        if self.first.runtime is not None:
            self.first.stop()
        for (_, variable), recorder in self.recorders.items():
            if variable != "s":
                recorder._multi_processing.stop()


def _run_configuration() -> Any:
    # Each model by name: no tag fits all. "fixed_pt" is unknown to Extractor, "bit_accurate_loihi" to RingBuffer too.
    from lava.magma.core.run_configs import Loihi1SimCfg
    from lava.proc.dense import models as dense
    from lava.proc.dense.process import DelayDense, Dense
    from lava.proc.io import extractor, source
    from lava.proc.lif import models as lif
    from lava.proc.lif.process import LIFReset

    models = {
        source.RingBuffer: source.PySendModelFixed,
        Dense: dense.PyDenseModelBitAcc,
        DelayDense: dense.PyDelayDenseModelBitAcc,
        LIFReset: lif.PyLifResetModelBitAcc,
        extractor.Extractor: extractor.PyLoihiExtractorModel,
        extractor.VarWire: extractor.PyLoihiVarWireModel,
    }
    return Loihi1SimCfg(select_tag="fixed_pt", exception_proc_model_map=models)
