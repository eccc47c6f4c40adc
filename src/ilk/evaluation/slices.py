"""Slices: how good a model is on parts of the pictures, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.evaluation.intervals import Measured, wilson

LEVEL = 0.05


@dataclass(frozen=True)
class Slice:
    """The pictures that share a value, and the accuracy on them.

    ``differs``: on all the other pictures the accuracy is another, by Fisher's exact test at 5 %
    for all slices of a column together (Bonferroni).
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


def sliced(values: Sequence[str], right: NDArray[np.bool_]) -> list[Slice]:
    """Return the accuracy on the pictures of each value: the lowest first, of equals the small.

    Parameters
    ----------
    values : sequence of str
        One a picture: its camera, say.
    right : bool array [N]
        Whether it was named rightly.
    """
    from scipy.stats import fisher_exact

    names, of = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    hits, counts = np.bincount(of, right).astype(int), np.bincount(of)
    slices = []
    for name, mine, number in zip(names, hits, counts, strict=True):
        others = right.sum() - mine, len(right) - number
        table = [[mine, number - mine], [others[0], others[1] - others[0]]]
        differs = len(names) > 1 and fisher_exact(table).pvalue < LEVEL / len(names)
        slices.append(Slice(str(name), wilson(int(mine), int(number)), bool(differs)))
    return sorted(slices, key=lambda s: (s.accuracy.value, s.accuracy.n))
