"""One-spike layers, plainly: every step, in torch operations, on any device. The kernel must agree with it."""

from __future__ import annotations

import torch
from torch import Tensor

from spikegraph.export import fixed
from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.window import Window


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
    """Run a layer; parameters as in `spikegraph.trainer.sstdp.run.run_window`."""
    exact = torch.float64 if integer else weight.dtype  # sums of whole numbers, not rounded in any order
    shape = (len(fired_at), *geometry.out_shape)
    device = fired_at.device
    unit = 1 << fixed.ALIGN_BITS if integer else 1
    state = torch.zeros(shape, dtype=torch.int64 if integer else weight.dtype, device=device)
    peak, last = torch.full(shape, -torch.inf, dtype=torch.float64, device=device), state.double()
    peak_at = torch.full(shape, -1, dtype=torch.int32, device=device)
    fires_at = torch.full(shape, n_steps, dtype=torch.int32, device=device)
    reached = torch.ones(geometry.weight_shape, dtype=weight.dtype, device=device)
    steady = 0 if bias is None else bias.reshape(-1, 1, 1).to(state.dtype)
    for t in range(n_steps):
        going_on = t <= until
        s = ((fired_at == t) & going_on.unsqueeze(1)).to(exact)
        if bias is None and not s.any():
            continue
        x = geometry.sum_inputs(s, weight.to(exact))
        if integer:
            u = fixed.wrap24(x.to(torch.int64) << fixed.ALIGN_BITS)
            state = fixed.saturate24(state + u + steady * going_on.reshape(-1, 1, 1, 1))
        else:
            state = state + x + steady * going_on.reshape(-1, 1, 1, 1)
        moved = geometry.sum_inputs(s.to(weight.dtype), reached) > 0
        if bias is not None:
            moved = moved | going_on.reshape(-1, 1, 1, 1)
        going = fires_at == n_steps
        v = state.double() / unit
        fires = going & moved & (v > threshold)
        higher = going & moved & ((v > peak) | fires)
        peak, peak_at = torch.where(higher, v, peak), peak_at.masked_fill(higher, t)
        last = torch.where(going, v, last)
        fires_at = fires_at.masked_fill(fires, t)
    peak = peak.masked_fill(peak_at < 0, 0)
    return Window(fired_at=fires_at, peak=peak.float(), peak_at=peak_at, last=last.float())


def sum_pairs(
    geometry: Geometry, fired_at: Tensor, ends: Tensor, delta: Tensor, n_steps: int, table: Tensor | None
) -> Tensor:
    """Sum over pairs of spikes; parameters as in `spikegraph.trainer.sstdp.run.sum_pairs`."""
    times, ends, delta = _patches(geometry, fired_at, n_steps), ends.flatten(2), delta.flatten(2)
    gradient = torch.zeros(geometry.outputs, times.shape[1], device=delta.device)
    for k in range(geometry.outputs):
        apart = ends[:, k, None] - times
        share = (apart >= 0).float() if table is None else table[(apart + n_steps).long()]
        gradient[k] = (share * (times < n_steps) * delta[:, k, None]).sum(dim=(0, 2))
    return gradient.reshape(geometry.weight_shape)


def send_back(
    geometry: Geometry, fired_at: Tensor, ends: Tensor, delta: Tensor, weight: Tensor, n_steps: int
) -> Tensor:
    """Send errors back; parameters as in `spikegraph.trainer.sstdp.run.send_back`."""
    times, ends, delta = _patches(geometry, fired_at, n_steps), ends.flatten(2), delta.flatten(2)
    rows = weight.reshape(geometry.outputs, -1)
    back = torch.zeros_like(times, dtype=delta.dtype)
    for k in range(geometry.outputs):
        back += rows[k, :, None] * ((ends[:, k, None] - times) >= 0) * delta[:, k, None]
    size = (geometry.height, geometry.width)
    folded = torch.nn.functional.fold(
        back, size, geometry.kernel_size, stride=geometry.stride, padding=geometry.padding
    )
    return folded.flatten(1)


def _patches(geometry: Geometry, fired_at: Tensor, n_steps: int) -> Tensor:
    """Return the times of the lines that each site sees: (B, in · kernel · kernel, sites), the padding silent."""
    image = fired_at.reshape(len(fired_at), geometry.channels, geometry.height, geometry.width).float() - n_steps
    patches = torch.nn.functional.unfold(image, geometry.kernel_size, stride=geometry.stride, padding=geometry.padding)
    return (patches + n_steps).to(torch.int32)
