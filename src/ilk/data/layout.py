"""Layout: which folders of a tree are classes, and which are splits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ilk.data.names import (
    SPLIT_NAMES,
    has_picture_suffix,
    is_system_folder,
    mask_folders,
    tables_among,
)
from ilk.data.walk import DEEPEST
from ilk.errors import DataError
from ilk.text import escaped, join_limited

Contents = Callable[[Path], tuple[list[str], list[str]]]  # names of folders, paths of files


@dataclass(frozen=True)
class Layout:
    """What the folders below a root mean.

    Attributes
    ----------
    root : Path
        Where the splits or classes lie: what was given, or a folder in it.
    classes : tuple of (Path, str, str or None)
        The folder, the class and the split of each.
    loose : tuple of (str, str or None)
        The path and the split of each file that is in no class.
    aside : tuple of Path
        Folders without classes beside the splits.
    empty : tuple of (Path, str)
        Splits without classes.
    """

    root: Path
    classes: tuple[tuple[Path, str, str | None], ...]
    loose: tuple[tuple[str, str | None], ...]
    aside: tuple[Path, ...] = ()
    empty: tuple[tuple[Path, str], ...] = ()


def layout_of(root: Path) -> Layout:
    """Find out what the folders below a root mean.

    These are ``split/class``, ``class``, or ``class/split``; with other folders around the root, or
    around the classes within each split. Hidden folders, and those that systems and tools leave
    behind, are skipped.

    Raises
    ------
    DataError
        There are classes both in splits and beside them, or a folder cannot be listed.
    """
    contents = cache(_contents)
    given, root = root, _unwrapped(root, contents)
    folders, files = contents(root)
    around = [level for level in root.parents if level.is_relative_to(given)]
    loose = tuple((file, None) for level in [root, *around] for file in contents(level)[1])
    places = _splits(root, folders, contents)
    # A class may be called 'test' too.
    if any(contents(place)[0] for place in places.values()):
        return _by_split(root, folders, places, contents, loose)
    if len(folders) > 1 and set(folders) == set(places):
        _refuse_flat_splits(root, folders, files)
    if len(folders) > 1 and all(_has_splits_only(root / name, contents) for name in folders):
        return _by_class(root, folders, contents, loose)
    return Layout(root, tuple((root / name, name, None) for name in folders), loose)


def _refuse_flat_splits(root: Path, folders: Sequence[str], files: Sequence[str]) -> None:
    """Refuse splits that hold pictures but no classes, which a table may name."""
    if "train" not in {SPLIT_NAMES[name.lower()] for name in folders}:
        return  # classes may be called 'test' and 'eval'
    tables = tables_among(files)
    how = (
        f"If a table has the labels, give that: {escaped(tables[0])}."
        if tables
        else "Put the pictures of each class into a folder of their own in each split, or list "
        "them in a table with the columns path,label."
    )
    raise DataError(
        f"{escaped(root)} has the split folders {join_limited(folders)}, but no class folders in "
        f"them. {how}"
    )


def _by_class(
    root: Path,
    folders: Iterable[str],
    contents: Contents,
    loose: tuple[tuple[str, str | None], ...],
) -> Layout:
    classes, files = [], list(loose)
    for name in folders:
        splits, inside = contents(root / name)
        classes += [(root / name / split, name, SPLIT_NAMES[split.lower()]) for split in splits]
        files += [(file, None) for file in inside]
    return Layout(root, tuple(classes), tuple(files))


def _by_split(
    root: Path,
    folders: Iterable[str],
    places: Mapping[str, Path],
    contents: Contents,
    loose: tuple[tuple[str, str | None], ...],
) -> Layout:
    classes, files, empty = [], list(loose), []
    for name, place in places.items():
        split = SPLIT_NAMES[name.lower()]
        inner, inside = contents(place)
        classes += [(place / label, label, split) for label in inner]
        files += [(file, split) for file in inside]
        empty += [] if inner else [(root / name, split)]
    others = [name for name in folders if name not in places]
    known = {label for _, label, _ in classes}
    rivals = [name for name in others if name in known or contents(root / name)[0]]
    if rivals:
        raise DataError(
            f"{escaped(root)} has split folders and other folders next to them: "
            f"{join_limited(rivals)}. "
            f"Only splits are allowed ({', '.join(SPLIT_NAMES)}), each with class folders."
        )
    aside = tuple(root / name for name in others)
    return Layout(root, tuple(classes), tuple(files), aside, tuple(empty))


def _splits(root: Path, folders: Iterable[str], contents: Contents) -> dict[str, Path]:
    """Return the folders named as splits, each with the place of its classes.

    That may be a folder of the same name in it (``test/test/class``), or, if all splits have no
    other, of one name (``train/images/class``).
    """
    places = {name: _unwrapped(root / name, contents, name) for name in folders if is_split(name)}
    inner = {tuple(contents(place)[0]) for place in places.values()}
    only = next(iter(inner), ())
    if len(inner) == 1 and len(only) == 1:
        deeper = {name: place / only[0] for name, place in places.items()}
        if all(_has_folders_only(contents(place)) for place in deeper.values()):
            return deeper
    return places


def is_split(name: str) -> bool:
    """Return whether a folder is named as splits are."""
    return name.lower() in SPLIT_NAMES


def _has_folders_only(content: tuple[list[str], list[str]]) -> bool:
    folders, files = content
    return bool(folders) and not any(map(has_picture_suffix, files))


def _has_splits_only(folder: Path, contents: Contents) -> bool:
    try:
        inner = contents(folder)
    except DataError:  # reported where the pictures are looked for
        return False
    return _has_folders_only(inner) and all(map(is_split, inner[0]))


def _unwrapped(folder: Path, contents: Contents, name: str | None = None) -> Path:
    """Return the folder in which the classes or splits lie, where others are around it.

    A folder is around the data if it holds no picture but one folder, which holds no picture but
    folders. A split is looked into only if the folder in it has the same ``name``.

    Raises
    ------
    DataError
        More than ``DEEPEST`` folders are around the data.
    """
    folders, files = contents(folder)
    if len(folders) != 1 or name not in {None, folders[0]} or any(map(has_picture_suffix, files)):
        return folder
    place = folder
    for _ in range(DEEPEST):
        place = place / folders[0]
        if not _has_folders_only(contents(place)):
            return folder
        folders, _ = contents(place)
        if name is not None or len(folders) != 1 or is_split(folders[0]):
            return place  # else that is one class, or another folder around
    raise DataError(
        f"{escaped(folder)} is nested too deep: more than {DEEPEST} folders within one another. "
        f"Give the folder that holds the class folders."
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
                elif not is_hidden_file(entry.name):
                    files.append(entry.path)
    except OSError as error:
        raise DataError(f"{escaped(folder)} cannot be listed: {error.strerror}.") from None
    masks = mask_folders(folders)  # left out as files are
    files += [os.path.join(folder, name) for name in masks]  # noqa: PTH118 -- as in the others
    kept = (name for name in folders if name not in masks)
    return sorted(kept, key=os.fsencode), sorted(files, key=os.fsencode)


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


def is_hidden_file(name: str) -> bool:
    """Return whether a file is hidden, or of a system."""
    return name.startswith(".") or name in {"Thumbs.db", "desktop.ini"}
