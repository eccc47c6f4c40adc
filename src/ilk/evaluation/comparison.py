"""Comparison: whether one model is better than another, on the same pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ilk.arrays import Mask
from ilk.errors import DataError
from ilk.evaluation.intervals import Z95, Measured, wilson
from ilk.evaluation.result import Evaluation
from ilk.evaluation.units import Units

Z_POWER = 0.8416  # of a power of 80 %
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two models, A and B, on the same n pictures.

    Attributes
    ----------
    difference : Measured
        Accuracy of B minus that of A, with its 95 % interval.
    only_a, only_b : int
        Pictures that only one of the two classifies correctly.
    pictures : int
        All of them, including copies; ``difference.n`` counts independent ones.
    p_value : float
        Of McNemar's exact test.
    """

    difference: Measured
    only_a: int
    only_b: int
    pictures: int
    p_value: float

    @property
    def decided(self) -> bool:
        """Whether both the interval and the test are significant."""
        apart = self.difference.low > 0 or self.difference.high < 0
        return apart and self.p_value < SIGNIFICANCE

    @property
    def needed(self) -> int | None:
        """About how many pictures would show this difference with a power of 80 %.

        By the usual formula for paired proportions (Connor 1987); None if the difference is zero.
        """
        gap = abs(self.difference.value)
        if gap == 0:
            return None
        discordant = (self.only_a + self.only_b) / self.pictures
        spread = Z95 * math.sqrt(discordant) + Z_POWER * math.sqrt(max(0.0, discordant - gap**2))
        return math.ceil((spread / gap) ** 2)

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk compare --json`` prints."""
        return {
            "difference": self.difference.to_dict(),
            "only_a_right": self.only_a,
            "only_b_right": self.only_b,
            "mcnemar_p": self.p_value,
            "decided": self.decided,
            "pictures_needed": self.needed,
        }

    def in_words(self, a: str, b: str) -> str:
        """Return a sentence on which is better; ``a`` and ``b`` are the models' names."""
        gap = self.difference
        if not self.decided:
            many = f"; about {_rounded(self.needed):,} would be needed" if self.needed else ""
            return (
                f"No significant difference on {gap.n:,} pictures{many}: {b} minus {a} is "
                f"{100 * gap.value:+.1f} points (95 % interval {100 * gap.low:+.1f} to "
                f"{100 * gap.high:+.1f})."
            )
        ends = sorted((abs(100 * gap.low), abs(100 * gap.high)))
        better, other = (b, a) if gap.value > 0 else (a, b)
        return (
            f"{better} is better than {other} by {abs(100 * gap.value):.1f} points (95 % interval "
            f"{ends[0]:.1f} to {ends[1]:.1f}, n = {gap.n:,})."
        )


def compared(right_a: Mask, right_b: Mask, units: Units | None = None) -> Comparison:
    """Compare two models by which of the same pictures, ``bool [N]``, each classifies correctly.

    The interval of the difference is Newcombe's (1998, Statistics in Medicine 17, 2635: method 10):
    Wilson's intervals of both, combined with their correlation. The test is McNemar's (1947),
    exact. With ``units`` both take the counts of as many independent pictures as would be as
    informative.
    """
    from scipy.stats import binomtest

    number = len(right_a)
    counts = np.array([
        (right_a & right_b).sum(), (right_a & ~right_b).sum(),
        (~right_a & right_b).sum(), (~right_a & ~right_b).sum(),
    ])  # fmt: skip
    only_a, only_b = int(counts[1]), int(counts[2])
    if units is None:
        difference, few_a, few_b = _newcombe(*map(float, counts)), only_a, only_b
    else:
        effective = units.effective_number(right_b.astype(np.float64) - right_a) / number
        difference = replace(_newcombe(*(counts * effective)), n=len(units))
        few_a, few_b = round(only_a * effective), round(only_b * effective)
    p = binomtest(few_b, few_a + few_b).pvalue if few_a + few_b else 1.0
    return Comparison(difference, only_a, only_b, number, float(p))


def _newcombe(both: float, only_a: float, only_b: float, neither: float) -> Measured:
    n = both + only_a + only_b + neither
    a, b = wilson(both + only_a, n), wilson(both + only_b, n)
    phi = _phi(both, only_a, only_b, neither)

    def reach(down: float, up: float) -> float:
        return math.sqrt(max(0.0, down**2 - 2 * phi * down * up + up**2))

    gap = b.value - a.value
    low = gap - reach(b.value - b.low, a.high - a.value)
    high = gap + reach(b.high - b.value, a.value - a.low)
    return Measured(gap, max(-1.0, low), min(1.0, high), round(n))


def _phi(both: float, only_a: float, only_b: float, neither: float) -> float:
    """Return the correlation of the two, with Newcombe's continuity correction."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    product = float(both * neither - only_a * only_b)
    if product > 0:
        product = max(product - (both + only_a + only_b + neither) / 2, 0)
    return product / math.sqrt(margins)


def _rounded(number: int | None) -> int:
    """Return a number rounded up to two significant digits."""
    if not number:
        return 0
    digits = max(0, len(str(number)) - 2)
    unit: int = 10**digits
    return math.ceil(number / unit) * unit


@dataclass(frozen=True)
class PairwiseComparison:
    """Two models on the same pictures: the scores of both, and which is better.

    Attributes
    ----------
    by_class : dict of str to Comparison
        For the classes that the data has.
    """

    a: Evaluation
    b: Evaluation
    overall: Comparison
    by_class: Mapping[str, Comparison]

    def __str__(self) -> str:
        return self.overall.in_words("A", "B")

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk compare --json`` prints."""
        return {
            "a": self.a.model,
            "b": self.b.model,
            "data": self.a.data,
            "scored_on": self.a.scored_on,
            "accuracy_a": self.a.accuracy.to_dict(),
            "accuracy_b": self.b.accuracy.to_dict(),
            **self.overall.to_dict(),
            "by_class": {name: found.to_dict() for name, found in self.by_class.items()},
        }


def compare_evaluations(a: Evaluation, b: Evaluation) -> PairwiseComparison:
    """Compare the evaluations of two models on the same pictures.

    Raises
    ------
    DataError
        The pictures differ.
    """
    if [p.path for p in a.pictures] != [p.path for p in b.pictures]:
        raise DataError("The two models were not scored on the same pictures.")
    right_a, right_b = a.right, b.right
    # By label: the order of the classes may differ.
    labels = np.array([p.label for p in a.pictures])
    by_class = {
        str(name): compared(
            right_a[mine], right_b[mine], a.units[mine] if a.units is not None else None
        )
        for name in np.unique(labels)
        if (mine := labels == name).any()
    }
    return PairwiseComparison(a, b, compared(right_a, right_b, a.units), by_class)
