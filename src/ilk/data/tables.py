"""Tables: a CSV or Parquet file that names pictures, as people and spreadsheets write them."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ilk.data.catalog import OWN_COLUMNS, Catalog, LeftOut, Picture
from ilk.data.names import PICTURE_SUFFIXES, SPLIT_NAMES, has_picture_suffix
from ilk.errors import DataError, UsageError
from ilk.text import escaped, join_limited

Table = tuple[list[str], list[dict[str, str]]]
Stems = Callable[[str], dict[str, list[str]]]
RENAMABLE = ("path", "label", "split", "group", "left_out")
LABEL_NAMES = {
    *("class", "classname", "class_name", "category", "target", "choice", "labels", "species"),
    *("diagnosis", "breed", "tag", "y"),
}
SEPARATORS = ",;\t|"
BYTE_ORDER_MARKS = (  # UTF-32 first: it begins as UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
    else:
        pairs = columns.items()
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
    names = {name: _column(str(name)) for name in frame.columns}
    missing = frame.isna()
    rows = [
        {names[k]: "" if missing[k].iloc[i] else str(frame[k].iloc[i]) for k in names}
        for i in range(len(frame))
    ]
    return _from_rows("the DataFrame", Path(), (list(names.values()), rows), columns)


def _from_rows(
    source: str, folder: Path, table: Table, columns: Mapping[str, str] | None
) -> Catalog:
    header, rows = _renamed(table, columns or {}, source)
    missing = [name for name in ("path", "label") if name not in header]
    if missing:
        raise DataError(_lacking(source, header, missing, rows, folder))
    pictures: list[Picture] = []
    left_out: list[LeftOut] = []
    stems = cache(_stems)  # each folder is listed once, and anew for the next table
    for row in rows:
        file = _resolved(folder, row["path"], stems)
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
            pictures.append(Picture(file, label, split, columns=others))
    if not pictures:
        raise DataError(f"{escaped(source)} lists no usable picture.{_first_trouble(left_out)}")
    if any(p.split for p in pictures) and not all(p.split for p in pictures):
        bare = next(p.path for p in pictures if not p.split)
        raise DataError(
            f"{escaped(source)} gives a split for some rows only (the first without: "
            f"{escaped(bare)}). Fill in the split column everywhere, or drop it."
        )
    return Catalog(tuple(pictures), tuple(left_out), source=source)


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
        {names[name]: _cell(names[name], row.get(name, "")) for name in kept} for row in rows
    ]


def _lacking(
    source: str,
    header: list[str],
    missing: list[str],
    rows: Sequence[Mapping[str, str]],
    folder: Path,
) -> str:
    """Say which columns are missing, what the table has instead, and which may be meant."""
    if not header:
        return (
            f"{escaped(source)} is empty. Expected a line path,label and a line for each picture."
        )
    has = f"it has {join_limited(map(escaped, header), 9)}"
    if len(header) == 1:
        has = f"its first line is '{escaped(header[0])}'"
    meant = _meant(header, missing, rows, folder)
    return (
        f"{escaped(source)} lacks the column {' and '.join(missing)}; {has}. "
        + (f"Perhaps --columns {meant}. " if meant else "")
        + "Expected path,label and optionally split in the first line, or --columns "
        "path=NAME,label=NAME."
    )


def _meant(
    header: list[str], missing: list[str], rows: Sequence[Mapping[str, str]], folder: Path
) -> str:
    """Guess which columns are the missing ones: by the files that are there, and common names."""
    found: dict[str, str] = {}
    stems = cache(_stems)
    for name in header:
        files = [_resolved(folder, cell, stems) for row in rows[:20] if (cell := row.get(name))]
        if "path" in missing and any(os.path.isfile(file) for file in files):  # noqa: PTH113
            found.setdefault("path", name)
        elif "label" in missing and name.casefold() in LABEL_NAMES:
            found.setdefault("label", name)
    complete = found.keys() >= set(missing)
    return ",".join(f"{ours}={theirs}" for ours, theirs in found.items()) if complete else ""


# --- files --------------------------------------------------------------------------------------


def _resolved(folder: Path, name: str, stems: Stems) -> str:
    """Return the file that a cell names: as it stands if that is there, else as it may be meant.

    Tables are written on other systems and by other tools: with ``file://``, with backslashes,
    with spaces around the name, or without the file's ending.
    """
    asked = str(folder / name)
    if os.path.lexists(asked):
        return asked
    found = next((file for file in _meanings(folder, name, stems) if os.path.isfile(file)), None)  # noqa: PTH113
    return found or asked


def _meanings(folder: Path, name: str, stems: Stems) -> Iterator[str]:
    names = [name.strip()]
    if names[0].lower().startswith("file:"):
        names.append(unquote(urlsplit(names[0]).path))
    names += [other.replace("\\", "/") for other in names if "\\" in other]
    for other in names:
        yield str(folder / other)
    for other in names:
        file = folder / other
        if not has_picture_suffix(other) and other and other[-1] not in "/\\":
            alike = stems(str(file.parent)).get(file.name, ())
            if len(alike) == 1:  # of several it cannot be said which
                yield str(file.parent / alike[0])


def _stems(folder: str) -> dict[str, list[str]]:
    """Return the pictures of a folder by their names without the endings."""
    stems: dict[str, list[str]] = {}
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return stems
    for name in sorted(names):
        stem, ending = os.path.splitext(name)  # noqa: PTH122
        if ending.lower() in PICTURE_SUFFIXES:
            stems.setdefault(stem, []).append(name)
    return stems


def _row_trouble(file: str, label: str | None) -> str:
    if Path(file).is_dir():
        return "is a folder, where the table should name a file"
    if not Path(file).is_file():
        return "is named in the table but is not there"
    return "" if label else "has no label in the table"


def _split_name(text: str | None, table: str) -> str | None:
    if not text:
        return None
    if text.lower() not in SPLIT_NAMES:
        raise DataError(
            f"{escaped(table)} has the unknown split '{escaped(text)}'. "
            f"Allowed: {', '.join(SPLIT_NAMES)}."
        )
    return SPLIT_NAMES[text.lower()]


# --- formats ------------------------------------------------------------------------------------


def _read_csv(path: Path) -> Table:
    try:
        text = _decoded(path.read_bytes())
        first, _, _ = text.partition("\n")
        separator = max(SEPARATORS, key=first.count)
        with io.StringIO(text, newline="") as file:
            reader = csv.DictReader(file, restval="", strict=True, delimiter=separator,
                                    skipinitialspace=True)  # fmt: skip
            names = {name: _column(name) for name in reader.fieldnames or []}
            rows = [
                {names[k]: _cell(names[k], v) for k, v in row.items() if k is not None}
                for row in reader
            ]
        return [name for name in names.values() if name], rows
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{escaped(path)} cannot be read as CSV: {error}.") from None


def _decoded(content: bytes) -> str:
    """Decode a table: by its byte order mark, else as UTF-8.

    Single bytes that are not UTF-8 are kept as the system keeps them in names of files.
    """
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    if content[1:2] == b"\0":  # UTF-16 without a mark: most of its second bytes are zero
        return content.decode("utf-16-le")
    return content.decode("utf-8-sig", "surrogateescape")


def _column(name: str) -> str:
    """Return a column's name: those that ilk knows in any case, all without outer spaces."""
    plain = name.strip()
    return plain.lower() if plain.lower() in OWN_COLUMNS else plain


def _cell(column: str, text: str) -> str:
    """Return a cell without outer spaces; but a file's name may have some."""
    if column == "path":
        return text
    try:
        return text.strip().encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError:  # spreadsheets write Windows-1252, a superset of Latin-1's letters
        return text.strip().encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(
            f"Reading {escaped(path)} needs pyarrow: pip install 'ilk[parquet]'."
        ) from None
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{escaped(path)} cannot be read as Parquet: {first}.") from None
    names = {name: _column(name) for name in table.column_names}
    rows = [
        {names[k]: "" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()
    ]
    return list(names.values()), rows


TABLE_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
