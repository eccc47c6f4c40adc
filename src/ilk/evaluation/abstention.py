"""Abstention: accepting only predictions whose probability reaches a threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilk.arrays import Mask, Reals
from ilk.errors import DataError, UsageError
from ilk.evaluation.intervals import Measured, share, wilson
from ilk.evaluation.units import Units

CURVE_POINTS = 200


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The error rate of accepted predictions (risk) by the share that is accepted (coverage).

    Attributes
    ----------
    coverage, risk : float array [N]
        From the most confident prediction alone to all of them.
    area : float
        Mean risk over all coverages (El-Yaniv and Wiener 2010; AURC): smaller is better.
    best_area : float
        The lower bound of the area: every wrong prediction less confident than every right one.
    """

    coverage: Reals
    risk: Reals
    area: float
    best_area: float

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``, with at most 200 points."""
        number = len(self.coverage)
        points = np.unique(np.linspace(0, number - 1, min(number, CURVE_POINTS)).astype(int))
        return {
            "area": self.area,
            "best_area": self.best_area,
            "coverage": self.coverage[points].round(6).tolist(),
            "risk": self.risk[points].round(6).tolist(),
        }


def risk_coverage(confidence: Reals, right: Mask) -> RiskCoverage:
    """Return the risk-coverage curve of predictions.

    Parameters
    ----------
    confidence : float array [N]
        Predictions of equal confidence are accepted together.
    right : bool array [N]
    """
    if not len(confidence):
        raise DataError("A risk-coverage curve needs at least one prediction.")
    coverage, risk = _curve(confidence, right)
    _, least = _curve(right.astype(np.float64), right)
    return RiskCoverage(coverage, risk, float(risk.mean()), float(least.mean()))


def _curve(confidence: Reals, right: Mask) -> tuple[Reals, Reals]:
    order = np.argsort(-confidence, kind="stable")
    ranks = np.arange(1, len(order) + 1)
    wrong = np.cumsum(~right[order])
    # The order of ties is arbitrary: each counts as the average of its tie.
    _, first, ties = np.unique(-confidence[order], return_index=True, return_counts=True)
    ends = first + ties - 1
    before = np.concatenate(([0], wrong[ends[:-1]]))
    rate = (wrong[ends] - before) / ties
    within = ranks - np.repeat(first, ties)
    even = np.repeat(before, ties) + within * np.repeat(rate, ties)
    return ranks / len(order), even / ranks


@dataclass(frozen=True)
class Threshold:
    """The lowest accepted probability, with the precision and coverage measured at it."""

    value: float
    precision: Measured
    coverage: Measured

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``."""
        return {
            "value": self.value,
            "precision": self.precision.to_dict(),
            "coverage": self.coverage.to_dict(),
        }


def threshold_for_coverage(confidence: Reals, right: Mask, wanted: float) -> Threshold:
    """Return the highest threshold that accepts at least a share of the predictions.

    Raises
    ------
    UsageError
        ``wanted`` is not between 0 and 1.
    """
    _check_share("--target-coverage", wanted)
    number = max(1, math.ceil(wanted * len(confidence) - 1e-9))
    return at(float(np.sort(confidence)[::-1][number - 1]), confidence, right)


def threshold_for_precision(confidence: Reals, right: Mask, wanted: float) -> Threshold:
    """Return a low threshold at which accepted predictions have the wanted precision.

    The precision should hold on new pictures, so the lower end of its 95 % interval must reach the
    target. To keep one of many thresholds from passing by chance, they are tested in a fixed order,
    each accepting some more pictures, until one fails (fixed-sequence testing: "Learn then test",
    Angelopoulos et al. 2021, arXiv 2110.01052).

    Raises
    ------
    UsageError
        ``wanted`` is not between 0 and 1.
    DataError
        There are too few pictures, or too many mistakes, to show such a precision.
    """
    _check_share("--target-precision", wanted)
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    sorted_confidence = confidence[order]
    least = right_in_a_row(wanted)
    last = -1
    for number in _steps(least, len(confidence)):
        end = int(np.searchsorted(-sorted_confidence, -sorted_confidence[number - 1], "right"))
        if wilson(int(hits[end - 1]), end).low < wanted:
            break
        last = end - 1
    if last < 0:
        raise DataError(
            f"No threshold shows a precision of {wanted:g} on the {len(confidence):,} held-out "
            f"pictures: that takes at least {least:,} accepted pictures without a mistake. "
            "Give a lower --target-precision, or train on more pictures."
        )
    return at(float(sorted_confidence[last]), confidence, right)


def at(value: float, confidence: Reals, right: Mask, units: Units | None = None) -> Threshold:
    """Return a threshold with its precision and coverage on these predictions."""
    accepted = confidence >= value
    precision = share(right[accepted], units[accepted] if units else None)
    return Threshold(value, precision, share(accepted, units))


def _steps(least: int, most: int) -> Iterator[int]:
    """Yield how many predictions to accept: in steps of a twentieth, and finally all.

    The first step can afford a mistake if there are enough predictions. Nothing is yielded if there
    are fewer than ``least``.
    """
    share = -(-most // 20)
    forgiving = 2 * least if 2 * least <= most else least
    if least <= most:
        yield from range(max(forgiving, share), most, share)
        yield most


def right_in_a_row(wanted: float) -> int:
    """Return how many correct predictions without a mistake show a precision."""
    number = 1
    while wilson(number, number).low < wanted and number < 10**7:
        number *= 2
    low = number // 2
    while low + 1 < number:
        middle = (low + number) // 2
        low, number = (low, middle) if wilson(middle, middle).low >= wanted else (middle, number)
    return number


def _check_share(flag: str, wanted: float) -> None:
    if not 0 < wanted < 1:
        raise UsageError(f"{flag} {wanted:g} is out of range; give a share such as 0.95.")
