"""Outliers: pictures whose features are far from the rest of their class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ilk.arrays import Floats, Targets
from ilk.checking.findings.common import median_and_spread
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.records import Finding
from ilk.data.split import subsample
from ilk.inference.hellinger import hellinger, mean_distances
from ilk.text import escaped

NEIGHBOURS = 10
SAMPLE = 2_000  # pictures of a class that the others are compared with
MIN_PICTURES = 20  # of a class, to estimate its spread
# Spreads: in cats_dogs 4 of 2,000 pictures; in ants_bees swarms, combs, placeholders.
MAX_SCORE = 4.0


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find pictures that are unusually far from their class, farthest first."""
    if evidence.features is None or not len(evidence.features):
        return
    targets = evidence.targets
    scores = outlier_scores(distances(evidence.features, targets), targets)
    action = "Check whether it shows what its label says; if so, leave it."
    for i in np.argsort(-scores, kind="stable"):
        if not scores[i] > MAX_SCORE:
            break
        label = escaped(evidence.catalog.classes[targets[i]])
        detail = (
            f"is farther from the other pictures of {label} than they usually are from each other, "
            f"by {scores[i]:.1f} times the usual spread"
        )
        yield Finding("outlier", "info", (evidence.paths[i],), detail, action)


def distances(features: Floats, targets: Targets) -> Floats:
    """Return the mean distance of each picture to its nearest neighbours of the same class.

    Parameters
    ----------
    features : float32 array [N, D]
    targets : int64 array [N]
        Classes; -1 for pictures without a label.

    Returns
    -------
    float32 array [N]
        Between `hellinger` features, 0 to 2; NaN without other pictures of the class.

    Notes
    -----
    "Efficient algorithms for mining outliers from large data sets" (Ramaswamy et al. 2000) ranks by
    the distance to the k-th neighbour; the mean over all k is more stable. Large classes are
    compared with a sample of themselves, which finds outliers as well ("Rapid distance-based
    outlier detection via sampling", Sugiyama & Borgwardt 2013): time and memory are linear in N.
    """
    result = np.full(len(features), np.nan, np.float32)
    for target in np.unique(targets[targets >= 0]):
        mine = np.flatnonzero(targets == target)
        if len(mine) > 1:
            result[mine] = _within(features[mine])
    return result


def _within(features: Floats) -> Floats:
    """Return the distances [N] within one class."""
    units = hellinger(features)
    number = len(units)
    sample = subsample(np.arange(number), seed=0, most=SAMPLE)
    return mean_distances(
        units, units[sample], min(NEIGHBOURS, number - 1), np.arange(number), sample
    )


def outlier_scores(distances: Floats, targets: Targets) -> Floats:
    """Return how many spreads each distance is above the median of its class; 0 if unknown."""
    scores = np.zeros(len(distances), np.float32)
    for target in np.unique(targets[targets >= 0]):
        mine = np.flatnonzero(targets == target)
        if len(mine) < MIN_PICTURES:
            continue
        middle, spread = median_and_spread(distances[mine])
        if spread > 1e-6:
            scores[mine] = (distances[mine] - middle) / spread
    return scores
