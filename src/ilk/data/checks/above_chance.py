"""Above chance: how much better than guessing classes are told, at least."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Z = 1.96  # of a 95 % interval


def adjusted_accuracy_at_least(recalls: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the lower end of the 95 % interval of adjusted balanced accuracy.

    That is balanced accuracy, moved and stretched so that guessing has 0 and certainty 1 (as
    scikit-learn's ``balanced_accuracy_score(adjusted=True)``). Its variance is that of the mean of
    the classes' recalls, each with half a picture told and half a picture not told added, for a
    recall of 1 in ten pictures is not certain.
    """
    number = len(recalls)
    likely = (recalls * counts + 0.5) / (counts + 1)
    error = np.sqrt((likely * (1 - likely) / counts).sum()) / number
    chance = 1 / number
    return float((recalls.mean() - Z * error - chance) / (1 - chance))
