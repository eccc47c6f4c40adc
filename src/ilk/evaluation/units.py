"""Units: what counts as one independent observation. Copies, and pictures of a group, do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ilk.arrays import Indices, Mask, Reals, numbered
from ilk.data.catalog import Picture

PRIOR = 5.0  # groups' worth of evidence that predictions within a group agree


@dataclass(frozen=True, eq=False)
class Units:
    """The unit that each of N pictures belongs to, and which of its pictures are copies.

    Attributes
    ----------
    group : int64 array [N]
        The same number for pictures that are not independent.
    copy : int64 array [N]
        The same number for copies of one picture, which are of one group.
    grouped : bool
        Whether there are groups of pictures that are no copies.
    """

    group: Indices
    copy: Indices
    grouped: bool

    @classmethod
    def of(cls, pictures: Sequence[Picture]) -> Units | None:
        """Return the units of digested pictures; None if each is independent of the others."""
        group = numbered([p.origin or p.path for p in pictures])
        if not len(group) or group.max() + 1 == len(group):
            return None
        copy = numbered([p.distinct or p.path for p in pictures])
        return cls(group, copy, any(p.group for p in pictures))

    def __len__(self) -> int:
        return len(np.unique(self.group))

    def __getitem__(self, which: Mask | Indices) -> Units:
        """Return the units of some of the pictures."""
        return Units(self.group[which], self.copy[which], self.grouped)

    def __str__(self) -> str:
        number = f"{len(self.group):,} pictures"
        return (
            f"{number} of {len(self):,} groups"
            if self.grouped
            else f"{number}, {len(self):,} distinct"
        )

    def effective_number(self, values: Mask | Reals) -> float:
        """Return how many independent pictures would show the mean of ``values [N]`` as precisely.

        The number of pictures over the design effect (Kish 1965, section 5.4). Predictions for
        copies count as identical; how much those within a group agree is estimated by the moments
        of pairs, and starts from "entirely" where few groups have values on both sides of the mean.
        """
        number = len(values)
        if not number:
            return 0.0
        deviations = values - values.mean()
        sizes, errors = _sums(self.group, deviations)
        copies, own = _sums(self.copy, deviations)
        pairs = float(np.square(sizes).sum() - np.square(copies).sum())
        agreement = 1.0
        if pairs and deviations.any():
            together = float(np.square(errors).sum() - np.square(own).sum())
            seen = together / (pairs * float(np.square(deviations).mean()))
            evidence = min(
                len(np.unique(self.group[side])) for side in (deviations > 0, deviations < 0)
            )
            agreement = (min(1.0, max(0.0, seen)) * evidence + PRIOR) / (evidence + PRIOR)
        return float(number**2 / (np.square(copies).sum() + agreement * pairs))


def _sums(unit: Indices, values: Reals) -> tuple[Reals, Reals]:
    """Return the size of each unit that occurs, and its sum of the values."""
    sizes = np.bincount(unit)
    present = sizes > 0
    sums: Reals = np.bincount(unit, values)[present].astype(np.float64)
    return sizes[present].astype(np.float64), sums
