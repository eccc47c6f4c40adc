"""Folders: a tree of folders as a Catalog, and the pictures that paths name."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.masks import masks_of
from ilk.data.names import (
    NOT_READ,
    PICTURE_SUFFIXES,
    SPLIT_NAMES,
    has_picture_suffix,
    is_picture_without_suffix,
    is_system_folder,
)
from ilk.errors import DataError
from ilk.text import escaped, join_limited, pluralize

Contents = Callable[[Path], tuple[list[str], list[str]]]


def from_folder(root: Path) -> Catalog:
    """Make a Catalog of ``root/{train,val,test}/class/*`` or of ``root/class/*``.

    A folder around all of them, as archives have, is looked into. Hidden files, and the folders
    that systems and tools leave behind, are skipped; class folders are searched recursively. A
    symlink to a folder is followed if it is a split or a class, but not below that. Other files,
    broken links and class folders without pictures are left out, each with the reason.
    """
    contents = cache(_contents)
    root = _unwrapped(root, contents)
    folders, files = contents(root)
    places = {name: _unwrapped(root / name, contents, name) for name in folders if _split_of(name)}
    splits = {name: contents(place) for name, place in places.items()}
    if not any(inner for inner, _ in splits.values()):  # a class may be called 'test' too
        return _complete(root, [*_class_folders(root, folders, None), *_loose(files, None)])
    others = [name for name in folders if name not in splits]
    if others:
        raise DataError(
            f"{escaped(root)} has split folders and other folders next to them: "
            f"{join_limited(others)}. "
            f"Only splits are allowed ({', '.join(SPLIT_NAMES)}), each with class folders."
        )
    found: list[Picture | LeftOut] = list(_loose(files, None))
    for name, (inner, loose) in splits.items():
        split = _split_of(name)
        found += [*_class_folders(places[name], inner, split), *_loose(loose, split)]
        if not inner:
            found.append(_empty(root / name, None, split))
    return _complete(root, found)


def _split_of(name: str) -> str | None:
    return SPLIT_NAMES.get(name.lower())


def _unwrapped(folder: Path, contents: Contents, name: str | None = None) -> Path:
    """Return the folder in which the classes or splits lie, where others are around it.

    A folder is around the data if it holds no picture but one folder, which holds no picture but
    folders. A split is looked into only if the folder in it has the same ``name``.
    """
    folders, files = contents(folder)
    if len(folders) != 1 or name not in {None, folders[0]} or any(map(has_picture_suffix, files)):
        return folder
    inner, pictures = contents(folder / folders[0])
    if not inner or any(map(has_picture_suffix, pictures)):
        return folder
    if name is None and len(inner) == 1 and not _split_of(inner[0]):  # one class, or another around
        deeper = _unwrapped(folder / folders[0], contents)
        return folder if deeper == folder / folders[0] else deeper
    return folder / folders[0]


def _complete(root: Path, found: list[Picture | LeftOut]) -> Catalog:
    pictures = tuple(x for x in found if isinstance(x, Picture))
    left_out = tuple(x for x in found if isinstance(x, LeftOut))
    if not any(p.label is not None for p in pictures):
        files = [x for x in left_out if not os.path.isdir(x.path)]  # noqa: PTH112 -- as below
        if files:
            loose = sum(has_picture_suffix(x.path) for x in files)
            what = pluralize(loose, "picture") if loose else pluralize(len(files), "file")
            raise DataError(
                f"{escaped(root)} holds {what}, but no class folders with pictures in them. "
                f"{_hint(root, [x.path for x in files])}"
            )
        endings = " ".join(sorted(PICTURE_SUFFIXES - NOT_READ))
        raise DataError(
            f"{escaped(root)} holds no labelled pictures. Expected "
            f"{escaped(root)}/CLASS/picture.jpg or {escaped(root)}/train/CLASS/picture.jpg, with "
            f"{endings}."
        )
    return Catalog(pictures, left_out, source=str(root))


def _hint(root: Path, files: Sequence[str]) -> str:
    """Say what a folder without classes may be."""
    tables = [file for file in files if file.lower().endswith((".csv", ".tsv", ".parquet"))]
    if tables:
        return f"If a table has the labels, give that: {escaped(tables[0])}."
    return (
        f"Put the pictures of each class into a folder of their own, as in "
        f"{escaped(root / 'CLASS' / 'picture.jpg')}, or list them in a table with the columns "
        f"path,label. If the folder is itself one of the classes, give "
        f"{escaped(root.resolve().parent)}."
    )


def _contents(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders in a folder, and the paths of its files, both sorted."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if not _is_hidden_folder(entry):
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


def _is_hidden_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is no class: a class may begin with a dot, such as '.22 LR'."""
    if is_system_folder(entry.name):
        return True
    if not entry.name.startswith("."):
        return False
    try:
        return not any(map(has_picture_suffix, os.listdir(entry.path)))  # noqa: PTH208
    except OSError:
        return True


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in {"Thumbs.db", "desktop.ini"}


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
        if has_picture_suffix(file):
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


def _files(folder: Path, label: str | None, split: str | None) -> Iterator[Picture | LeftOut]:
    errors: list[OSError] = []
    for place, inner, names in os.walk(folder, onerror=errors.append):
        inner[:] = sorted(n for n in inner if not (n.startswith(".") or is_system_folder(n)))
        for name in inner:
            path = os.path.join(place, name)  # noqa: PTH118 -- as in _has_picture_suffix
            if os.path.islink(path):  # noqa: PTH114
                reason = "is a link to a folder, which is not followed within a class"
                yield LeftOut(path, reason, label, split, False, "file.link")
        masks = masks_of(place, names)
        for name in sorted(names, key=os.fsencode):
            if _is_hidden(name):
                continue
            path = os.path.join(place, name)  # noqa: PTH118
            if name in masks:
                reason = f"is a mask of {escaped(masks[name])}, by its name"
                yield LeftOut(path, reason, label, split, False, "file.ignored")
            elif has_picture_suffix(name) or is_picture_without_suffix(path):
                yield Picture(path, label, split)
            else:
                yield _not_a_picture(path, label, split)
    for error in errors:
        reason = f"cannot be listed: {error.strerror}"
        yield LeftOut(str(error.filename), reason, label, split, kind="file.unreadable")


def find_pictures(paths: Sequence[str], stdin: str = "") -> Catalog:
    """Return the pictures that files, folders and patterns name, in order, without labels.

    A folder is searched recursively for pictures; its other files are left out. A missing path is
    kept: reading it reports the error. ``-`` stands for the names in ``stdin``, one per line, or
    NUL-terminated as ``find -print0`` writes them.
    """
    found: list[Picture | LeftOut] = []
    for path in paths:
        if path == "-":
            names = stdin.split("\0" if "\0" in stdin else "\n")
            found += [Picture(name) for name in names if name]
        elif os.path.isdir(path):  # noqa: PTH112 -- keeps the name as it was given
            found += _files(Path(path), None, None)
        elif os.path.exists(path):  # noqa: PTH110 -- as above; it may look like a pattern
            found.append(Picture(path))
        else:
            matches = sorted(glob.iglob(path, recursive=True))  # noqa: PTH207 -- as above
            files = [Picture(m) for m in matches if os.path.isfile(m)]  # noqa: PTH113
            found += files or [Picture(path)]
    return Catalog(
        tuple(x for x in found if isinstance(x, Picture)),
        tuple(x for x in found if isinstance(x, LeftOut)),
        source=", ".join(paths),
    )
