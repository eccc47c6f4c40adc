"""Slices: how good a model is on parts of the pictures, the worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.errors import UsageError
from ilk.evaluation.intervals import Measured, wilson
from ilk.text import escaped

LEVEL = 0.05
MOST = 200  # values of a column


@dataclass(frozen=True)
class Slice:
    """The pictures that share a value, and the accuracy on them.

    ``differs``: on all the other pictures the accuracy is another, by Fisher's exact test at 5 %
    for all slices together (Bonferroni).
    """

    value: str
    accuracy: Measured
    differs: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the record that stands in ``metrics.json``."""
        return {
            "value": self.value,
            "accuracy": self.accuracy.to_dict(),
            "differs": self.differs,
        }


def all_sliced(
    columns: Mapping[str, Sequence[str]], right: NDArray[np.bool_]
) -> dict[str, list[Slice]]:
    """Return for each column the accuracy on the pictures of each of its values.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        One value a picture: its camera, say.
    right : bool array [N]
        Whether it was named rightly.

    Raises
    ------
    UsageError
        A column has more values than anybody would look at.
    """
    tests = 0
    for name, values in columns.items():
        number = len(set(values))
        if number > MOST:
            raise UsageError(
                f"The column '{escaped(name)}' has {number:,} values; slices take at most {MOST}."
            )
        tests += number
    return {name: sliced(values, right, tests) for name, values in columns.items()}


def sliced(
    values: Sequence[str], right: NDArray[np.bool_], tests: int | None = None
) -> list[Slice]:
    """Return the accuracy by value: the lowest first, of equal ones that of fewer pictures.

    ``tests`` is the number of slices that are looked at in all; default: those of these values.
    """
    from scipy.stats import fisher_exact

    names, of = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    hits, counts = np.bincount(of, right).astype(int), np.bincount(of)
    level = LEVEL / (tests or len(names))
    slices = []
    for name, mine, number in zip(names, hits, counts, strict=True):
        others = right.sum() - mine, len(right) - number
        table = [[mine, number - mine], [others[0], others[1] - others[0]]]
        differs = len(names) > 1 and fisher_exact(table).pvalue < level
        slices.append(Slice(str(name), wilson(int(mine), int(number)), bool(differs)))
    return sorted(slices, key=lambda s: (s.accuracy.value, s.accuracy.n))
