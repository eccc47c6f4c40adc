"""Roots: features as directions between which distances and dot products mean something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats

Keys = NDArray[np.int64]
FEW = 4
BLOCK = 2_048  # rows at a time: 16 MB of distances to 2,000 others


def roots(features: Floats) -> Floats:
    """Return the signed square roots of features ``[N, D]``, each row scaled to unit length.

    A few strong features then no longer drown the many weak ones; of positive features it gives the
    Hellinger distance ("Three things everyone should know to improve object retrieval",
    Arandjelovic & Zisserman 2012, section 3).
    """
    result: Floats = np.abs(features)
    np.sqrt(result, out=result)
    np.copysign(result, features, out=result)
    result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12)
    return result


def mean_distances(
    units: Floats, others: Floats, neighbours: int, keys: Keys, others_keys: Keys
) -> Floats:
    """Return how far each of some `roots` is from its nearest others, on average.

    Parameters
    ----------
    units, others : float32 arrays [N, D] and [L, D]
        Of unit length.
    neighbours : int
        How many of the others count, at most L.
    keys, others_keys : int64 arrays [N] and [L]
        Rows with the same key are the same picture, and no neighbours.

    Returns
    -------
    float32 array [N]
        0 to 2. Who has too few neighbours is as far from those that lack as can be.
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

    For a product of matrices BLAS wakes its threads, which then wait busily for the next one: a
    network that runs just after it, on the same cores, takes longer.
    """
    few = len(units) <= FEW
    result: Floats = np.vecdot(units[:, None], others) if few else units @ others.T
    return result
