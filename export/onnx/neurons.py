"""The neuron of docs/semantics.md as ONNX nodes: one step of a population, in integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Population
from spikegraph.export.onnx.nodes import INT32, INT64, UINT8, Nodes, Operation
from spikegraph.export.onnx.ranges import NeuronRange, per_axis

_INT32_END = 1 << 31


def state_of(population: Population) -> list[str]:
    """Name what neurons remember from one step to the next: not u or v if all forget it at once."""
    remembered = {
        "u": (population.decay_u < fixed.DECAY_ONE).any(),
        "v": (population.decay_v < fixed.DECAY_ONE).any(),
        "held": population.refractory_steps > 1,
        "n_spikes": population.max_spikes > 0,
    }
    return [name for name, is_kept in remembered.items() if is_kept]


class NeuronStep:
    """The nodes of one step of one population.

    Parameters
    ----------
    nodes : Nodes
    name : str
        The population's.
    population : Population
    reach : NeuronRange
    last : mapping of state → value
        Each of `state_of` as the step before left it.
    """

    def __init__(
        self, nodes: Nodes, name: str, population: Population, reach: NeuronRange, last: Mapping[str, str]
    ) -> None:
        self.nodes, self.name, self.population, self.reach, self.last = nodes, name, population, reach, last

    def run(self, currents: Sequence[str]) -> dict[str, str]:
        """Add the nodes; return the values of u, v_before_reset, s, v, and of what else is remembered.

        Parameters
        ----------
        currents : sequence of str
            Values that add up to x << 6; none only if u is remembered.
        """
        u = self._u(currents)
        before_reset = self._v_before_reset(u)
        fired = self._add("Greater", before_reset, self._threshold(), "fired")
        spikes = self.nodes.cast(fired, UINT8, f"{self.name}/s")
        counted = self.nodes.cast(spikes, INT32, f"{self.name}/s/counted")
        values = {"u": u, "v_before_reset": before_reset, "s": spikes, "v": self._reset(before_reset, counted)}
        if "held" in self.last:
            less = self._add("Sub", self.last["held"], self._number(1), "held/less")
            waits = self._add("Max", less, self._number(0), "held/waits")
            pause = self._add("Mul", counted, self._number(self.population.refractory_steps - 1), "held/pause")
            values["held"] = self._add("Add", waits, pause, "held")  # who fires did not wait
        if "n_spikes" in self.last:
            values["n_spikes"] = self._add("Add", self.last["n_spikes"], counted, "n_spikes")
        return values

    def _u(self, currents: Sequence[str]) -> str:
        of, terms = self.reach.current_type, list(currents)
        if "u" in self.last:
            terms.append(self._decay("u", self.reach.u, of))
        operations = [self.nodes.then("Add", term) for term in terms[1:]]
        if self.reach.wraps:
            half, mask = self._number(fixed.STATE_HALF, of), self._number((1 << fixed.STATE_BITS) - 1, of)
            operations += [self._from(half), self.nodes.then("BitwiseAnd", mask, "wrap24"), self._from(half)]
        if of == INT64:
            operations.append(self.nodes.then_cast(INT32))
        return self.nodes.chain(terms[0], operations, f"{self.name}/u")

    def _v_before_reset(self, u: str) -> str:
        operations, bias = [], self._array("bias_mant") << self._array("bias_exp")
        if "v" in self.last:
            operations.append(self.nodes.then("Add", self._decay("v", self.reach.v, INT32)))
        if bias.any():
            operations.append(self.nodes.then("Add", self.nodes.array(bias, INT32, f"{self.name}/bias")))
        if self.reach.saturates:
            ends = [self._number(-fixed.STATE_MAX), self._number(fixed.STATE_MAX)]
            operations.append(lambda y, name: self.nodes.add("Clip", [y, *ends], name, "saturate24"))
        free = self._free()
        if free:
            operations.append(self.nodes.then("Mul", free, "0 where it is held"))
        return self.nodes.chain(u, operations, f"{self.name}/v_before_reset")

    def _free(self) -> str | None:
        """Return 1 where v integrates and 0 where it is held; None if it never is held."""
        free = []
        if "held" in self.last:
            free.append(self._add("Equal", self.last["held"], self._number(0), "rested"))
        if "n_spikes" in self.last:
            free.append(self._add("Less", self.last["n_spikes"], self._number(self.population.max_spikes), "may_fire"))
        if not free:
            return None
        both = free[0] if len(free) == 1 else self._add("And", *free, "both")
        return self.nodes.cast(both, INT32, f"{self.name}/integrates")

    def _reset(self, before_reset: str, counted: str) -> str:
        """Subtract from v what a spike takes: a product, because ONNX Runtime's Where takes three times as long."""
        if self.population.reset == "none":
            return self._add("Identity", before_reset, "v")
        whole = before_reset if self.population.reset == "zero" else self._threshold()
        return self._add("Sub", before_reset, self._add("Mul", counted, whole, "v/taken"), "v")

    def _decay(self, state: str, largest: int, to: int) -> str:
        """Multiply by (4096 - decay) / 4096 and round toward zero, as Div of integers does; in 32 bits if they suffice.

        Parameters
        ----------
        state : "u" or "v"
        largest : int
            Its largest magnitude.
        to : int
            ONNX type of the result.
        """
        keep = fixed.DECAY_ONE - self._array(f"decay_{state}")
        shared = int(np.gcd.reduce(keep, axis=None, initial=fixed.DECAY_ONE))
        factor, divisor = keep // shared, fixed.DECAY_ONE // shared
        of = INT32 if largest * int(factor.max()) < _INT32_END else INT64
        label = f"{self.name}/{state}/decayed"
        operations = [self.nodes.then_cast(INT64)] if of == INT64 else []
        if factor.min() != 1 or factor.max() != 1:
            operations.append(self.nodes.then("Mul", self.nodes.array(factor, of, f"{self.name}/{state}/keep")))
        if divisor > 1:
            operations.append(self.nodes.then("Div", self._number(divisor, of), "rounds toward zero"))
        if to != of:
            operations.append(self.nodes.then_cast(to))
        return self.nodes.chain(self.last[state], operations, label) if operations else self.last[state]

    def _from(self, number: str) -> Operation:
        return lambda value, name: self.nodes.add("Sub", [number, value], name)

    def _array(self, parameter: str) -> Array:
        return per_axis(getattr(self.population, parameter), self.population.shape)

    def _threshold(self) -> str:
        threshold = self._array("threshold_mant") << fixed.ALIGN_BITS
        return self.nodes.array(threshold, INT32, f"{self.name}/threshold")

    def _number(self, value: int, to: int = INT32) -> str:
        return self.nodes.number(value, to)

    def _add(self, kind: str, *inputs_and_label: str) -> str:
        *inputs, label = inputs_and_label
        return self.nodes.add(kind, inputs, f"{self.name}/{label}")
