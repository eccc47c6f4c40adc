"""Names for the kinds of arrays that are passed around; shapes stand in the docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Reals = NDArray[np.floating[Any]]
Targets = NDArray[np.int64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]


def numbered(names: Sequence[str]) -> Indices:
    """Return the number of each name, by their order; a long one does not widen the others."""
    number = {name: i for i, name in enumerate(sorted(set(names)))}
    return np.array([number[name] for name in names], np.intp)
