"""Where cores go on the chip's mesh, so that messages take few hops."""

from __future__ import annotations

import numpy as np
from scipy.optimize import quadratic_assignment

from spikegraph.export.chips import Mesh
from spikegraph.export.connectivity import Array

_SEED = 0  # placements are deterministic: the same graph lies in the same place


def in_order(n_cores: int, mesh: Mesh) -> Array:
    """Fill tile after tile, row by row: the tile (column, row) of each core, ndarray of int64 (n_cores, 2)."""
    return _filled(n_cores, mesh.columns, mesh)


def arranged(traffic: Array, mesh: Mesh) -> Array:
    """Arrange cores so that few messages take many hops.

    The tiles are those of the most compact rectangle that is large enough. Which core goes where is a quadratic
    assignment problem: SciPy's approximate method (Vogelstein et al., PLOS ONE 10(4), 2015), then swaps of two cores as
    long as one helps. If that is no better than filling tiles in order, they are filled in order.

    Parameters
    ----------
    traffic : ndarray (n_cores, n_cores)
        Messages from core to core.
    mesh : Mesh

    Returns
    -------
    ndarray of int64 (n_cores, 2)
        The tile (column, row) of each core.
    """
    n_cores, naive = len(traffic), in_order(len(traffic), mesh)
    flow = np.asarray(traffic + traffic.T, np.float64)
    columns, rows = _rectangle(-(-n_cores // mesh.cores_per_tile), mesh)
    sites = _filled(columns * rows * mesh.cores_per_tile, columns, mesh)
    distance = np.abs(sites[:, None] - sites[None]).sum(axis=2).astype(np.float64)
    padded = np.zeros(distance.shape)
    padded[:n_cores, :n_cores] = flow
    guess = quadratic_assignment(padded, distance, options={"rng": np.random.default_rng(_SEED)}).col_ind
    best = sites[_swapped(padded, distance, guess)[:n_cores]]
    return best if hops(traffic, best).sum() < hops(traffic, naive).sum() else naive


def hops(traffic: Array, tiles: Array) -> Array:
    """Count the hops of messages: east or west, and north or south.

    Parameters
    ----------
    traffic : ndarray (n_cores, n_cores)
        Messages from core to core.
    tiles : ndarray of int64 (n_cores, 2)
        The tile (column, row) of each core.

    Returns
    -------
    ndarray (2,)
    """
    distance = np.abs(tiles[:, None] - tiles[None])
    return np.asarray((traffic[..., None] * distance).sum(axis=(0, 1)))


def _filled(n_cores: int, columns: int, mesh: Mesh) -> Array:
    row, column = np.divmod(np.arange(n_cores) // mesh.cores_per_tile, columns)
    return np.stack([column, row], axis=1)


def _rectangle(n_tiles: int, mesh: Mesh) -> tuple[int, int]:
    """Return columns and rows of the rectangle of at least so many tiles with the shortest ways."""
    fits = [(c, r) for c in range(1, mesh.columns + 1) for r in range(1, mesh.rows + 1) if c * r >= n_tiles]
    return min(fits, key=lambda fit: (sum(fit), fit[0] * fit[1], fit[1]))


def _swapped(flow: Array, distance: Array, site: Array) -> Array:
    """Swap the sites of two cores as long as that shortens the ways; `flow` is symmetric."""
    site = site.copy()
    while True:
        at = distance[site][:, site]  # between the cores where they are
        own = flow @ at  # own[a, b]: what core a would pay at the site of core b
        # Moving a to b's place and b to a's; the way between the two stays as long as it was.
        gain = own + own.T - own.diagonal()[:, None] - own.diagonal()[None] + 2 * flow * at
        a, b = np.unravel_index(int(gain.argmin()), gain.shape)
        if gain[a, b] > -1e-9:
            return site
        site[[a, b]] = site[[b, a]]
