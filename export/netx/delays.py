"""Delays per neuron in a file → one projection for each delay, because a projection has one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Conv2d, Dense, Projection, Sparse

_MAX_WEIGHTS = 1 << 28  # of all parts together
_MOST_DELAYS = 1024  # one projection each


def with_delays(name: str, p: Projection, source: Shape, of_source: Array, of_target: Array) -> dict[str, Projection]:
    """Delay the spikes of a projection, each by its source's steps and its target's.

    Parameters
    ----------
    name : str
        Of the projection; with several delays the parts are NAME_d0, NAME_d1, …
    p : Dense or Conv2d
        Without delay.
    source : shape of the source
    of_source : ndarray of int
        (), one for each channel (c,), or one for each neuron of the source.
    of_target : ndarray of int
        (), or one for each target neuron (Dense only).
    """
    leaving, arriving = np.unique(of_source), np.unique(of_target)
    few = max(len(leaving), len(arriving)) <= _MOST_DELAYS  # else their sums would be too many to write down
    total = [int(d) for d in np.unique(np.add.outer(leaving, arriving))] if few else []
    if not few or len(total) > _MOST_DELAYS:
        what = f"has too many different delays ({len(leaving)} of sources, {len(arriving)} of targets)"
        raise GraphError([Problem(where=name, what=what, remedy=f"use at most {_MOST_DELAYS}")])
    if len(total) == 1:
        return {name: replace(p, delay_steps=total[0])}
    parts: dict[str, Projection] = {}
    if isinstance(p, Dense):
        n_target, n_source = p.weight.shape
        per_line = of_source.ravel() if of_source.size == n_source else np.repeat(of_source, n_source // source[0])
        columns = np.broadcast_to(per_line if of_source.ndim else of_source, n_source)
        rows = np.broadcast_to(of_target, n_target)
        for delay in total:
            sources, targets = np.nonzero(columns[:, None] + rows[None, :] == delay)
            if len(sources):
                parts[f"{name}_d{delay}"] = Sparse(
                    source=p.source,
                    target=p.target,
                    delay_steps=delay,
                    weight=p.weight[targets, sources],
                    indptr=np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=n_source))]),
                    indices=targets,
                )
        return parts
    if not isinstance(p, Conv2d) or of_source.shape != source[:1] or of_target.ndim:
        remedy = "give each layer one delay, or one for each channel"
        raise GraphError([Problem(where=name, what="cannot hold these delays for each neuron", remedy=remedy)])
    if len(total) * p.weight.size > _MAX_WEIGHTS:
        what = f"makes {len(total)} convolutions of {p.weight.size} weights, the limit is {_MAX_WEIGHTS} in all"
        raise GraphError([Problem(where=name, what=what, remedy="use fewer different delays")])
    # A weight of group g and input i reads channel g · inputs + i.
    out_channels, inputs = p.weight.shape[:2]
    group = np.arange(out_channels) // (out_channels // p.groups)
    channel = group[:, None] * inputs + np.arange(inputs)
    for delay in total:
        kept = (of_source + of_target)[channel] == delay
        parts[f"{name}_d{delay}"] = replace(p, delay_steps=delay, weight=p.weight * kept[:, :, None, None])
    return parts
