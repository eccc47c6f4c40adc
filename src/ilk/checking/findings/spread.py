"""Spread: how widely values lie about their middle, whatever a few of them do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAD_TO_SIGMA = 1.4826  # of a normal distribution (Hampel 1974)


def middle_and_spread(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the median of ``values [N]`` and their spread.

    The spread is the median absolute deviation, scaled to a normal distribution's standard
    deviation: unlike that, outliers do not widen it (Leys et al. 2013).
    """
    middle = float(np.median(values))
    return middle, float(MAD_TO_SIGMA * np.median(np.abs(values - middle)))
