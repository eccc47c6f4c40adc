"""Out-of-distribution (OOD) detection: how well it tells OOD from in-distribution pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ilk.arrays import Reals
from ilk.evaluation.intervals import Z95, Measured, share
from ilk.evaluation.units import Units


@dataclass(frozen=True)
class OodMetrics:
    """How often pictures are flagged as out of distribution.

    Attributes
    ----------
    threshold : float
        The novelty above which a picture is flagged.
    false_positive_rate : Measured
        The share of in-distribution pictures that are flagged.
    true_positive_rate : Measured or None
        The share of out-of-distribution pictures that are flagged, if there were any.
    auroc : Measured or None
        The area under the ROC curve of the two (Hanley & McNeil 1982).
    """

    threshold: float
    false_positive_rate: Measured
    true_positive_rate: Measured | None = None
    auroc: Measured | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``."""
        found, area = self.true_positive_rate, self.auroc
        return {
            "threshold": self.threshold,
            "false_alarms": self.false_positive_rate.to_dict(),
            "found": found.to_dict() if found else None,
            "auroc": area.to_dict() if area else None,
        }


def ood_metrics(
    in_distribution: Reals,
    threshold: float,
    out_of_distribution: Reals | None = None,
    units: Units | None = None,
) -> OodMetrics:
    """Measure OOD detection by the novelty scores, ``float [N]`` and ``[M]``, of both kinds.

    ``units`` says which in-distribution pictures are not independent.
    """
    flagged = share(in_distribution > threshold, units)
    if out_of_distribution is None or not len(out_of_distribution):
        return OodMetrics(threshold, flagged)
    found = share(out_of_distribution > threshold)
    return OodMetrics(threshold, flagged, found, auroc(in_distribution, out_of_distribution))


def auroc(negatives: Reals, positives: Reals) -> Measured:
    """Return the area under the ROC curve, its interval by Hanley and McNeil (1982)."""
    from scipy.stats import rankdata

    n, m = len(negatives), len(positives)
    ranks = rankdata(np.concatenate([negatives, positives]))[n:]
    area = float((ranks.sum() - m * (m + 1) / 2) / (n * m))
    # The variance of the area with half an error added, so that a perfect one is not certain.
    near = (area * min(n, m) + 0.5) / (min(n, m) + 1)
    q1, q2 = near / (2 - near), 2 * near**2 / (1 + near)
    variance = near * (1 - near) + (m - 1) * (q1 - near**2) + (n - 1) * (q2 - near**2)
    spread = Z95 * (max(0.0, variance) / (n * m)) ** 0.5
    return Measured(area, max(0.0, area - spread), min(1.0, area + spread), n + m)
