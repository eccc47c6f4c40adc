"""Conformal: sets of classes that hold the true one as often as promised.

Split conformal prediction: a score says how odd a class is for a picture; sets keep the classes
that are no odder than most true classes were on held-out pictures. If these and new pictures come
from the same source, the true class is in the set at least as often as promised, on average over
draws of the held-out pictures (Vovk et al. 2005; Angelopoulos and Bates 2021, arXiv 2107.07511).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ilk.arrays import Mask, Reals, Targets
from ilk.errors import DataError
from ilk.evaluation.intervals import Measured, wilson

Method = Literal["lac", "raps"]
# RAPS: how much each class beyond the first few adds to the score (Angelopoulos et al. 2021,
# arXiv 2009.14193, section 4: small sets).
PENALTY, FREE = 0.01, 5


def oddness(probabilities: Reals, method: Method, seed: int = 0) -> Reals:
    """Return how odd each class is for each picture, ``float64 [N, K]``.

    ``lac``: one minus its probability (Sadinle et al. 2019, arXiv 1609.00451): the smallest sets on
    average. ``raps``: the probability of all classes that are likelier, a random part of its own
    (drawn by ``seed``), and a penalty for its rank (Angelopoulos et al. 2021, equation 4): sets
    grow where pictures are hard, so that coverage is more even.
    """
    p = probabilities.astype(np.float64)
    if method == "lac":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    parts = np.random.default_rng(seed).random((len(p), 1))
    sums = np.cumsum(ranked, axis=1) - (1 - parts) * ranked
    sums += PENALTY * np.maximum(np.arange(1, p.shape[1] + 1) - FREE, 0)
    scores = np.empty_like(sums)
    np.put_along_axis(scores, order, sums, axis=1)
    return scores


def limit(probabilities: Reals, targets: Targets, wanted: float, method: Method = "lac") -> float:
    """Return the highest oddness that sets still hold, from held-out pictures.

    The ``ceil((n + 1) wanted)``-th smallest of the true classes' oddness.

    Raises
    ------
    DataError
        There are too few pictures for such a coverage.
    """
    number = len(targets)
    if not enough(number, wanted):
        raise DataError(
            f"Sets that hold the true class {100 * wanted:g} % of the time need at least "
            f"{math.ceil(wanted / (1 - wanted) - 1e-9):,} held-out pictures; there are {number:,}."
        )
    of_truth = oddness(probabilities, method)[np.arange(number), targets]
    return float(np.sort(of_truth)[_rank(number, wanted) - 1])


def enough(number: int, wanted: float) -> bool:
    """Say whether so many held-out pictures suffice for a promise."""
    return _rank(number, wanted) <= number


def _rank(number: int, wanted: float) -> int:
    return math.ceil((number + 1) * wanted - 1e-9)


def sets(probabilities: Reals, highest: float, method: Method = "lac", seed: int = 1) -> Mask:
    """Return which classes are in the set of each picture, ``bool [N, K]``.

    A set may be empty: then every class is odder than true classes mostly are.
    """
    return oddness(probabilities, method, seed) <= highest + 1e-12


@dataclass(frozen=True)
class Coverage:
    """How often sets hold the true class, and how large they are.

    Attributes
    ----------
    overall : Measured
    by_class : dict of str to Measured
        Of the classes that occur.
    mean_size : float
    singles : Measured
        The share of sets of one class.
    """

    overall: Measured
    by_class: dict[str, Measured]
    mean_size: float
    singles: Measured

    def to_dict(self) -> dict[str, Any]:
        """Return the record that stands in ``metrics.json``."""
        return {
            "coverage": self.overall.to_dict(),
            "by_class": {name: found.to_dict() for name, found in self.by_class.items()},
            "mean_size": self.mean_size,
            "singles": self.singles.to_dict(),
        }


def covered(kept: Mask, targets: Targets, classes: tuple[str, ...]) -> Coverage:
    """Score sets ``bool [N, K]`` against the true classes."""
    hits = kept[np.arange(len(targets)), targets]
    sizes = kept.sum(axis=1)
    by_class = {
        name: wilson(int(hits[targets == k].sum()), int((targets == k).sum()))
        for k, name in enumerate(classes)
        if (targets == k).any()
    }
    return Coverage(
        wilson(int(hits.sum()), len(hits)),
        by_class,
        float(sizes.mean()) if len(sizes) else math.nan,
        wilson(int((sizes == 1).sum()), len(sizes)),
    )
