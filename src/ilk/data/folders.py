"""Folders: a tree of folders as a Catalog, and the pictures that paths name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.layout import is_hidden_file, layout_of
from ilk.data.masks import masks_of
from ilk.data.names import (
    PICTURE_SUFFIXES,
    has_picture_suffix,
    is_picture_without_suffix,
    mask_folders,
    tables_among,
)
from ilk.data.walk import matches, walk
from ilk.errors import DataError
from ilk.text import escaped, pluralize


def from_folder(root: Path) -> Catalog:
    """Make a Catalog of the pictures in class folders: see `ilk.data.layout.layout_of`.

    Class folders are searched recursively. A symlink to a folder is followed if it is a split or a
    class, but not below that. Other files, broken links and class folders without pictures are left
    out, each with the reason.
    """
    layout = layout_of(root)
    found: list[Picture | LeftOut] = []
    for folder, label, split in layout.classes:
        found += _class_folder(layout.root, folder, label, split)
    for file, split in layout.loose:
        found.append(_loose(file, split))
    for folder in layout.aside:
        reason = "is a folder without classes, next to the splits"
        found.append(LeftOut(str(folder), reason, None, None, False, "file.ignored"))
    found += [_empty(folder, None, split) for folder, split in layout.empty]
    return _complete(layout.root, found)


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
        endings = " ".join(sorted(PICTURE_SUFFIXES))
        raise DataError(
            f"{escaped(root)} holds no labelled pictures. Expected "
            f"{escaped(root)}/CLASS/picture.jpg or {escaped(root)}/train/CLASS/picture.jpg, with "
            f"{endings}."
        )
    return Catalog(pictures, left_out, source=str(root))


def _hint(root: Path, files: Sequence[str]) -> str:
    """Say what a folder without classes may be."""
    if tables := tables_among(files):
        return f"If a table has the labels, give that: {escaped(tables[0])}."
    return (
        f"Put the pictures of each class into a folder of their own, as in "
        f"{escaped(root / 'CLASS' / 'picture.jpg')}, or list them in a table with the columns "
        f"path,label. If the folder is itself one of the classes, give "
        f"{escaped(root.resolve().parent)}."
    )


def _class_folder(
    root: Path, folder: Path, label: str, split: str | None
) -> Iterator[Picture | LeftOut]:
    if folder.is_symlink() and root.resolve().is_relative_to(folder.resolve()):
        reason = "is a link to one of its parent folders"
        yield LeftOut(str(folder), reason, label, split, False, "file.link")
        return
    found = list(_files(folder, label, split))
    yield from found
    if not any(isinstance(x, Picture) or x.unreadable for x in found):
        yield _empty(folder, label, split)


def _empty(folder: Path, label: str | None, split: str | None) -> LeftOut:
    reason = "is a folder without pictures"
    return LeftOut(str(folder), reason, label, split, False, "file.ignored")


def _loose(file: str, split: str | None) -> LeftOut:
    if has_picture_suffix(file):
        reason = "has no label: not in a class folder"
        return LeftOut(file, reason, None, split, False, "file.unlabelled")
    return _not_a_picture(file, None, split)


def _masks(folder: str, label: str | None, split: str | None) -> LeftOut:
    reason = "is a folder of masks beside the pictures, by its name"
    return LeftOut(folder, reason, label, split, False, "file.ignored")


def _not_a_picture(path: str, label: str | None, split: str | None) -> LeftOut:
    """Leave out a file without a picture's suffix; a broken link may have been a class."""
    if os.path.isdir(path):  # noqa: PTH112 -- as above
        return _masks(path, label, split)
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114 -- as above
        reason = f"is a broken link, to {escaped(os.readlink(path))}"  # noqa: PTH115
        return LeftOut(path, reason, label, split, False, "file.link")
    return LeftOut(path, "is not a picture, by its suffix", label, split, False, "file.ignored")


def _files(folder: Path, label: str | None, split: str | None) -> Iterator[Picture | LeftOut]:
    errors: list[OSError] = []
    for place, inner, names in walk(folder, errors):
        aside = mask_folders(inner)
        for name in sorted(aside):
            inner.remove(name)
            yield _masks(os.path.join(place, name), label, split)  # noqa: PTH118 -- as below
        for name in inner:
            path = os.path.join(place, name)  # noqa: PTH118 -- as in _has_picture_suffix
            if os.path.islink(path):  # noqa: PTH114
                reason = "is a link to a folder, which is not followed within a class"
                yield LeftOut(path, reason, label, split, False, "file.link")
        masks = masks_of(place, names)
        for name in sorted(names, key=os.fsencode):
            if is_hidden_file(name):
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
            files = [Picture(m) for m in matches(path) if os.path.isfile(m)]  # noqa: PTH113
            found += files or [Picture(path)]
    return Catalog(
        tuple(x for x in found if isinstance(x, Picture)),
        tuple(x for x in found if isinstance(x, LeftOut)),
        source=", ".join(paths),
    )
