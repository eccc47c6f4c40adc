"""Unknown: how well pictures of something else entirely are told from those of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ilk.arrays import Reals
from ilk.evaluation.intervals import Z95, Measured, wilson


@dataclass(frozen=True)
class Alarms:
    """How often pictures are called unknown.

    Attributes
    ----------
    threshold : float
        The novelty above which they are.
    false : Measured
        The share of the pictures of the model's classes that are.
    true : Measured or None
        The share of strange pictures that are, where there were some.
    auroc : Measured or None
        How often a strange picture has the higher novelty of the two (Hanley & McNeil 1982).
    """

    threshold: float
    false: Measured
    true: Measured | None = None
    auroc: Measured | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in ``metrics.json``."""
        return {
            "threshold": self.threshold,
            "false_alarms": self.false.to_dict(),
            "found": self.true.to_dict() if self.true else None,
            "auroc": self.auroc.to_dict() if self.auroc else None,
        }


def alarms(usual: Reals, threshold: float, strange: Reals | None = None) -> Alarms:
    """Count alarms among usual and, if there are any, strange pictures, by their novelty.

    Parameters
    ----------
    usual, strange : float arrays [N] and [M]
    threshold : float
    """
    false = wilson(int((usual > threshold).sum()), len(usual))
    if strange is None or not len(strange):
        return Alarms(threshold, false)
    true = wilson(int((strange > threshold).sum()), len(strange))
    return Alarms(threshold, false, true, auroc(usual, strange))


def auroc(usual: Reals, strange: Reals) -> Measured:
    """Return the area under the ROC curve, its interval by Hanley and McNeil (1982)."""
    from scipy.stats import rankdata

    n, m = len(usual), len(strange)
    ranks = rankdata(np.concatenate([usual, strange]))[n:]
    area = float((ranks.sum() - m * (m + 1) / 2) / (n * m))
    # Of the area with half a picture of each kind told wrongly, so that perfection is not certain.
    near = (area * min(n, m) + 0.5) / (min(n, m) + 1)
    q1, q2 = near / (2 - near), 2 * near**2 / (1 + near)
    variance = near * (1 - near) + (m - 1) * (q1 - near**2) + (n - 1) * (q2 - near**2)
    spread = Z95 * (max(0.0, variance) / (n * m)) ** 0.5
    return Measured(area, max(0.0, area - spread), min(1.0, area + spread), n + m)
