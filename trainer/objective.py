"""What training minimises: a network, how samples enter it, the loss, and the decision that counts.

The loop knows an objective and nothing else of the method; another method is another class with these four.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from spikegraph.export.coding import Decision, InputCoding, Readout
from spikegraph.export.connectivity import Array
from spikegraph.export.recordings import Recordings
from spikegraph.trainer.losses import Loss, additions, cross_entropy, share_of_additions
from spikegraph.trainer.lower import fan_out, lower
from spikegraph.trainer.network import Activity, SpikingNetwork


class Objective(nn.Module):
    """A loss on the readout of a network of LIF populations.

    Parameters
    ----------
    network : SpikingNetwork
    readout : Readout
    n_steps : int
        Length of the window.
    loss : Loss
        Of the scores of the readout; see `spikegraph.trainer.losses`.
    additions_weight : float
        What the share of the synaptic additions weighs in the loss: how much accuracy to give for fewer additions.

    Attributes
    ----------
    figures : dict of Tensor, () by name
        For the log, of the batch that last went forward: "train_accuracy", the share of samples whose score is largest
        (a tie may count), and "additions" of a sample.
    """

    def __init__(
        self,
        network: SpikingNetwork,
        readout: Readout,
        n_steps: int,
        *,
        loss: Loss = cross_entropy,
        additions_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.readout, self.n_steps, self.loss = network, readout, n_steps, loss
        self.additions_weight = additions_weight
        self.figures: dict[str, Tensor] = {}
        graph = lower(network, n_steps=n_steps)
        device = next(network.parameters()).device
        self.fan_out = {name: torch.from_numpy(each).to(device) for name, each in fan_out(graph).items()}

    def encode(self, x: Array | Recordings, index: Array, coding: InputCoding) -> Tensor:
        """Turn samples (B, c, h, w), pixels or recordings, into a raster (T, B, *input_shape) of floats."""
        raster = coding.encode(x.reshape(len(x), *self.network.input_shape), index, self.n_steps)
        device = next(self.network.parameters()).device
        return torch.from_numpy(raster).to(device).float()

    def forward(self, encoded: Tensor, label: Tensor) -> Tensor:
        """Return the loss of a batch; label is int64 (B,)."""
        activity = self.network(encoded)
        scores = self._scores(*self._read(activity))
        self.figures = self._measured(scores.detach(), label, activity)
        loss = self.loss(scores, label, self.n_steps)
        if self.additions_weight:
            loss = loss + self.additions_weight * share_of_additions(activity.s, self.fan_out).to(loss.dtype)
        return loss

    @torch.no_grad()
    def _measured(self, scores: Tensor, label: Tensor, activity: Activity) -> dict[str, Tensor]:
        spikes = {name: s.detach() for name, s in activity.s.items()}
        right = (scores.argmax(dim=1) == label).double().mean()
        return {"train_accuracy": right, "additions": additions(spikes, self.fan_out)}

    def _read(self, activity: Activity) -> tuple[Tensor, Tensor]:
        (name,) = self.network.outputs
        return activity.s[name], activity.v_before_reset[name]

    def _scores(self, s: Tensor, v_before_reset: Tensor) -> Tensor:
        """Of each class, the mean over its neurons: (B, n_classes)."""
        if self.readout.kind == "count":
            each = s.sum(dim=0)
        else:  # brought to order 1, by one number: the decision compares potentials, not potentials over thresholds
            each = v_before_reset[-1] / self.network.threshold_in_v(self.network.outputs[0]).max()
        return each.view(len(each), -1, self.readout.neurons_per_class).mean(dim=2)

    @torch.no_grad()
    def decide(self, encoded: Tensor) -> Decision:
        """Decide by the strict readout, from the network's own forward pass."""
        s, v_before_reset = self._read(self.network(encoded))
        return self.readout.decide(np.asarray(s.cpu() > 0), np.asarray(v_before_reset.cpu()))
