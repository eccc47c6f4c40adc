"""Table files: read CSV and Parquet, in the separators and encodings that people have."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ilk.data.catalog import OWN_COLUMNS
from ilk.errors import DataError
from ilk.text import escaped

Table = tuple[list[str], list[dict[str, str]]]  # the header, and the rows by column
MOST_COLUMNS = 5_000
MOST_MISSING = 10_000_000  # cells that short lines lack: a small file could fill the memory
SEPARATORS = ",;\t|"
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE)
BYTE_ORDER_MARKS = (  # UTF-32 first: it begins as UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _read_csv(path: Path) -> Table:
    try:
        text = _decoded(path.read_bytes())
        if named := _SEPARATOR_LINE.match(text):  # as spreadsheets write it
            text = text[named.end() :]
        first, _, _ = text.partition("\n")
        separator = named[1] if named else max(SEPARATORS, key=first.count)
        with io.StringIO(text, newline="") as file:
            reader = csv.reader(file, strict=True, delimiter=separator, skipinitialspace=True)
            header = next(reader, [])
            _refuse_wide(path, header)
            refuse_repeated(map(column_name, header))
            names = {name: column_name(name) for name in header}
            return [name for name in names.values() if name], _filled(path, header, names, reader)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{escaped(path)} cannot be read as CSV: {error}.") from None


def _refuse_wide(path: Path, header: Sequence[str]) -> None:
    if len(header) > MOST_COLUMNS:
        raise DataError(
            f"{escaped(path)} has {len(header):,} columns; up to {MOST_COLUMNS:,} are allowed. "
            "Keep those with the path, the label and what else ilk shall know of a picture."
        )


def _filled(
    path: Path, header: Sequence[str], names: Mapping[str, str], lines: Iterable[Sequence[str]]
) -> list[dict[str, str]]:
    """Return rows by column; where a line is too short, the rest of its row is empty."""
    rows, missing = [], 0
    for cells in filter(None, lines):
        row = dict.fromkeys(names.values(), "")
        for name, text in dict(zip(header, cells, strict=False)).items():
            row[names[name]] = cell_text(names[name], text)
        rows.append(row)
        missing += max(0, len(header) - len(cells))
        if missing > MOST_MISSING:
            raise DataError(
                f"{escaped(path)} has {len(header):,} columns, but most lines have fewer: more "
                f"than {MOST_MISSING:,} cells are missing. Leave out the columns that are not "
                "filled."
            )
    return rows


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


def refuse_repeated(names: Iterable[str]) -> None:
    """Raise a ValueError if a column that ilk reads is there twice."""
    counts = Counter(names)
    twice = [name for name in OWN_COLUMNS if counts[name] > 1]
    if twice:
        raise ValueError(f"the column {twice[0]} is there {counts[twice[0]]} times")


def column_name(name: str) -> str:
    """Return a column's name: those that ilk knows in any case, all without outer spaces."""
    plain = cell_text("", name)
    return plain.lower() if plain.lower() in OWN_COLUMNS else plain


def cell_text(column: str, text: str) -> str:
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
        _refuse_wide(path, parquet.read_schema(path).names)
        table = parquet.read_table(path)
        refuse_repeated(map(column_name, table.column_names))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{escaped(path)} cannot be read as Parquet: {first}.") from None
    names = {name: column_name(name) for name in table.column_names}
    rows = [
        {names[k]: "" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()
    ]
    return list(names.values()), rows


TABLE_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
