"""Which process of Lava a projection becomes: a stock one where one computes the same, else our own `Synapses`.

Dense        Dense, DelayDense
Conv2d       Conv; with a delay, DelaySparse, as a list of its synapses
others       Sparse, DelaySparse
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.graph import Conv2d, Dense, Graph, Projection
from spikegraph.targets.lava.planned import Planned
from spikegraph.targets.lava.weights import FittedWeight, fitted

MAX_DELAY = 64  # DelayDense and DelaySparse hold 63, and each takes one
MAX_LISTED = 1 << 20  # synapses of a convolution that are written out one by one: 8 MiB
CONV_FIELD = 127  # Lava's Conv computes with sizes, strides, padding and dilation in 8 bits
CONV_SUM = 1 << 23  # its sums wrap at 24 bits
GRADED_SUM = 1 << 31  # Lava adds graded spikes in 32 bits
GRADED_BITS = 24


def planned_synapses(graph: Graph, name: str, late_steps: int, *, dropped: bool) -> Planned:
    """Plan the process of a projection of a pipelined graph.

    Parameters
    ----------
    graph : Graph
        Pipelined.
    late_steps : int
        Its delay before that.
    dropped : bool
        Whether it must itself leave out the spikes that arrive after the end of their sample; else the next sample
        starts when all is cleared.
    """
    p = graph.projections[name]
    source, target = graph.shape_of(p.source), graph.shape_of(p.target)
    common = {"source": p.source, "target": p.target, "delay_steps": p.delay_steps}
    node = graph.inputs.get(p.source)
    bits = GRADED_BITS if node is not None and node.graded else 0
    largest = max(abs(node.min_value), abs(node.max_value)) if node is not None else 1
    planned: Planned | str
    if p.delay_steps > MAX_DELAY:
        planned = f"needs a delay of {p.delay_steps} steps, but Lava's hold {MAX_DELAY}"
    elif (most := _most(p, source, target) * largest) >= GRADED_SUM:
        planned = f"graded sums may reach {most}, but Lava adds them in 32 bits"
    else:
        planned = _stock(p, source, target, common, {"num_message_bits": bits})
    if isinstance(planned, Planned) and dropped and late_steps:
        planned = f"delay_steps = {late_steps}: spikes that are late for their sample must be left out"
    if isinstance(planned, Planned):
        return planned
    weights, arrays = _weights(p, source, target)
    start_step = graph.populations[p.source].start_step if p.source in graph.populations else 0
    options = {
        "n_source": prod(source),
        "n_target": prod(target),
        "weight_exp": p.weight_exp,
        "delay_steps": p.delay_steps,
        "n_steps": graph.n_steps,
        "start_step": start_step,
        "late_steps": late_steps,
    }
    n_synapses = p.dense_macs(source, target) if isinstance(p, Conv2d) else int(p.weight.size)
    entry = {**common, "synapses": n_synapses, "weights": weights, "options": options}
    return Planned(process="Synapses", entry=entry, arrays=arrays, why_not_stock=planned)


def _stock(
    p: Projection, source: Shape, target: Shape, common: dict[str, Any], options: dict[str, Any]
) -> Planned | str:
    """Plan a stock process, or say why there is none."""
    delayed = p.delay_steps > 1
    if isinstance(p, Dense):
        fit = fitted(p.weight, p.weight_exp)
        return _matrix("DelayDense" if delayed else "Dense", fit, common, options) if fit else _unfit(p.weight)
    rewrite = ""
    if isinstance(p, Conv2d):
        fit = fitted(p.weight, p.weight_exp)
        if fit is None:
            return _unfit(p.weight)
        why = "a delay" if delayed else _no_conv(p, source, target)
        if not why:
            return _conv(p, fit, source, common, options)
        n_synapses = p.dense_macs(source, target)
        if n_synapses > MAX_LISTED:
            return f"Lava's Conv takes no {why}, and {n_synapses} synapses are too many to list ({MAX_LISTED})"
        rewrite = f"Conv2d with {why} as a list of its {n_synapses} synapses (exact)"
    matrix = _listed(p, source, target)
    fit = fitted(matrix.data, p.weight_exp)
    if fit is None:
        return _unfit(matrix.data)
    planned = _matrix("DelaySparse" if delayed else "Sparse", fit, common, options, rewrite)
    arrays = {"data": planned.arrays["weight"], "indices": matrix.indices, "indptr": matrix.indptr}
    entry = {**planned.entry, "matrix_shape": list(matrix.shape)}
    return Planned(process=planned.process, entry=entry, arrays=arrays, rewrite=planned.rewrite)


def _matrix(
    process: str, fit: FittedWeight, common: dict[str, Any], options: dict[str, Any], rewrite: str = ""
) -> Planned:
    entry = {
        **common,
        "synapses": int(fit.weight.size),
        "sign_mode": fit.sign_mode,
        "options": {**options, "weight_exp": fit.weight_exp},
    }
    rewrites = "; ".join(text for text in (rewrite, fit.rewrite) if text)
    return Planned(process=process, entry=entry, arrays={"weight": fit.weight.astype(np.int16)}, rewrite=rewrites)


def _conv(p: Conv2d, fit: FittedWeight, source: Shape, common: dict[str, Any], options: dict[str, Any]) -> Planned:
    planned = _matrix("Conv", fit, common, options)
    geometry: dict[str, Any] = {
        name: _pair(getattr(p, name))[::-1] for name in ("stride", "padding", "dilation")
    }  # (x, y) in Lava
    geometry |= {"groups": p.groups, "input_shape": list(source[::-1])}
    entry = {**planned.entry, "source_shape": list(source), "options": {**planned.entry["options"], **geometry}}
    note = "simulated with its weight exponent, which Lava's model ignores" if fit.weight_exp else ""
    return Planned(process="Conv", entry=entry, arrays=planned.arrays, rewrite=planned.rewrite, note=note)


def _no_conv(p: Conv2d, source: Shape, target: Shape) -> str:
    """Say what Lava's `Conv` does not take of a convolution; "" if it takes it."""
    kernel, stride, padding, dilation = p.weight.shape[2:], *(_pair(x) for x in (p.stride, p.padding, p.dilation))
    padded = max(n + 2 * wide for n, wide in zip(source[1:], padding, strict=True))
    reach = max(wide * (n - 1) + 1 for n, wide in zip(kernel, dilation, strict=True))
    fields = {"padded size": padded, "kernel": reach, "stride": max(stride), "number of groups": p.groups}
    for what, value in fields.items():
        if value > CONV_FIELD:
            return f"{what} beyond {CONV_FIELD} ({value})"
    most = _most(p, source, target) << max(p.weight_exp, 0)
    return f"sums beyond 24 bits ({most})" if most >= CONV_SUM else ""


def _most(p: Projection, source: Shape, target: Shape) -> int:
    # Twice the weights: `fitted` may double them.
    negative, positive = p.reach(source, target)
    return 2 * int((positive - negative).max(initial=0))


def _unfit(weight: Array) -> str:
    low, high = weight.min(), weight.max()
    return f"weights {low}…{high} fit neither even -256…254, nor 0…255, nor -255…0, also not times a power of two"


def _weights(p: Projection, source: Shape, target: Shape) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the weights of `Synapses`: what `processes.weighted_sums` takes, plain data and arrays."""
    if isinstance(p, Dense):
        return {"form": "matrix"}, {"weight": p.weight}
    if isinstance(p, Conv2d):
        geometry = {name: _pair(getattr(p, name)) for name in ("stride", "padding", "dilation")}
        shapes = {"source": list(source), "target": list(target), "groups": p.groups}
        return {"form": "window", **shapes, **geometry}, {"weight": p.weight}
    matrix = _listed(p, source, target)
    return {"form": "sparse", "shape": list(matrix.shape)}, {
        "data": matrix.data,
        "indices": matrix.indices,
        "indptr": matrix.indptr,
    }


def _listed(p: Projection, source: Shape, target: Shape) -> Any:
    """Return the synapses as a sparse matrix (out, in); those between the same two neurons are added up."""
    sources, targets, places = p.synapses(source, target)
    weight = p.weight.reshape(-1)[places].astype(np.int32)
    matrix = csr_array((weight, (targets, sources)), shape=(prod(target), prod(source)))
    matrix.eliminate_zeros()
    return matrix


def _pair(value: Any) -> list[int]:
    return [int(n) for n in value]
