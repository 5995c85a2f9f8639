"""One-spike networks: layers by name, in order; spikes pass through all of them within one step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Shape
from spikegraph.trainer.sstdp.layers import EarliestPool2d, Fired, OneSpikeLayer


class OneSpikeNetwork(nn.Module):
    """A network of one-spike layers.

    Parameters
    ----------
    layers : dict of OneSpikeLayer and EarliestPool2d by name
        The names become the populations of the graph; the last one is a dense layer with a neuron per class.
    input_shape : (n,) or (c, h, w)
    n_steps : int
        Length of the window.
    """

    def __init__(self, layers: dict[str, OneSpikeLayer | EarliestPool2d], input_shape: Shape, n_steps: int) -> None:
        super().__init__()
        self.layers, self.input_shape, self.n_steps = nn.ModuleDict(layers), tuple(input_shape), n_steps

    def named_layers(self) -> dict[str, OneSpikeLayer | EarliestPool2d]:
        """Return the layers in order, by name."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, OneSpikeLayer | EarliestPool2d)}

    def neurons(self) -> dict[str, OneSpikeLayer]:
        """Return the layers with synapses that are trained, in order, by name."""
        return {name: layer for name, layer in self.named_layers().items() if isinstance(layer, OneSpikeLayer)}

    def compute_in(self, chip: Chip | None) -> None:
        """Compute in this chip's integers from now on; None: in floats."""
        for layer in self.neurons().values():
            layer.chip = chip

    @property
    def input_image(self) -> tuple[int, ...]:
        """Shape of the input as (c, h, w); n lines are n channels of 1 × 1."""
        return self.input_shape if len(self.input_shape) == 3 else (math.prod(self.input_shape), 1, 1)

    def whole_window(self, n_samples: int) -> Tensor:
        """Return the last step of every sample if nothing ends it early: int32 (B,)."""
        device = next(self.parameters()).device
        return torch.full((n_samples,), self.n_steps - 1, dtype=torch.int32, device=device)

    def run(self, fired_at: Tensor, until: Tensor | None = None, *, fires: bool = True) -> dict[str, Fired]:
        """Run a window and return what every layer does.

        Parameters
        ----------
        fired_at : Tensor of float (B, *input_shape)
            Step of each line's spike; n_steps: silent.
        until : Tensor of int (B,), optional
            The last step of each sample, by default that of the window.
        fires : bool
            False: the last layer only integrates; see `OneSpikeLayer.forward`.
        """
        until = self.whole_window(len(fired_at)) if until is None else until
        image = fired_at.reshape(len(fired_at), *self.input_image)
        fired = Fired(image, torch.zeros_like(image), torch.zeros_like(image))
        everything, (*_, last) = {}, self.layers
        for name, layer in self.named_layers().items():
            if isinstance(layer, EarliestPool2d):
                fired = layer(fired)
            else:
                fired = layer(fired, until, fires=fires or name != last)
            everything[name] = fired
        return everything

    def forward(self, fired_at: Tensor, until: Tensor | None = None, *, fires: bool = True) -> Fired:
        """Run a window and return what the last layer does, each (B, n_classes); parameters as in `run`."""
        *_, last = self.run(fired_at, until, fires=fires).values()
        return Fired(*(tensor.flatten(1) for tensor in last))

    def evidence(self, fired_at: Tensor, until: Tensor) -> Tensor:
        """Return v of the last layer in the step `until`, had it no threshold, without what its bias added.

        Parameters
        ----------
        fired_at, until
            As in `run`.

        Returns
        -------
        Tensor (B, n_classes)
            In units of the weights.
        """
        *_, layer = self.neurons().values()
        v: Tensor = self(fired_at, until, fires=False).last * layer.v_threshold
        return v if layer.bias is None else v - layer.bias * (until + 1).unsqueeze(1)
