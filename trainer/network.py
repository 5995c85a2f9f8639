"""A traced network over a whole window: in floats, or in the very integers of a chip.

One representation (trace.py) serves three readers: this forward pass, which trains; `windows`, which returns every
state; and lower.py, which writes the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Shape
from spikegraph.export.fixed import ALIGN_BITS
from spikegraph.export.rounding import FEW_BITS, least_error_clip, weight_bits_of
from spikegraph.trainer.currents import Masks, drops, each_step, gathered, largest_sum_of, rounded, through
from spikegraph.trainer.exact import dtype_for
from spikegraph.trainer.fold import folded, unfolded, window_size
from spikegraph.trainer.legal import (
    common_dt,
    require_chip,
    require_numbers,
    require_statistics,
    require_ungraded,
)
from spikegraph.trainer.neurons import Decays, Window, float_window, integer_window, lif
from spikegraph.trainer.quantizers import (
    QuantizedPopulation,
    broadcastable,
    clip_of,
    fold_shared_threshold,
    quantize_population,
)
from spikegraph.trainer.trace import trace
from spikegraph.trainer.traced import INPUT, Branch, Node


@dataclass(frozen=True, kw_only=True, eq=False)
class Activity:
    """What a network did in a window.

    Attributes
    ----------
    s : dict of Tensor (T, B, *shape)
        Spikes of the input and of every population.
    v_before_reset : dict of Tensor (T, B, *shape)
        Membrane potentials that were compared with the threshold, of the populations that are read.
    """

    s: dict[str, Tensor]
    v_before_reset: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Arriving:
    """What the window of a population takes: its input sums, and its parameters, broadcastable to `x[0]`."""

    x: Tensor
    threshold: Tensor
    bias: Tensor
    decays: Decays
    recurrent: Tensor | None


class SpikingNetwork(nn.Module):
    """A network of spiking populations; spikes pass through all of them within one step.

    Parameters
    ----------
    module : nn.Module
        Built of torch.nn's layers and `LIF`; its forward is written for one step (see docs/networks.md).
    input_shape : (n,) or (c, h, w)
    chip : Chip, optional
        Compute in this chip's integers (quantization-aware); None: in floats.
    largest_input : int
        Largest magnitude that an input spike carries (1 unless graded): synapses from the input are divided by it, so
        that graded input trains like binary.

    Raises
    ------
    GraphError
        The module does something that no spike graph can.

    Notes
    -----
    In floats and in training mode, a batch norm takes the statistics of each step by itself. In integers, and in
    evaluation, it stands folded into the weights by its running statistics: train in floats first, then in integers.
    """

    def __init__(
        self, module: nn.Module, input_shape: Shape, *, chip: Chip | None = None, largest_input: int = 1
    ) -> None:
        super().__init__()
        self.module, self.largest_input = module, largest_input
        self.input_shape = tuple(input_shape)
        traced = trace(module, self.input_shape)
        self.nodes, self.outputs = {node.name: node for node in traced.nodes}, traced.outputs
        self.dt = common_dt(self.nodes)
        if largest_input > 1:
            require_ungraded(self.nodes)
        self.compute_in(chip)
        self.clip_shares, self._clipped_for = nn.ParameterDict(), chip
        self.fit_clips()

    def compute_in(self, chip: Chip | None) -> None:
        """Compute in a chip's integers from now on, or in floats again; `GraphError` if it has not what they need."""
        if chip is not None:
            require_chip(self.nodes, chip)
        self.chip = chip

    @property
    def has_idle_clips(self) -> bool:
        """Whether clips are trained that have no part now: in floats, or in another chip's integers."""
        return self.chip != self._clipped_for and any(share.requires_grad for share in self.clip_shares.values())

    @torch.no_grad()
    def fit_clips(self) -> None:
        """Choose anew where weights of few bits are clipped, for the weights as they are: where their training starts.

        Few levels cannot both hold the largest weights and tell small ones apart.
        """
        chip = self._clipped_for
        if chip is None or weight_bits_of(chip) > FEW_BITS:
            return
        for place, node in enumerate(self.nodes.values()):
            for k, weight in enumerate(self._as_clipped(node, chip)):
                if weight.numel() > 1 and weight.any():
                    clip = torch.as_tensor(least_error_clip(weight.cpu().numpy(), chip.weight.format))
                    share = (clip.to(weight.device) / weight.abs().max()).clamp(max=1)
                    key = f"{place}_{k}"
                    if key in self.clip_shares:
                        self.clip_shares[key].copy_(share)
                    else:
                        self.clip_shares[key] = nn.Parameter(share)

    @torch.no_grad()
    def clips(self, node: Node) -> list[float | None]:
        """Return the trained clip of each branch of a population, then of its recurrent synapses; None: not trained."""
        if self.chip is None:
            return [None] * (len(node.branches) + 1)
        weights = self._as_clipped(node, self.chip)
        shares = self._shares(node, len(weights))
        return [
            float(clip_of(w, s)) if s is not None and w.any() else None for w, s in zip(weights, shares, strict=True)
        ]

    def forward(self, s: Tensor) -> Activity:
        """Run a window of input spikes, float (T, B, *input_shape); `OptionError` where it cannot."""
        require_numbers(s)
        if self.chip is None:
            require_statistics(self.nodes, s.shape[1])
        spikes, v_before_reset, masks = {INPUT: s}, {}, self._no_masks()
        for name, node in self.nodes.items():
            pool = node.branches[0].synapse
            if isinstance(pool, nn.MaxPool2d) and name not in self.outputs:  # what its relays compute, in less time
                spikes[name] = each_step(pool, gathered(node.branches[0], spikes, masks))
                continue
            a, dynamics = self._arriving(node, spikes, masks), node.neurons.dynamics
            spikes[name], v = lif(
                a.x, a.threshold, a.bias, a.decays, dynamics, integer=self.chip is not None, recurrent=a.recurrent
            )
            if name in self.outputs:
                v_before_reset[name] = v
        return Activity(s=spikes, v_before_reset=v_before_reset)

    @torch.no_grad()
    def windows(self, s: Tensor) -> dict[str, Window]:
        """Run the same window and return every state of every population."""
        require_numbers(s)
        run = float_window if self.chip is None else integer_window
        spikes, windows, masks = {INPUT: s}, {}, self._no_masks()
        for name, node in self.nodes.items():
            a, dynamics = self._arriving(node, spikes, masks), node.neurons.dynamics
            windows[name] = run(a.x, a.threshold, a.bias, a.decays, dynamics, recurrent=a.recurrent, keep_states=True)
            spikes[name] = windows[name].s
        return windows

    @torch.no_grad()
    def threshold_in_v(self, name: str) -> Tensor:
        """Return a population's threshold in the units of v that the forward pass computes in."""
        node = self.nodes[name]
        if self.chip is None:
            return node.neurons.positive_threshold()
        return self._quantized(node, self.chip).threshold_mant * (1 << ALIGN_BITS)

    def _no_masks(self) -> Masks | None:
        """Return what dropouts have drawn when a window begins; None: they drop nothing."""
        return {} if self.training else None

    def _arriving(self, node: Node, spikes: Mapping[str, Tensor], masks: Masks | None) -> _Arriving:
        neurons, shape = node.neurons, node.shape
        recurrent: Tensor | None
        if self.chip is None:
            x, bias = self._float_sums(node, spikes, masks)
            threshold, recurrent = neurons.positive_threshold(), neurons.recurrent_weight
        else:
            quantized = self._quantized(node, self.chip)
            x = self._integer_sums(node, spikes, masks, quantized.weights)
            threshold, bias = quantized.threshold_mant, quantized.bias
            recurrent = quantized.weights[-1] if neurons.recurrent_weight is not None else None
        return _Arriving(
            x=x,
            threshold=broadcastable(threshold, shape),
            bias=broadcastable(bias, shape),
            decays=neurons.decays(self.chip),
            recurrent=recurrent,
        )

    def _float_sums(self, node: Node, spikes: Mapping[str, Tensor], masks: Masks | None) -> tuple[Tensor, Tensor]:
        sums, biases = [], [torch.zeros(())]
        for branch in node.branches:
            arriving = gathered(branch, spikes, masks)
            if self.training and branch.norm is not None:
                own = unfolded(branch, self.largest_input)
                currents = through(branch, arriving, own.weight) + broadcastable(own.bias, node.shape)
                sums.append(torch.stack([branch.norm(step) for step in currents]))  # the statistics of each step
            else:
                synapses = folded(branch, self.largest_input)
                sums.append(through(branch, arriving, synapses.weight))
                biases.append(synapses.bias)
        return reduce(torch.add, sums), reduce(torch.add, biases)

    def _integer_sums(
        self, node: Node, spikes: Mapping[str, Tensor], masks: Masks | None, weights: list[Tensor]
    ) -> Tensor:
        sums, bound = [], 0.0
        for branch, weight in zip(node.branches, weights, strict=False):  # recurrent weights come last
            largest = self._largest(branch)
            sums.append(through(branch, gathered(branch, spikes, masks), weight, largest))
            if len(node.branches) > 1:
                bound += largest_sum_of(branch, weight, largest)
        x = sums[0] if len(sums) == 1 else reduce(torch.add, [each.to(dtype_for(bound)) for each in sums])
        return rounded(x) if masks is not None and any(drops(branch) for branch in node.branches) else x

    def _quantized(self, node: Node, chip: Chip) -> QuantizedPopulation:
        kinds, weights, bias = self._synapses(node)
        v_threshold, shares = node.neurons.positive_threshold(), self._shares(node, len(weights))
        return quantize_population(kinds, weights, v_threshold, bias, node.shape, chip, shares)

    def _synapses(self, node: Node) -> tuple[list[str], list[Tensor], Tensor]:
        """Kinds and weights of all that ends at a population, recurrent synapses last; and the bias of them all."""
        synapses = [folded(branch, self.largest_input) for branch in node.branches]
        kinds: list[str] = [own.kind for own in synapses]
        weights, bias = [own.weight for own in synapses], reduce(torch.add, [own.bias for own in synapses])
        if node.neurons.recurrent_weight is not None:
            return [*kinds, "Dense"], [*weights, node.neurons.recurrent_weight], bias
        return kinds, weights, bias

    def _as_clipped(self, node: Node, chip: Chip) -> list[Tensor]:
        kinds, weights, _ = self._synapses(node)
        return fold_shared_threshold(kinds, weights, node.neurons.positive_threshold(), node.shape, chip)[0]

    def _shares(self, node: Node, n: int) -> list[Tensor | None]:
        """Trained clips of a population's synapses, as shares; they hold for the chip that they were trained for."""
        if self.chip != self._clipped_for:
            return [None] * n
        place = list(self.nodes).index(node.name)
        keys = [f"{place}_{k}" for k in range(n)]
        return [self.clip_shares.get(key) for key in keys]

    def _largest(self, branch: Branch) -> int:
        """Largest magnitude that arrives at the synapses of a branch."""
        each = (window_size(r) * (self.largest_input if r.source == INPUT else 1) for r in branch.routes)
        return sum(each)
