"""Slices: the accuracy on subsets of the pictures, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ilk.arrays import Mask, numbered
from ilk.errors import UsageError
from ilk.evaluation.intervals import Measured, share
from ilk.evaluation.units import Units
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
    pictures: int

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``."""
        return {
            "value": self.value,
            "accuracy": self.accuracy.to_dict(),
            "differs": self.differs,
            "pictures": self.pictures,
        }


def all_sliced(
    columns: Mapping[str, Sequence[str]], right: Mask, units: Units | None = None
) -> dict[str, list[Slice]]:
    """Return the accuracy by value for each column.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        A value for each picture, such as its camera.
    right : bool array [N]
        Whether its prediction is correct.
    units : Units, optional
        Which pictures are not independent.

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
    return {name: sliced(values, right, tests, units) for name, values in columns.items()}


def sliced(
    values: Sequence[str], right: Mask, tests: int | None = None, units: Units | None = None
) -> list[Slice]:
    """Return the accuracy by value, lowest first; of equal ones, that of fewer pictures first.

    ``tests`` is the total number of slices tested; default: the number of values.
    """
    from scipy.stats import fisher_exact

    names, of = sorted(set(values)), numbered(values)
    level = SIGNIFICANCE / (tests or len(names))
    slices = []
    for k, name in enumerate(names):
        mine = of == k
        table = [_effective_counts(right, chosen, units) for chosen in (mine, ~mine)]
        differs = len(names) > 1 and fisher_exact(table).pvalue < level
        measured = share(right[mine], units[mine] if units else None)
        slices.append(Slice(str(name), measured, bool(differs), int(mine.sum())))
    return sorted(slices, key=lambda s: (s.accuracy.value, s.pictures))


def _effective_counts(right: Mask, chosen: Mask, units: Units | None) -> tuple[int, int]:
    """Return how many of the chosen predictions are correct and wrong, of independent ones."""
    flags = right[chosen]
    number = units[chosen].effective_number(flags) if units else len(flags)
    correct = round(flags.mean() * number) if len(flags) else 0
    return correct, round(number) - correct
