"""Slices: the accuracy on subsets of the pictures, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilk.arrays import Mask
from ilk.errors import UsageError
from ilk.evaluation.intervals import Measured, wilson
from ilk.text import escaped

SIGNIFICANCE = 0.05
MAX_VALUES = 200  # of a column


@dataclass(frozen=True)
class Slice:
    """The accuracy on the pictures that share a value.

    ``differs`` if it differs significantly from that on all other pictures: Fisher's exact test at
    5 %, corrected for the number of slices (Bonferroni).
    """

    value: str
    accuracy: Measured
    differs: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``."""
        return {
            "value": self.value,
            "accuracy": self.accuracy.to_dict(),
            "differs": self.differs,
        }


def all_sliced(columns: Mapping[str, Sequence[str]], right: Mask) -> dict[str, list[Slice]]:
    """Return the accuracy by value for each column.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        A value for each picture, such as its camera.
    right : bool array [N]
        Whether its prediction is correct.

    Raises
    ------
    UsageError
        A column has more than 200 values.
    """
    tests = 0
    for name, values in columns.items():
        number = len(set(values))
        if number > MAX_VALUES:
            raise UsageError(
                f"The column '{escaped(name)}' has {number:,} values; slices take at most "
                f"{MAX_VALUES}."
            )
        tests += number
    return {name: sliced(values, right, tests) for name, values in columns.items()}


def sliced(values: Sequence[str], right: Mask, tests: int | None = None) -> list[Slice]:
    """Return the accuracy by value, lowest first; of equal ones, that of fewer pictures first.

    ``tests`` is the total number of slices tested; default: the number of values.
    """
    from scipy.stats import fisher_exact

    names, of = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    hits, counts = np.bincount(of, right).astype(int), np.bincount(of)
    level = SIGNIFICANCE / (tests or len(names))
    slices = []
    for name, mine, number in zip(names, hits, counts, strict=True):
        others = right.sum() - mine, len(right) - number
        table = [[mine, number - mine], [others[0], others[1] - others[0]]]
        differs = len(names) > 1 and fisher_exact(table).pvalue < level
        slices.append(Slice(str(name), wilson(int(mine), int(number)), bool(differs)))
    return sorted(slices, key=lambda s: (s.accuracy.value, s.accuracy.n))
