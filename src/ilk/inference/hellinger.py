"""Hellinger: unit vectors of features, and distances to the nearest of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats

Keys = NDArray[np.int64]
FEW = 4
BLOCK = 2_048  # rows at a time: 16 MB of distances to 2,000 others


def hellinger(features: Floats) -> Floats:
    """Return the signed square roots of features ``[N, D]``, each row scaled to unit length.

    A few strong features no longer dominate the many weak ones. For non-negative features,
    distances between rows are Hellinger distances ("Three things everyone should know to improve
    object retrieval", Arandjelovic & Zisserman 2012, section 3).
    """
    result: Floats = np.abs(features)
    np.sqrt(result, out=result)
    np.copysign(result, features, out=result)
    result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12)
    return result


def mean_distances(
    units: Floats, others: Floats, neighbours: int, keys: Keys, others_keys: Keys
) -> Floats:
    """Return the mean distance of each row of ``units`` to its nearest ``others``.

    Parameters
    ----------
    units, others : float32 arrays [N, D] and [L, D]
        Of unit length.
    neighbours : int
        The number of nearest rows that count, at most L.
    keys, others_keys : int64 arrays [N] and [L]
        Rows with the same key are copies of one picture and do not count as neighbours.

    Returns
    -------
    float32 array [N]
        0 to 2. Missing neighbours count as the largest distance, 2.
    """
    result = np.empty(len(units), np.float32)
    for start in range(0, len(units), BLOCK):
        block = slice(start, start + BLOCK)
        squares = 2 - 2 * _products(units[block], others)
        squares[keys[block, None] == others_keys] = np.inf
        near = np.partition(squares, neighbours - 1, axis=1)[:, :neighbours]
        result[block] = np.sqrt(near.clip(0, 4)).mean(axis=1)
    return result


def _products(units: Floats, others: Floats) -> Floats:
    """Return dot products ``[N, L]``.

    BLAS wakes its threads for a matrix product, and they then spin for a while: a network that
    runs on the same cores right after takes longer. A few rows do without.
    """
    few = len(units) <= FEW
    result: Floats = np.vecdot(units[:, None], others) if few else units @ others.T
    return result
