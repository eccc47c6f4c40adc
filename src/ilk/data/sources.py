"""Sources: open a folder, table, named data set or arrays as a Catalog."""

from __future__ import annotations

import csv
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ilk.data.catalog import OWN_COLUMNS, Catalog, LeftOut, Picture, from_arrays
from ilk.data.named import NAMED
from ilk.errors import DataError, UsageError
from ilk.text import escaped, join_limited

PICTURE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"),
    *(".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm"),
    *(".heic", ".heif"),  # cannot be read, but must be reported: phones write them
}
NOT_READ = {".heic", ".heif"}
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def open_catalog(data: Any) -> Catalog:
    """Make a Catalog of a folder, a table, a named data set, arrays, or a Catalog.

    Parameters
    ----------
    data : str, Path, Catalog, or tuple (images, labels)
        ``root/{train,val,test}/class/*``, ``root/class/*``, a ``.csv`` or ``.parquet`` table with
        the columns ``path,label[,split]``, or one of the names in `NAMED`.

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
    if isinstance(data, Catalog):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return from_arrays(*data)
    if not isinstance(data, str | os.PathLike):
        raise UsageError(
            f"Data is a {type(data).__name__}; give a folder, a .csv or .parquet table, a Catalog, "
            f"a tuple (images, labels), or a name: {', '.join(NAMED)}."
        )
    path = Path(data)
    if not path.exists() and str(data) in NAMED:
        return NAMED[str(data)]()
    if path.is_dir():
        return from_folder(path)
    if path.suffix.lower() in TABLE_READERS and path.exists():
        return from_table(path)
    raise UsageError(_nothing_at(path))


def _nothing_at(path: Path) -> str:
    allowed = f"Give a folder, a .csv or .parquet table, or one of: {', '.join(NAMED)}."
    if path.exists():
        return f"{escaped(path)} is not a folder or a table that ilk reads. {allowed}"
    return f"There is no {escaped(path)}. {allowed}"


# --- folders ------------------------------------------------------------------------------------


def from_folder(root: Path) -> Catalog:
    """Make a Catalog of ``root/{train,val,test}/class/*`` or of ``root/class/*``.

    Hidden files and folders are skipped; class folders are searched recursively. A symlink to a
    folder is followed if it is a split or a class, but not below that. Other files, broken links
    and class folders without pictures are left out, each with the reason.
    """
    folders, files = _contents(root)
    splits = {name: _contents(root / name) for name in folders if name.lower() in SPLIT_NAMES}
    if not any(inner for inner, _ in splits.values()):  # a class may be called 'test' too
        return _complete(root, [*_class_folders(root, folders, None), *_loose(files, None)])
    others = [name for name in folders if name not in splits]
    if others:
        raise DataError(
            f"{escaped(root)} has split folders and other folders next to them: "
            f"{join_limited(others)}. "
            "Only train, val (or valid, validation) and test are allowed, each with class folders."
        )
    found: list[Picture | LeftOut] = list(_loose(files, None))
    for name, (inner, loose) in splits.items():
        split = SPLIT_NAMES[name.lower()]
        found += [*_class_folders(root / name, inner, split), *_loose(loose, split)]
        if not inner:
            found.append(_empty(root / name, None, split))
    return _complete(root, found)


def _complete(root: Path, found: list[Picture | LeftOut]) -> Catalog:
    pictures = tuple(x for x in found if isinstance(x, Picture))
    left_out = tuple(x for x in found if isinstance(x, LeftOut))
    if not any(p.label is not None for p in pictures):
        files = [x for x in left_out if not os.path.isdir(x.path)]  # noqa: PTH112 -- as below
        if files:
            raise DataError(
                f"{escaped(root)} holds {len(files):,} files, but no class folders with "
                f"pictures in them. Did you mean {escaped(root.resolve().parent)}?"
            )
        endings = " ".join(sorted(PICTURE_SUFFIXES - NOT_READ))
        raise DataError(
            f"{escaped(root)} holds no labelled pictures. Expected "
            f"{escaped(root)}/CLASS/picture.jpg or {escaped(root)}/train/CLASS/picture.jpg, with "
            f"{endings}."
        )
    return Catalog(pictures, left_out, source=str(root))


def _contents(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders in a folder, and the paths of its files, both sorted."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry) and not entry.name.startswith("."):
                    folders.append(entry.name)
                elif not _is_hidden(entry.name):
                    files.append(entry.path)
    except OSError as error:
        raise DataError(f"{escaped(folder)} cannot be listed: {error.strerror}.") from None
    return sorted(folders, key=os.fsencode), sorted(files, key=os.fsencode)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a loop
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in {"Thumbs.db", "desktop.ini"}


def _has_picture_suffix(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122 -- Path is 10 times slower, 60,000 times


def _class_folders(
    root: Path, names: Sequence[str], split: str | None
) -> Iterator[Picture | LeftOut]:
    for name in names:
        folder = root / name
        if folder.is_symlink() and root.resolve().is_relative_to(folder.resolve()):
            reason = "is a link to one of its parent folders"
            yield LeftOut(str(folder), reason, name, split, False, "file.link")
        else:
            found = list(_files(folder, name, split))
            yield from found
            if not any(isinstance(x, Picture) or x.unreadable for x in found):
                yield _empty(folder, name, split)


def _empty(folder: Path, label: str | None, split: str | None) -> LeftOut:
    reason = "is a folder without pictures"
    return LeftOut(str(folder), reason, label, split, False, "file.ignored")


def _loose(files: Sequence[str], split: str | None) -> Iterator[LeftOut]:
    for file in files:
        if _has_picture_suffix(file):
            reason = "has no label: not in a class folder"
            yield LeftOut(file, reason, None, split, False, "file.unlabelled")
        else:
            yield _not_a_picture(file, None, split)


def _not_a_picture(path: str, label: str | None, split: str | None) -> LeftOut:
    """Leave out a file without a picture's suffix; a broken link may have been a class."""
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 -- as above
        reason = f"is a broken link, to {escaped(os.readlink(path))}"  # noqa: PTH115
        return LeftOut(path, reason, label, split, False, "file.link")
    return LeftOut(path, "is not a picture, by its suffix", label, split, False, "file.ignored")


def _files(folder: Path, label: str, split: str | None) -> Iterator[Picture | LeftOut]:
    errors: list[OSError] = []
    for place, inner, names in os.walk(folder, onerror=errors.append):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in inner:
            path = os.path.join(place, name)  # noqa: PTH118 -- as in _has_picture_suffix
            if os.path.islink(path):  # noqa: PTH114
                reason = "is a link to a folder, which is not followed within a class"
                yield LeftOut(path, reason, label, split, False, "file.link")
        for name in sorted(names, key=os.fsencode):
            if _is_hidden(name):
                continue
            path = os.path.join(place, name)  # noqa: PTH118
            if _has_picture_suffix(name):
                yield Picture(path, label, split)
            else:
                yield _not_a_picture(path, label, split)
    for error in errors:
        reason = f"cannot be listed: {error.strerror}"
        yield LeftOut(str(error.filename), reason, label, split, kind="file.unreadable")


def find_pictures(paths: Sequence[str], stdin: str = "") -> list[Picture]:
    """Return the pictures that files, folders and patterns name, in order, without labels.

    A folder is searched recursively for files with a picture's suffix. A missing path is kept:
    reading it reports the error. ``-`` stands for the names in ``stdin``, one per line, or
    NUL-terminated as ``find -print0`` writes them.
    """
    found: list[Picture] = []
    for path in paths:
        if path == "-":
            names = stdin.split("\0" if "\0" in stdin else "\n")
            found += [Picture(name) for name in names if name]
        elif os.path.isdir(path):  # noqa: PTH112 -- keeps the name as it was given
            found += [x for x in _files(Path(path), "", None) if isinstance(x, Picture)]
        elif os.path.exists(path):  # noqa: PTH110 -- as above; it may look like a pattern
            found.append(Picture(path))
        else:
            matches = sorted(glob.iglob(path, recursive=True))  # noqa: PTH207 -- as above
            files = [Picture(m) for m in matches if os.path.isfile(m)]  # noqa: PTH113
            found += files or [Picture(path)]
    return found


# --- tables -------------------------------------------------------------------------------------


def from_table(path: Path) -> Catalog:
    """Make a Catalog of a table with the columns ``path,label[,split]``.

    Paths are relative to the table. Rows whose file is missing are left out; a column ``left_out``
    with text in it (as in a run's catalog.csv) leaves a row out too.
    """
    header, rows = TABLE_READERS[path.suffix.lower()](path)
    missing = [name for name in ("path", "label") if name not in header]
    if missing:
        raise DataError(
            f"{escaped(path)} lacks the column {' and '.join(missing)}; it has "
            f"{join_limited(header)}. Expected path,label and optionally split."
        )
    pictures: list[Picture] = []
    left_out: list[LeftOut] = []
    for row in rows:
        file = str(path.parent / row["path"])
        label = row["label"] or None
        split = _split_name(row.get("split"), path)
        columns = {k: v for k, v in row.items() if k not in OWN_COLUMNS and v}
        reason = row.get("left_out") or _row_trouble(file, label)
        if reason:
            # A file that exists was left out on purpose, by the user or by ilk: it does not
            # count as unreadable, even if it is a folder or a broken link.
            there = os.path.lexists if row.get("left_out") else os.path.isfile
            gone = not there(file)
            unlabelled = not (gone or label) and _has_picture_suffix(file)
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
            "Allowed: train, val (or valid, validation) and test."
        )
    return SPLIT_NAMES[text.lower()]


Table = tuple[list[str], list[dict[str, str]]]


def _read_csv(path: Path) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            header = list(reader.fieldnames or [])
            return header, [{k: v for k, v in row.items() if k is not None} for row in reader]
    except (OSError, csv.Error) as error:
        raise DataError(f"{escaped(path)} cannot be read as CSV: {error}.") from None


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
    rows = [{k: "" if v is None else str(v) for k, v in r.items()} for r in table.to_pylist()]
    return list(table.column_names), rows


TABLE_READERS: dict[str, Callable[[Path], Table]] = {".csv": _read_csv, ".parquet": _read_parquet}
