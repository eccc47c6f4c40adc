"""Cleared: pictures that a person has looked at, and that are no copies of each other."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Collection
from pathlib import Path

from ilk.errors import DataError
from ilk.text import escaped, join_limited

log = logging.getLogger("ilk")
Cleared = list[frozenset[str]]


def read_cleared(file: Path | None, known: Collection[str]) -> Cleared:
    """Read a file with a line for each group of pictures that are no copies of each other.

    The paths in a line are separated by commas, and quoted as in CSV if they contain one. They are
    relative to the file or to the working directory. Empty lines and those that begin with ``#``
    are skipped.

    Parameters
    ----------
    file : Path, optional
    known : collection of str
        The absolute paths of the pictures; others are warned of.

    Returns
    -------
    list of frozenset of str
        Absolute paths.

    Raises
    ------
    DataError
        The file cannot be read, or a line names fewer than two pictures.
    """
    if file is None:
        return []
    cleared: Cleared = []
    unknown: list[str] = []
    try:
        lines = file.read_text("utf-8-sig", "surrogateescape").splitlines()
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            names = [
                n.strip() for n in next(csv.reader([line], skipinitialspace=True)) if n.strip()
            ]
            names = list(dict.fromkeys(names))
            if len(names) < 2:
                raise DataError(
                    f"Line {number} of {escaped(file)}, given as --not-copies, names "
                    f"{len(names)} picture: give two or more, separated by commas."
                )
            places = [_place(file.parent, name, known) for name in names]
            unknown += [n for n, place in zip(names, places, strict=True) if place not in known]
            cleared.append(frozenset(places))
    except (OSError, csv.Error) as error:
        raise DataError(
            f"{escaped(file)}, given as --not-copies, cannot be read: {error}."
        ) from None
    if unknown:
        log.warning(
            "--not-copies names pictures that are not in the data: %s", join_limited(unknown)
        )
    return cleared


def _place(folder: Path, name: str, known: Collection[str]) -> str:
    """Return the absolute path of a name: relative to the file if that is known."""
    beside = os.path.abspath(folder / name)  # noqa: PTH100 -- keeps links, as catalogs do
    return beside if beside in known else os.path.abspath(name)  # noqa: PTH100
