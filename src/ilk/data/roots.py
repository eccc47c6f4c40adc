"""Roots: features as directions between which distances and dot products mean something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


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
