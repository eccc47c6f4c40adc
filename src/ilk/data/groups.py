"""Groups: pictures of one patient, animal, plate or session, which are never separated.

A model that has seen a patient in training recognises the patient in the test pictures, so a score
on them is too high. Pictures of one group stay in one split and in one fold of cross-validation,
and intervals count groups.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ilk.data.catalog import Catalog, Picture
from ilk.data.columns import column, columns_of
from ilk.errors import DataError, UsageError
from ilk.text import escaped, pluralize

log = logging.getLogger("ilk")
COLUMN = "group"  # of a table: its pictures are grouped by it unless something else is asked for


def with_groups(catalog: Catalog, by: str | None) -> Catalog:
    """Return the catalog with the group of each picture.

    Parameters
    ----------
    by : str, optional
        A column (of the table, or one of `ilk.data.columns.FROM_FILES` or ``folder``), several
        joined by ``+``, or a regular expression with parentheses, which is searched in the path
        with ``/`` between folders. Default: the table's column ``group``, if it has one.

    Raises
    ------
    UsageError
        There is no such column, or the expression is not valid.
    DataError
        No picture has a group, or all have the same.
    """
    pictures = catalog.pictures
    if by is None:
        if COLUMN not in columns_of(pictures):
            return catalog
        by = COLUMN
    names = group_names(pictures, by)
    bare = names.count("")
    if bare == len(names):
        raise DataError(
            f"--group-by {escaped(by)}: none of the {len(names):,} pictures has a group; the first "
            f"is {escaped(pictures[0].path)}."
        )
    if len(set(names)) == 1:
        raise DataError(
            f"--group-by {escaped(by)}: all {pluralize(len(names), 'picture')} are in one group, "
            f"'{escaped(names[0])}', which cannot be divided between training and test."
        )
    if bare:
        log.warning(
            "%s without a group by %s: each counts as a group of its own",
            pluralize(bare, "picture"), escaped(by),
        )  # fmt: skip
    grouped = (replace(p, group=name) for p, name in zip(pictures, names, strict=True))
    return replace(catalog, pictures=tuple(grouped))


def groups_any(pictures: Sequence[Picture], by: str) -> bool:
    """Return whether some of the pictures would have a group: see `with_groups`."""
    try:
        return len(set(group_names(pictures, by))) > 1
    except UsageError:  # no such column
        return False


def group_names(pictures: Sequence[Picture], by: str) -> list[str]:
    """Return the name of each picture's group, '' where it has none: see `with_groups`."""
    if by in columns_of(pictures):
        return column(pictures, by)
    return _matches(by, pictures) if "(" in by else _joined(by, pictures)


def _joined(by: str, pictures: Sequence[Picture]) -> list[str]:
    """Return the values of one or more columns, joined; '' where any of them is empty."""
    columns = [column(pictures, name.strip()) for name in by.split("+")]
    return [" ".join(values) if all(values) else "" for values in zip(*columns, strict=True)]


def _matches(by: str, pictures: Sequence[Picture]) -> list[str]:
    """Return what the parentheses of a regular expression match in each path; '' where nothing."""
    try:
        expression = re.compile(by)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"--group-by {escaped(by)} is not a regular expression: {error}."
        ) from None
    if not expression.groups:
        raise UsageError(f"--group-by {escaped(by)} has no parentheses around the group's name.")
    found = (expression.search(Path(p.path).as_posix()) for p in pictures)
    return [" ".join(part or "" for part in m.groups()).strip() if m else "" for m in found]
