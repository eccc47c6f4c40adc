"""Slices: how good a model is on parts of the pictures, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.evaluation.intervals import Measured, wilson


@dataclass(frozen=True)
class Slice:
    """The pictures that share a value, and the accuracy on them.

    ``differs``: its interval does not hold the accuracy on all the other pictures.
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
    """Return the accuracy on the pictures of each value: the lowest first, of equal ones the small.

    Parameters
    ----------
    values : sequence of str
        One a picture: its camera, say.
    right : bool array [N]
        Whether it was named rightly.
    """
    names, of = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    hits, counts = np.bincount(of, right), np.bincount(of)
    slices = []
    for name, mine, number in zip(names, hits, counts, strict=True):
        accuracy = wilson(int(mine), int(number))
        others = len(right) - number
        rest = (right.sum() - mine) / others if others else accuracy.value
        slices.append(Slice(str(name), accuracy, not accuracy.low <= rest <= accuracy.high))
    return sorted(slices, key=lambda s: (s.accuracy.value, s.accuracy.n))
