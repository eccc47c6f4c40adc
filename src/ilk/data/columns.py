"""Columns: attributes of pictures that they can be grouped and scores be sliced by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ilk.data.catalog import Picture
from ilk.data.inspection.facts import Facts, facts_of
from ilk.errors import DecodeError, UsageError
from ilk.runtime import cores
from ilk.text import escaped, join_limited

CHECK_COLUMNS = ("suspect", "why")  # remarks of `ilk.write_catalog`, not attributes of pictures
MAX_VALUES = 20  # of a column that is sliced by without being asked for


def column(pictures: Sequence[Picture], name: str) -> list[str]:
    """Return the value of each picture, '' where it has none.

    Parameters
    ----------
    name : str
        A column of the pictures' table, one of `FROM_FILES`, or "folder".

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
        return list(pool.map(lambda picture: _value(picture, FROM_FILES[name]), pictures))


def refuse_unknown_columns(pictures: Sequence[Picture], names: Iterable[str]) -> None:
    """Refuse unknown columns before the work begins.

    Raises
    ------
    UsageError
        There is no such column.
    """
    known = columns_of(pictures)
    for name in names:
        if name not in {*known, *FROM_FILES, "folder"}:
            theirs = f"the table has {join_limited(known, 9)}, and " if known else ""
            own = ", ".join((*FROM_FILES, "folder"))
            raise UsageError(
                f"There is no column '{escaped(name)}': {theirs}all pictures have {own}."
            )


def columns_of(pictures: Sequence[Picture]) -> list[str]:
    """Return the columns that the pictures' table adds, sorted by name."""
    return sorted({name for p in pictures for name in p.columns})


def default_columns(pictures: Sequence[Picture]) -> list[str]:
    """Return the table's columns with 2 to 20 values, without those that ``ilk check`` wrote."""
    return [
        name
        for name in columns_of(pictures)
        if name not in CHECK_COLUMNS
        and 1 < len({p.columns.get(name, "") for p in pictures}) <= MAX_VALUES
    ]


def _value(picture: Picture, of: Callable[[Facts], str]) -> str:
    try:
        return of(facts_of(picture.read()))
    except (DecodeError, OSError):
        return ""


def _size(facts: Facts) -> str:
    """Return the range of the side of a square of equal area, between powers of two."""
    side = (facts.width * facts.height) ** 0.5
    low = 1 << max(0, int(side).bit_length() - 1)
    return f"{low:,} to {2 * low - 1:,} pixels"


def _shape(facts: Facts) -> str:
    turned = facts.orientation >= 5
    width, height = (facts.height, facts.width) if turned else (facts.width, facts.height)
    if width > 1.1 * height:
        return "wide"
    return "tall" if height > 1.1 * width else "square"


FROM_FILES: Mapping[str, Callable[[Facts], str]] = {
    "size": _size,
    "shape": _shape,
    "format": lambda facts: facts.format,
    "camera": lambda facts: facts.camera,
    "day": lambda facts: facts.day,
}
