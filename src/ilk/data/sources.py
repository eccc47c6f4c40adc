"""Sources: open a folder, table, named data set, arrays, or several of them, as a Catalog."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ilk.data.catalog import Catalog
from ilk.data.combine import combined
from ilk.data.folders import from_folder
from ilk.data.in_memory import from_arrays
from ilk.data.named import NAMED
from ilk.data.names import NOT_DOWNLOADED, SPLIT_NAMES, is_web_address
from ilk.data.table_files import TABLE_READERS
from ilk.data.tables import from_frame, from_table, parse_columns
from ilk.errors import UsageError
from ilk.text import escaped

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
ALLOWED = f"Give a folder, a .csv, .tsv or .parquet table, or one of: {', '.join(NAMED)}."


def open_catalog(data: Any, columns: Mapping[str, str] | str | None = None) -> Catalog:
    """Make a Catalog of a folder, a table, a named data set, arrays, or several of them.

    Parameters
    ----------
    data : str, Path, Catalog, DataFrame, tuple (images, labels), or a list of sources
        ``root/{train,val,test}/class/*``, ``root/class/*``, ``root/class/{train,val,test}/*``; a
        ``.csv``, ``.tsv`` or ``.parquet`` table with the columns ``path,label[,split]``; or one of
        the names in `NAMED`. Of several sources, a later one corrects the labels of files that an
        earlier one has too.
    columns : mapping or str, optional
        What a table calls them: ``{"path": "image", "label": "choice"}`` or
        ``"path=image,label=choice"``.

    Returns
    -------
    Catalog

    Raises
    ------
    UsageError
        The path does not exist, or is not a kind of data that ilk reads.
    DataError
        It holds no labelled pictures, or cannot be read.
    """
    names = parse_columns(columns)
    if _are_sources(data):
        opened = [_opened(source, names) for source in data]
        if names and not any(was_table for _, was_table in opened):
            _refuse_columns(names)
        return combined(_split_by_name(data, [catalog for catalog, _ in opened]))
    catalog, is_table = _opened(data, names)
    if names and not is_table:
        _refuse_columns(names)
    return catalog


def _split_by_name(data: Sequence[Any], catalogs: list[Catalog]) -> list[Catalog]:
    """Return the catalogs with splits if the sources are named so: train.csv and test.csv."""
    names = [Path(x).stem.lower() if isinstance(x, str | os.PathLike) else "" for x in data]
    splits = [SPLIT_NAMES.get(name) for name in names]
    if "train" not in splits or None in splits or any(catalog.splits for catalog in catalogs):
        return catalogs
    return [
        replace(catalog, pictures=tuple(replace(p, split=split) for p in catalog.pictures))
        for catalog, split in zip(catalogs, splits, strict=True)
    ]


def _are_sources(data: Any) -> bool:
    """Return whether several sources were given, and not (images, labels)."""
    if not isinstance(data, list | tuple) or not data:
        return False
    return all(isinstance(x, str | os.PathLike | Catalog) or hasattr(x, "columns") for x in data)


def _opened(data: Any, columns: Mapping[str, str]) -> tuple[Catalog, bool]:
    """Return the catalog of one source, and whether it is a table."""
    if isinstance(data, Catalog):
        return data, False
    if hasattr(data, "columns"):
        return from_frame(data, columns), True
    if isinstance(data, Sequence) and len(data) == 2 and not isinstance(data, str):
        return from_arrays(*data), False
    if not isinstance(data, str | os.PathLike):
        raise UsageError(
            f"Data is a {type(data).__name__}; give a folder, a .csv, .tsv or .parquet table, a "
            f"DataFrame, a Catalog, a tuple (images, labels), a list of these, or a name: "
            f"{', '.join(NAMED)}."
        )
    if is_web_address(str(data)):
        raise UsageError(
            f"{escaped(data)} {NOT_DOWNLOADED}. Unpack an archive, and give the folder."
        )
    path = Path(data)
    exists = os.path.exists(path)  # noqa: PTH110 -- any length of name
    if not exists and str(data) in NAMED:
        return NAMED[str(data)](), False
    if os.path.isdir(path):  # noqa: PTH112 -- as above
        return from_folder(path), False
    if path.suffix.lower() in TABLE_READERS and exists:
        return from_table(path, columns), True
    if path.name.lower().endswith(ARCHIVES) and exists:
        raise UsageError(f"{escaped(path)} is an archive: unpack it, and give the folder.")
    if exists:
        raise UsageError(f"{escaped(path)} is not a folder or a table that ilk reads. {ALLOWED}")
    raise UsageError(f"There is no {escaped(path)}. {ALLOWED}")


def _refuse_columns(columns: Mapping[str, str]) -> None:
    given = ",".join(f"{ours}={theirs}" for ours, theirs in columns.items())
    raise UsageError(f"--columns {escaped(given)} applies to tables; the data has none.")
