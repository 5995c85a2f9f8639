"""Weights rounded one input after the other, each error made up for by the weights that are still to be rounded.

What matters of a weight's error is what it adds to input sums. Where inputs are active together, one weight can make up
for another. Source: Frantar et al., GPTQ, ICLR 2023 (optimal brain quantization with one order for all rows).
"""

from __future__ import annotations

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.fixed import IntegerFormat

_DAMPING = 0.01  # of the mean activity: inputs that were never active are rounded to the nearest


def spread_of(gram: Array) -> Array:
    """Return how the error of each input is best spread over those that follow it: ndarray (in, in), upper triangle.

    Parameters
    ----------
    gram : ndarray of float64 (in, in)
        Sums over the data of products of two inputs' activities.
    """
    n = len(gram)
    damped = gram + np.eye(n) * max(_DAMPING * float(np.trace(gram)) / n, 1e-12)
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T)


def compensated(weight: Array, spread: Array, limit: IntegerFormat) -> Array:
    """Return representable integers whose weighted sums are near those of `weight`.

    Parameters
    ----------
    weight : ndarray of float64 (out, in)
        In units of the chip's weights.
    spread : ndarray of float64 (in, in)
        Of `spread_of`.
    limit : IntegerFormat

    Returns
    -------
    ndarray of float64 (out, in)
    """
    left, rounded = weight.copy(), np.empty_like(weight)
    for j in range(weight.shape[1]):
        rounded[:, j] = limit.round(left[:, j])
        error = (left[:, j] - rounded[:, j]) / spread[j, j]
        left[:, j + 1 :] -= np.outer(error, spread[j, j + 1 :])
    return rounded
