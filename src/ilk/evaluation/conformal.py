"""Conformal prediction: sets of classes that contain the true one as often as promised.

Split conformal prediction: a nonconformity score says how badly a class fits a picture; sets keep
the classes whose score is no higher than that of most true classes on held-out pictures. If these
and new pictures are exchangeable, the true class is in the set at least as often as promised, on
average over draws of the held-out pictures (Vovk et al. 2005; Angelopoulos and Bates 2021,
arXiv 2107.07511).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ilk.arrays import Mask, Reals, Targets
from ilk.errors import DataError
from ilk.evaluation.intervals import Measured, share
from ilk.evaluation.units import Units

Method = Literal["lac", "raps"]
# RAPS: the penalty of each class beyond the first few (Angelopoulos et al. 2021, arXiv 2009.14193,
# section 4: small sets).
PENALTY, FREE_RANKS = 0.01, 5
COVERAGE = 0.9


def nonconformity(probabilities: Reals, method: Method, seed: int = 0) -> Reals:
    """Return the nonconformity score of each class for each picture, ``float64 [N, K]``.

    ``lac``: one minus its probability (Sadinle et al. 2019, arXiv 1609.00451): the smallest sets on
    average. ``raps``: the probability of all likelier classes, a random part of its own (drawn by
    ``seed``), and a penalty for its rank (Angelopoulos et al. 2021, equation 4): sets grow where
    pictures are hard, so that coverage is more even.
    """
    p = probabilities.astype(np.float64)
    if method == "lac":
        return 1 - p
    order = np.argsort(-p, axis=1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=1)
    parts = np.random.default_rng(seed).random((len(p), 1))
    sums = np.cumsum(ranked, axis=1) - (1 - parts) * ranked
    sums += PENALTY * np.maximum(np.arange(1, p.shape[1] + 1) - FREE_RANKS, 0)
    scores = np.empty_like(sums)
    np.put_along_axis(scores, order, sums, axis=1)
    return scores


def limit(probabilities: Reals, targets: Targets, wanted: float, method: Method = "lac") -> float:
    """Return the highest nonconformity score that sets include, from held-out pictures.

    The ``ceil((n + 1) wanted)``-th smallest score of the true classes.

    Raises
    ------
    DataError
        There are too few pictures for such a coverage.
    """
    number = len(targets)
    if not enough(number, wanted):
        raise DataError(
            f"Sets with a coverage of {100 * wanted:g} % need at least "
            f"{math.ceil(wanted / (1 - wanted) - 1e-9):,} held-out pictures; there are {number:,}."
        )
    of_truth = nonconformity(probabilities, method)[np.arange(number), targets]
    return float(np.sort(of_truth)[_rank(number, wanted) - 1])


def enough(number: int, wanted: float) -> bool:
    """Return whether so many held-out pictures suffice for a coverage."""
    return _rank(number, wanted) <= number


def _rank(number: int, wanted: float) -> int:
    return math.ceil((number + 1) * wanted - 1e-9)


def sets(probabilities: Reals, highest: float, method: Method = "lac", seed: int = 1) -> Mask:
    """Return which classes are in the set of each picture, ``bool [N, K]``.

    A set may be empty: then every class fits worse than true classes usually do.
    """
    return nonconformity(probabilities, method, seed) <= highest + 1e-12


@dataclass(frozen=True)
class SetScores:
    """Coverage and size of the prediction sets of one method.

    Attributes
    ----------
    method : {"lac", "raps"}
    promised : float
        The coverage that the sets were calibrated for.
    held_out : int
        The number of pictures that they were calibrated on.
    coverage : Measured
        How often sets contain the true class.
    by_class : dict of str to Measured
        The same for each class that occurs.
    singles : Measured
        The share of sets with exactly one class.
    """

    method: Method
    promised: float
    held_out: int
    coverage: Measured
    by_class: dict[str, Measured]
    mean_size: float
    singles: Measured

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``."""
        return {
            "promised": self.promised,
            "held_out": self.held_out,
            "coverage": self.coverage.to_dict(),
            "by_class": {name: found.to_dict() for name, found in self.by_class.items()},
            "mean_size": self.mean_size,
            "singles": self.singles.to_dict(),
        }


def set_scores(
    probabilities: Reals,
    targets: Targets,
    held_out: tuple[Reals, Targets],
    classes: tuple[str, ...],
    promised: float = COVERAGE,
    units: Units | None = None,
) -> list[SetScores]:
    """Score the sets of each method; none where too few pictures were held out.

    Parameters
    ----------
    probabilities, targets : float array [N, K] and int64 array [N]
        Of the pictures that are evaluated.
    held_out : float array [M, K] and int64 array [M]
        The same of the calibration set.
    promised : float
        The coverage to calibrate for.
    units : Units, optional
        Which of the evaluated pictures are not independent.
    """
    if not enough(len(held_out[1]), promised):
        return []
    scores = []
    for method in get_args(Method):
        kept = sets(probabilities, limit(*held_out, promised, method), method)
        hits, sizes = kept[np.arange(len(targets)), targets], kept.sum(axis=1)
        scores.append(
            SetScores(
                method,
                promised,
                len(held_out[1]),
                share(hits, units),
                {
                    name: share(hits[mine], units[mine] if units else None)
                    for k, name in enumerate(classes)
                    if (mine := targets == k).any()
                },
                float(sizes.mean()) if len(sizes) else math.nan,
                share(sizes == 1, units),
            )
        )
    return scores
