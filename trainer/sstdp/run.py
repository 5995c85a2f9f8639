"""The three sums of a one-spike layer, in the kernel on a CPU, and by the definition where there is none."""

from __future__ import annotations

from torch import Tensor

from spikegraph.trainer.sstdp import definition, kernel
from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.window import Window


def _compiled(fired_at: Tensor) -> bool:
    return fired_at.device.type == "cpu" and kernel.library() is not None


def run_window(
    geometry: Geometry,
    fired_at: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    threshold: float,
    n_steps: int,
    until: Tensor,
    *,
    integer: bool,
) -> Window:
    """Run a layer of one-spike integrate-and-fire neurons (docs/semantics.md: decay_u 4096, decay_v 0, max_spikes 1).

    Parameters
    ----------
    geometry : Geometry
    fired_at : Tensor of int (B, n_in), 0…n_steps
        Step of each line's spike; n_steps: silent.
    weight : Tensor of float (out, in, kernel, kernel)
        Whole numbers if `integer`.
    bias : Tensor of float (out,), optional
        One per output channel, in units of v: whole numbers if `integer`.
    threshold : float
        v_threshold, or the mantissa if `integer`; inf: nothing ever fires.
    n_steps : int
        Length of the window.
    until : Tensor of int (B,)
        The last step of each sample: what comes later counts as silent.
    integer : bool
        Compute in the chip's integers.
    """
    run = kernel.run_window if _compiled(fired_at) else definition.run_window
    return run(geometry, fired_at, weight, bias, threshold, n_steps, until, integer=integer)


def sum_pairs(
    geometry: Geometry, fired_at: Tensor, ends: Tensor, delta: Tensor, n_steps: int, table: Tensor | None = None
) -> Tensor:
    """Return Σ delta_i · f(end_i - t_j) over the samples and sites of each synapse, (out, in, kernel, kernel).

    A line that stays silent has no part in it, nor has the padding.

    Parameters
    ----------
    fired_at : Tensor of int (B, n_in)
    ends : Tensor of int (B, out, rows, columns), 0…n_steps, or -1
    delta : Tensor of float, likewise
    table : Tensor of float (2 · n_steps + 1,), optional
        f, entry n_steps being f(0); without it f is 1 where t_j <= end_i, else 0.
    """
    run = kernel.sum_pairs if _compiled(fired_at) else definition.sum_pairs
    return run(geometry, fired_at, ends, delta, n_steps, table)


def send_back(
    geometry: Geometry, fired_at: Tensor, ends: Tensor, delta: Tensor, weight: Tensor, n_steps: int
) -> Tensor:
    """Return Σ weight_ij · delta_i over the outputs i with t_j <= end_i, for every line j: (B, n_in).

    A line that stays silent (t_j = n_steps) takes errors of outputs that stayed silent as well. Parameters as in
    `sum_pairs`.
    """
    run = kernel.send_back if _compiled(fired_at) else definition.send_back
    return run(geometry, fired_at, ends, delta, weight, n_steps)
