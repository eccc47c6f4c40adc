"""Names for the kinds of arrays that are passed around; shapes stand in the docstrings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Reals = NDArray[np.floating[Any]]
Targets = NDArray[np.int64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]
