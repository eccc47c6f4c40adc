"""Tables: a CSV or Parquet file that names pictures, as people and spreadsheets write them."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ilk.data.catalog import OWN_COLUMNS, Catalog, LeftOut, Picture
from ilk.data.names import PICTURE_SUFFIXES, SPLIT_NAMES, has_picture_suffix
from ilk.errors import DataError
from ilk.text import escaped, join_limited

Table = tuple[list[str], list[dict[str, str]]]
Stems = Callable[[str], dict[str, list[str]]]
SEPARATORS = ",;\t|"
BYTE_ORDER_MARKS = (  # UTF-32 first: it begins as UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def from_table(path: Path) -> Catalog:
    """Make a Catalog of a table with the columns ``path,label[,split]``.

    Paths are relative to the table. Rows whose file is missing are left out; a column ``left_out``
    with text in it (as in a run's catalog.csv) leaves a row out too.

    Raises
    ------
    DataError
        The table cannot be read, lacks a column, or names no picture that is there.
    """
    header, rows = TABLE_READERS[path.suffix.lower()](path)
    missing = [name for name in ("path", "label") if name not in header]
    if missing:
        raise DataError(_lacking(path, header, missing))
    pictures: list[Picture] = []
    left_out: list[LeftOut] = []
    stems = cache(_stems)  # each folder is listed once, and anew for the next table
    for row in rows:
        file = _resolved(path.parent, row["path"], stems)
        label = row["label"] or None
        split = _split_name(row.get("split"), path)
        columns = {k: v for k, v in row.items() if k not in OWN_COLUMNS and v}
        reason = row.get("left_out") or _row_trouble(file, label)
        if reason:
            # A file that exists was left out on purpose, by the user or by ilk: it does not
            # count as unreadable, even if it is a folder or a broken link.
            there = os.path.lexists if row.get("left_out") else os.path.isfile
            gone = not there(file)
            unlabelled = not (gone or label) and has_picture_suffix(file)
            kind = "file.unlabelled" if unlabelled else ""
            left_out.append(LeftOut(file, reason, label, split, gone, kind, columns))
        else:
            pictures.append(Picture(file, label, split, columns=columns))
    if not pictures:
        first = left_out[0] if left_out else None
        why = f" The first: {escaped(first.path)} {first.reason}." if first else ""
        raise DataError(f"{escaped(path)} lists no usable picture.{why}")
    if any(p.split for p in pictures) and not all(p.split for p in pictures):
        bare = next(p.path for p in pictures if not p.split)
        raise DataError(
            f"{escaped(path)} gives a split for some rows only (the first without: "
            f"{escaped(bare)}). Fill in the split column everywhere, or drop it."
        )
    return Catalog(tuple(pictures), tuple(left_out), source=str(path))


def _lacking(path: Path, header: list[str], missing: list[str]) -> str:
    """Say which columns are missing, and what the table has instead."""
    if not header:
        return f"{escaped(path)} is empty. Expected a line path,label and a line for each picture."
    has = f"it has {join_limited(map(escaped, header))}"
    if len(header) == 1:
        has = f"its first line is '{escaped(header[0])}'"
    return (
        f"{escaped(path)} lacks the column {' and '.join(missing)}; {has}. "
        "Expected path,label and optionally split in the first line."
    )


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


def _split_name(text: str | None, table: Path) -> str | None:
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


TABLE_READERS: dict[str, Callable[[Path], Table]] = {".csv": _read_csv, ".parquet": _read_parquet}
