"""What a one-spike network minimises, and the decision that counts: the first output spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spikegraph.export.coding import Decision, InputCoding, Readout
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError
from spikegraph.export.recordings import Recordings
from spikegraph.trainer.sstdp.network import OneSpikeNetwork
from spikegraph.trainer.sstdp.targets import squared_error, target_times


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What the outputs should do.

    - `paper`, `code`: fire at target times; ½ Σ (t - T)². See `spikegraph.trainer.sstdp.targets`.
    - `evidence` (ours): tell the class at any time. A sample is stopped in the step of its own decision, or in a random
      step. The loss is the cross-entropy on the evidence: the potentials v of the outputs, without what urgency added,
      had they not fired. Beside it stands a margin on each output by itself, because the first to fire decides: where
      the step is random the label should have come to 1 + margin, and in any case the others stay below 1 - margin.

    Parameters
    ----------
    kind : "paper", "code" or "evidence"
    delta : float, steps
        For `paper` and `code`: how far label and others should be apart.
    gain : float
        For `evidence`: what one unit of v is worth in the cross-entropy and the margins.
    margin, margin_weight : float
        Likewise: the margin, and its share in the loss.
    at_decision : float, 0…1
        Share of the samples that are stopped in the step of their decision.
    """

    kind: Literal["paper", "code", "evidence"] = "evidence"
    delta: float = 5.0
    gain: float = 4.0
    margin: float = 0.5
    margin_weight: float = 1.0
    at_decision: float = 0.5


class OneSpikeObjective(nn.Module):
    """The loss of a one-spike network, and how it decides.

    Parameters
    ----------
    network : OneSpikeNetwork
    aim : Aim

    Attributes
    ----------
    figures : dict of Tensor, () by name
        For the log, of the batch that last went forward: "train_accuracy", the share of samples whose label has the
        most evidence where they are stopped, or is the first to fire (a tie may count).
    """

    def __init__(self, network: OneSpikeNetwork, aim: Aim) -> None:
        super().__init__()
        self.network, self.aim = network, aim
        self.figures: dict[str, Tensor] = {}

    def encode(self, x: Array | Recordings, index: Array, coding: InputCoding) -> Tensor:
        """Turn samples (B, c, h, w) float32 0…1 into the step of each line's spike: float (B, n)."""
        if isinstance(x, Recordings):
            remedy = "choose a data set of pixels, or train populations of LIF neurons (method stl)"
            raise OptionError("input", "is of recordings, in which a line spikes more than once", remedy)
        fired_at = coding.fires_at(x.reshape(len(x), -1), self.network.n_steps)
        return torch.from_numpy(fired_at.astype(np.float32)).to(next(self.network.parameters()).device)

    def forward(self, encoded: Tensor, label: Tensor) -> Tensor:
        """Return the loss of a batch; label is int64 (B,)."""
        if self.aim.kind != "evidence":
            fired_at = self.network(encoded).fired_at
            self._measure(-fired_at.detach(), label)
            wanted = target_times(
                fired_at.detach(), label, kind=self.aim.kind, delta=self.aim.delta, n_steps=self.network.n_steps
            )
            return squared_error(fired_at, wanted)
        until, at_random = self._stops(encoded)
        evidence = self.network.evidence(encoded, until)
        self._measure(evidence.detach(), label)
        return self._evidence_loss(evidence, label, at_random)

    def _measure(self, score: Tensor, label: Tensor) -> None:
        self.figures = {"train_accuracy": (score.argmax(dim=1) == label).double().mean()}

    @torch.no_grad()
    def _stops(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Return where each sample is stopped, and whether at random."""
        n_steps = self.network.n_steps
        draws = torch.rand(2, len(encoded))  # on the CPU, whose generator the loop seeds
        at_random = (draws[0] >= self.aim.at_decision).to(encoded.device)
        until = (draws[1] * n_steps).floor().clamp(max=n_steps - 1).to(encoded.device)
        if not at_random.all():
            until[~at_random] = self.network(encoded[~at_random]).fired_at.min(dim=1).values.clamp(max=n_steps - 1)
        return until.to(torch.int32), at_random

    def _evidence_loss(self, evidence: Tensor, label: Tensor, at_random: Tensor) -> Tensor:
        aim = self.aim
        loss = functional.cross_entropy(aim.gain * evidence, label)
        if not aim.margin_weight:
            return loss
        is_label = functional.one_hot(label, evidence.shape[1]).bool()
        lacking = torch.where(is_label, 1 - evidence, evidence - 1) + aim.margin
        counts = ~is_label | at_random.unsqueeze(1)  # at its own decision the label has fired, or another first
        return loss + aim.margin_weight * (functional.softplus(aim.gain * lacking) * counts).sum(dim=1).mean()

    @torch.no_grad()
    def decide(self, encoded: Tensor) -> Decision:
        """Decide by the strict readout, from the network's own forward pass."""
        fired = self.network(encoded)
        return decide(np.asarray(fired.fired_at.cpu()), np.asarray(fired.last.cpu()), self.network.n_steps)


def decide(fired_at: Array, last: Array, n_steps: int) -> Decision:
    """Decide by the first spike, as `Readout.decide` does, from spike times and potentials (B, n_classes).

    Parameters
    ----------
    fired_at : ndarray
        Steps, n_steps for silence.
    last : ndarray
        v before reset in the step of the spike; that of others does not matter.
    """
    n_samples, n_classes = fired_at.shape
    step = np.minimum(fired_at.min(axis=1), n_steps - 1).astype(np.int64)
    s = fired_at == step[:, None]
    # One step of the window is enough: the one of the decision.
    decision = Readout(kind="first_spike", output="output").decide(s[None], last[None].reshape(1, n_samples, n_classes))
    return Decision(predicted=decision.predicted, decided=decision.decided, step=step)
