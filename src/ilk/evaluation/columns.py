"""Columns: what pictures have in common, by which scores can be taken apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ilk.data.catalog import Picture
from ilk.data.inspection.facts import Facts, facts_of
from ilk.errors import DecodeError, UsageError
from ilk.runtime import cores
from ilk.text import escaped, join_limited

MOST_VALUES = 20  # of a table's column that is looked at unasked


def column(pictures: Sequence[Picture], name: str) -> list[str]:
    """Return a value for each picture, '' where there is none.

    Parameters
    ----------
    pictures : sequence of Picture
    name : str
        A column of the table that the pictures come from, or one of `OWN`.

    Raises
    ------
    UsageError
        There is no such column.
    """
    refuse_unknown_columns(pictures, [name])
    if name in columns_of(pictures):
        return [p.columns.get(name, "") for p in pictures]
    if name == "folder":
        return [Path(p.path).parent.name for p in pictures]
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(lambda picture: _value(picture, OWN[name]), pictures))


def refuse_unknown_columns(pictures: Sequence[Picture], names: Iterable[str]) -> None:
    """Refuse columns that are not there, before the work begins.

    Raises
    ------
    UsageError
        There is no such column.
    """
    known = columns_of(pictures)
    for name in names:
        if name not in {*known, *OWN, "folder"}:
            theirs = f"the table has {join_limited(known, 9)}; " if known else ""
            own = ", ".join((*OWN, "folder"))
            raise UsageError(
                f"No column '{escaped(name)}': {theirs}of any pictures ilk knows {own}."
            )


def columns_of(pictures: Sequence[Picture]) -> list[str]:
    """Return the names of the columns that a table gives the pictures."""
    return sorted({name for p in pictures for name in p.columns})


def worth_showing(pictures: Sequence[Picture]) -> list[str]:
    """Return the table's columns that part the pictures into a few groups."""
    kept = []
    for name in columns_of(pictures):
        if 1 < len({p.columns.get(name, "") for p in pictures}) <= MOST_VALUES:
            kept.append(name)
    return kept


def _value(picture: Picture, of: Callable[[Facts], str]) -> str:
    try:
        return of(facts_of(picture.read()))
    except (DecodeError, OSError):
        return ""


def _size(facts: Facts) -> str:
    """Return the power of two that the side of a square with as many pixels lies above."""
    side = (facts.width * facts.height) ** 0.5
    low = 1 << max(0, int(side).bit_length() - 1)
    return f"{low:,} to {2 * low - 1:,} pixels"


def _shape(facts: Facts) -> str:
    turned = facts.orientation >= 5
    width, height = (facts.height, facts.width) if turned else (facts.width, facts.height)
    if width > 1.1 * height:
        return "wide"
    return "tall" if height > 1.1 * width else "square"


OWN: Mapping[str, Callable[[Facts], str]] = {
    "size": _size,
    "shape": _shape,
    "format": lambda facts: facts.format,
    "camera": lambda facts: facts.camera,
    "day": lambda facts: facts.day,
}
