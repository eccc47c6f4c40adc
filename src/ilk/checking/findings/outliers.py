"""Outliers: pictures that a pretrained backbone sees far from the rest of their class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ilk.arrays import Floats, Targets
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.records import Finding
from ilk.checking.findings.spread import middle_and_spread
from ilk.inference.hellinger import mean_distances, roots
from ilk.text import escaped

NEIGHBOURS = 10
SAMPLE = 2_000  # of a class, that its pictures are compared with
ENOUGH = 20  # pictures of a class, for its spread to be known
FAR = 4.0  # spreads: in cats_dogs, 4 of 2,000 pictures; in ants_bees, swarms, combs, a placeholder


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find pictures that are much farther from their class than is usual in it, farthest first."""
    if evidence.features is None or not len(evidence.features):
        return
    targets = evidence.targets
    scores = strangeness(distances(evidence.features, targets), targets)
    action = "Look whether it shows what its label says; leave it if so."
    for row in np.argsort(-scores, kind="stable"):
        if not scores[row] > FAR:
            break
        label = escaped(evidence.catalog.classes[targets[row]])
        detail = (
            f"farther from the other pictures of {label} than they mostly are from one another, "
            f"by {scores[row]:.1f} times the usual spread"
        )
        yield Finding("outlier", "info", (evidence.paths[row],), detail, action)


def distances(features: Floats, targets: Targets) -> Floats:
    """Return how far each picture is from its class: the mean distance to its nearest neighbours.

    Parameters
    ----------
    features : float32 array [N, D]
    targets : int64 array [N]
        Classes; -1 of pictures without a label, which form no class.

    Returns
    -------
    float32 array [N]
        Between `roots` of features, 0 to 2; NaN of what has no class, or is alone in it.

    Notes
    -----
    "Efficient algorithms for mining outliers from large data sets" (Ramaswamy et al. 2000) ranks by
    the distance to the k-th neighbour; the mean over all k is steadier. Large classes are compared
    with a sample of themselves, which finds outliers as well as all would ("Rapid distance-based
    outlier detection via sampling", Sugiyama & Borgwardt 2013): time and memory grow with N alone.
    """
    result = np.full(len(features), np.nan, np.float32)
    for target in np.unique(targets[targets >= 0]):
        rows = np.flatnonzero(targets == target)
        if len(rows) > 1:
            result[rows] = _within(features[rows])
    return result


def _within(features: Floats) -> Floats:
    """Return the distances [N] within one class."""
    units = roots(features)
    number = len(units)
    sample = np.arange(number)
    if number > SAMPLE:
        sample = np.sort(np.random.default_rng(0).choice(number, SAMPLE, replace=False))
    return mean_distances(
        units, units[sample], min(NEIGHBOURS, number - 1), np.arange(number), sample
    )


def strangeness(distances: Floats, targets: Targets) -> Floats:
    """Return how many spreads each distance lies above the median of its class; 0 if unknown."""
    scores = np.zeros(len(distances), np.float32)
    for target in np.unique(targets[targets >= 0]):
        rows = np.flatnonzero(targets == target)
        if len(rows) < ENOUGH:
            continue
        middle, spread = middle_and_spread(distances[rows])
        if spread > 1e-6:
            scores[rows] = (distances[rows] - middle) / spread
    return scores
