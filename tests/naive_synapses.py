"""The synapses of a projection, listed one by one: what naive engines walk along, sharing no code with the package."""

from __future__ import annotations

from itertools import product

from spikegraph.export.float_graph import FloatProjection
from spikegraph.export.graph import Projection


def flat(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    position = 0
    for i, n in zip(index, shape, strict=True):
        position = position * n + i
    return position


def synapses(
    p: Projection | FloatProjection, source: tuple[int, ...], target: tuple[int, ...]
) -> list[tuple[int, int, int]]:
    """List (source neuron, target neuron, weight) of every stored synapse, neurons flattened in C order."""
    weight = p.weight.tolist()
    if p.kind == "Dense":
        return [(j, i, w) for i, row in enumerate(weight) for j, w in enumerate(row)]
    if p.kind == "Sparse":
        indptr, indices = p.indptr.tolist(), p.indices.tolist()
        return [(j, indices[k], weight[k]) for j in range(len(indptr) - 1) for k in range(indptr[j], indptr[j + 1])]
    if p.kind == "OneToOne":
        found = []
        for index in product(*map(range, source)):
            w = weight
            for i in index[: p.weight.ndim]:
                w = w[i]
            found.append((flat(index, source), flat(index, source), w))
        return found
    pool = p.kind == "SumPool2d"
    (rows, columns) = p.kernel_size if pool else p.weight.shape[2:]
    (down, right), (top, left) = p.stride, p.padding
    (step_r, step_c) = (1, 1) if pool else p.dilation
    groups = source[0] if pool else p.groups
    per_in, per_out = source[0] // groups, target[0] // groups
    found = []
    for o, y, x in product(*map(range, target)):
        for i, r, c in product(range(per_in), range(rows), range(columns)):
            channel = (o // per_out) * per_in + i
            from_y, from_x = y * down + r * step_r - top, x * right + c * step_c - left
            if 0 <= from_y < source[1] and 0 <= from_x < source[2]:
                w = weight if pool else weight[o][i][r][c]
                found.append((flat((channel, from_y, from_x), source), flat((o, y, x), target), w))
    return found
