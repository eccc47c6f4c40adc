"""Tables: a table that names pictures and their labels as a Catalog."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ilk.data.catalog import OWN_COLUMNS, Catalog, LeftOut, Picture
from ilk.data.names import NOT_DOWNLOADED, SPLIT_NAMES, has_picture_suffix, is_web_address
from ilk.data.table_files import TABLE_READERS, Table, cell_text, column_name, refuse_repeated
from ilk.data.table_paths import TablePaths
from ilk.errors import DataError, UsageError
from ilk.spec import SPLITS
from ilk.text import escaped, join_limited, pluralize

log = logging.getLogger("ilk")
IS_VALID = {"true": "val", "1": "val", "false": "train", "0": "train"}
ONE = {"1", "1.0", "true", "True", "TRUE"}
ZERO_OR_ONE = ONE | {"0", "0.0", "false", "False", "FALSE"}
RENAMABLE = ("path", "label", "split", "group", "left_out")
LABEL_NAMES = {
    *("class", "classname", "class_name", "category", "target", "choice", "labels", "species"),
    *("diagnosis", "breed", "tag", "y"),
}


def parse_columns(columns: Mapping[str, str] | str | None) -> dict[str, str]:
    """Return what a table calls ilk's columns, of ``path=image,label=choice``.

    Raises
    ------
    UsageError
        It has another form, or ilk has no such column.
    """
    if columns is None:
        return {}
    pairs: Iterable[tuple[str, str]]
    if isinstance(columns, str):
        parts = (part.partition("=") for part in columns.split(","))
        pairs = [(ours.strip().lower(), theirs.strip()) for ours, _, theirs in parts]
    elif isinstance(columns, Mapping):
        pairs = columns.items()
    else:
        raise UsageError(
            f"The columns are of type {type(columns).__name__}; give a dict or a str such "
            "as path=NAME,label=NAME."
        )
    for ours, theirs in pairs:
        if ours not in RENAMABLE or not theirs:
            raise UsageError(
                f"--columns: '{escaped(f'{ours}={theirs}')}' is not understood. Give what the "
                f"table calls {join_limited(RENAMABLE)}, as in --columns path=image,label=choice."
            )
    return dict(pairs)


def from_table(path: Path, columns: Mapping[str, str] | None = None) -> Catalog:
    """Make a Catalog of a table with the columns ``path,label[,split]``.

    Paths are relative to the table. Rows whose file is missing are left out; a column ``left_out``
    with text in it (as in a run's catalog.csv) leaves a row out too. ``columns`` says what the
    table calls these columns.

    Raises
    ------
    DataError
        The table cannot be read, lacks a column, or names no picture that is there.
    """
    return _from_rows(str(path), path.parent, TABLE_READERS[path.suffix.lower()](path), columns)


def from_frame(frame: Any, columns: Mapping[str, str] | None = None) -> Catalog:
    """Make a Catalog of a DataFrame, as of a table; paths are relative to the working directory."""
    try:
        refuse_repeated(column_name(str(name)) for name in frame.columns)
    except ValueError as error:
        raise DataError(f"The DataFrame cannot be read: {error}.") from None
    frame = frame.loc[:, ~frame.columns.duplicated()]
    names = {name: column_name(str(name)) for name in frame.columns}
    missing = frame.isna()
    rows = [
        {names[k]: "" if missing[k].iloc[i] else str(frame[k].iloc[i]) for k in names}
        for i in range(len(frame))
    ]
    return _from_rows("the DataFrame", Path(), (list(names.values()), rows), columns)


def _from_rows(
    source: str, folder: Path, table: Table, columns: Mapping[str, str] | None
) -> Catalog:
    paths = TablePaths(folder)
    header, rows = _renamed(table, columns or {}, source)
    if "path" not in header and "label" not in header:
        header, rows = _with_header(header, rows, paths)
    if "path" in header and "label" not in header:
        header, rows = _without_indicators(header, rows)
    missing = [name for name in ("path", "label") if name not in header]
    if missing:
        raise DataError(_lacking(source, header, missing, rows, paths))
    if "split" not in header and "is_valid" in header:
        rows = [{**row, "split": row["is_valid"]} for row in rows]
    paths.reserve(row["path"] for row in rows)
    listed: list[Picture] = []
    left_out: list[LeftOut] = []
    for row in rows:
        file = paths.find(row["path"])
        label = row["label"] or None
        split = _split_name(row.get("split"), source)
        others = {k: v for k, v in row.items() if k not in OWN_COLUMNS and v}
        reason = row.get("left_out") or _row_trouble(file, label)
        if reason:
            # A file that exists was left out on purpose, by the user or by ilk: it does not
            # count as unreadable, even if it is a folder or a broken link.
            there = os.path.lexists if row.get("left_out") else os.path.isfile
            gone = not there(file)
            unlabelled = not (gone or label) and has_picture_suffix(file)
            kind = "file.unlabelled" if unlabelled else ""
            left_out.append(LeftOut(file, reason, label, split, gone, kind, others))
        else:
            listed.append(Picture(file, label, split, columns=others))
    pictures, several = _once_each(listed, source)
    left_out += several
    if paths.moved:
        name, file = next(iter(paths.moved.items()))
        log.warning(
            "%s of %s not there as they stand were found by their names, such as %s: %s",
            pluralize(len(paths.moved), "path"), escaped(source), escaped(name), escaped(file),
        )  # fmt: skip
    if not pictures:
        raise DataError(f"{escaped(source)} lists no usable picture.{_first_trouble(left_out)}")
    if any(p.split for p in pictures) and not all(p.split for p in pictures):
        bare = next(p.path for p in pictures if not p.split)
        raise DataError(
            f"{escaped(source)} gives a split for some rows only (the first without: "
            f"{escaped(bare)}). Fill in the split column everywhere, or drop it."
        )
    return Catalog(tuple(pictures), tuple(left_out), source=source)


def _once_each(listed: Sequence[Picture], source: str) -> tuple[list[Picture], list[LeftOut]]:
    """Return each file once, and those with several labels, which are left out.

    A file that is in several splits stays in train, else in val.
    """
    rows: dict[str, list[Picture]] = {}
    for picture in listed:
        rows.setdefault(picture.absolute, []).append(picture)
    if len(rows) == len(listed):
        return list(listed), []
    pictures, left_out, again = [], [], 0
    for same in rows.values():
        labels = sorted({str(p.label) for p in same})
        kept = min(same, key=lambda p: SPLITS.index(p.split) if p.split else 0)
        if len(labels) > 1:
            reason = f"has several labels in the table: {join_limited(labels)}"
            left_out.append(
                LeftOut(kept.path, reason, None, kept.split, True, "label.conflict", kept.columns)
            )
        else:
            pictures.append(kept)
            again += len(same) - 1
    if again:
        log.warning(
            "%s of %s again: each file counts once, in train if one of its rows is",
            pluralize(again, "row names a file", "rows name a file"), escaped(source),
        )  # fmt: skip
    return pictures, left_out


def _with_header(header: list[str], rows: list[dict[str, str]], paths: TablePaths) -> Table:
    """Return the table with a header if its first line is a row: ``path,label[,split]``."""
    names = ["path", "label", "split"][: len(header)]
    is_row = len(header) == 2 or (len(header) == 3 and header[2].lower() in SPLIT_NAMES)
    if not is_row or not os.path.isfile(paths.find(header[0])):  # noqa: PTH113
        return header, rows
    first = dict(zip(names, header, strict=True))
    return names, [
        first,
        *({n: row[h] for n, h in zip(names, header, strict=True)} for row in rows),
    ]


def _without_indicators(header: list[str], rows: list[dict[str, str]]) -> Table:
    """Return the table with a label if it has a column of 0 and 1 for each class instead."""
    others = [name for name in header if name not in OWN_COLUMNS]
    classes = [name for name in others if {row[name] for row in rows} <= ZERO_OR_ONE]
    if len(classes) < 2:
        return header, rows
    given = [[name for name in classes if row[name] in ONE] for row in rows]
    if any(len(names) != 1 for names in given):
        return header, rows
    kept = [name for name in header if name not in classes]
    return [*kept, "label"], [
        {**{name: row[name] for name in kept}, "label": names[0]}
        for row, names in zip(rows, given, strict=True)
    ]


def _first_trouble(left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return " It has no rows."
    first = left_out[0]
    where = ""
    if first.unreadable and not os.path.isabs(first.path):  # noqa: PTH117
        where = f" Paths are relative to the table: that is {escaped(os.path.abspath(first.path))}."  # noqa: PTH100
    return f" The first: {escaped(first.path)} {first.reason}.{where}"


def _renamed(table: Table, columns: Mapping[str, str], source: str) -> Table:
    """Return a table whose columns are called as ilk calls them."""
    header, rows = table
    if not columns:
        return table
    known = {name.casefold(): name for name in header}
    to_ours = {}
    for ours, theirs in columns.items():
        name = theirs if theirs in header else known.get(theirs.casefold())
        if name is None:
            raise DataError(
                f"--columns {ours}={escaped(theirs)}: {escaped(source)} has no such column; it has "
                f"{join_limited(map(escaped, header), 9)}."
            )
        to_ours[name] = ours
    # A column of the table that has the name of one that was renamed gives way.
    kept = [name for name in header if name in to_ours or name not in columns]
    names = {name: to_ours.get(name, name) for name in kept}
    return [names[name] for name in kept], [
        {names[name]: cell_text(names[name], row.get(name, "")) for name in kept} for row in rows
    ]


def _lacking(
    source: str,
    header: list[str],
    missing: list[str],
    rows: Sequence[Mapping[str, str]],
    paths: TablePaths,
) -> str:
    """Say which columns are missing, what the table has instead, and which may be meant."""
    if not header:
        return (
            f"{escaped(source)} is empty. Expected a line path,label and a line for each picture."
        )
    has = f"it has {join_limited(map(escaped, header), 9)}"
    if len(header) == 1:
        has = f"its first line is '{escaped(header[0])}'"
    meant = _meant(header, missing, rows, paths)
    return (
        f"{escaped(source)} lacks the column{'s' * (len(missing) > 1)} {' and '.join(missing)}; "
        f"{has}. "
        + (f"Perhaps --columns {meant}. " if meant else "")
        + "Expected path,label and optionally split in the first line, or --columns "
        "path=NAME,label=NAME."
    )


def _meant(
    header: list[str], missing: list[str], rows: Sequence[Mapping[str, str]], paths: TablePaths
) -> str:
    """Guess which columns are the missing ones: by the files that are there, and common names."""
    found: dict[str, str] = {}
    if "path" in missing:
        cells = {name: [cell for row in rows[:20] if (cell := row.get(name))] for name in header}
        files = {
            name: sum(os.path.isfile(paths.find(cell)) + has_picture_suffix(cell) for cell in some)  # noqa: PTH113
            for name, some in cells.items()
        }
        best = max(header, key=files.__getitem__)
        found |= {"path": best} if files[best] else {}
    if "label" in missing:
        label = next((name for name in header if name.casefold() in LABEL_NAMES), "")
        found |= {"label": label} if label else {}
    if "label" in missing and "path" in found:
        named = [{**row, "path": row[found["path"]]} for row in rows]
        others = ["path", *(name for name in header if name != found["path"])]
        if "label" in _without_indicators(others, named)[0]:
            return f"path={found['path']}"
    complete = found.keys() >= set(missing)
    return ",".join(f"{ours}={theirs}" for ours, theirs in found.items()) if complete else ""


def _row_trouble(file: str, label: str | None) -> str:
    if os.path.isdir(file):  # noqa: PTH112 -- any length of name
        return "is a folder, where the table should name a file"
    if is_web_address(file):
        return NOT_DOWNLOADED
    if not os.path.isfile(file):  # noqa: PTH113 -- as above
        return "is named in the table but is not there"
    return "" if label else "has no label in the table"


def _split_name(text: str | None, table: str) -> str | None:
    if not text:
        return None
    text = IS_VALID.get(text.lower(), text)
    if text.lower() not in SPLIT_NAMES:
        raise DataError(
            f"{escaped(table)} has the unknown split '{escaped(text)}'. "
            f"Allowed: {', '.join(SPLIT_NAMES)}."
        )
    return SPLIT_NAMES[text.lower()]
