"""Table paths: the files that a table names, as other systems and tools write their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ilk.data.names import PICTURE_SUFFIXES, has_picture_suffix
from ilk.data.walk import walk

LONGEST = 6  # folders of a name that are compared
MOST_FILES = 500_000  # looked through for those that are not where the table says

# The path of each picture by its name, with the last folders above it.
Index = dict[str, list[tuple[str, tuple[str, ...]]]]


class TablePaths:
    """Finds the files that a table in a folder names.

    Attributes
    ----------
    moved : dict of str to str
        Names that were found elsewhere below the folder, and where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.moved: dict[str, str] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._taken: set[str] = set()

    def reserve(self, names: Iterable[str]) -> None:
        """Keep the files that are where a cell says from being found for another cell."""
        asked = (str(self.folder / name) for name in names)
        self._taken.update(os.path.abspath(file) for file in asked if os.path.lexists(file))  # noqa: PTH100

    def find(self, name: str) -> str:
        """Return the file that a cell names: as it stands if that is there, else as it is meant.

        It may be written with ``file://``, with backslashes, with spaces around it, or without the
        file's ending; or lie in another folder below, or have been in a folder of another machine,
        if only one file has its name, and no other cell names that. Otherwise the name is returned
        as it stands.
        """
        asked = str(self.folder / name)
        if os.path.lexists(asked):
            return asked
        if name in self.moved:
            return self.moved[name]
        names = _spellings(name)
        for file in self._beside(names):
            if os.path.isfile(file):  # noqa: PTH113
                return file
        found = next(filter(None, map(self._below, names)), None)
        if found is None or os.path.abspath(found) in self._taken:  # noqa: PTH100
            return asked
        self._taken.add(os.path.abspath(found))  # noqa: PTH100
        self.moved[name] = found
        return found

    def _beside(self, names: list[str]) -> Iterator[str]:
        for name in names:
            yield str(self.folder / name)
        for name in names:
            file = self.folder / name
            if _lacks_ending(name):
                alike = self._stems_in(str(file.parent)).get(file.name, ())
                if len(alike) == 1:  # of several it cannot be said which
                    yield str(file.parent / alike[0])

    def _below(self, name: str) -> str | None:
        """Return the one picture below the folder whose path ends as a name does, if there is one.

        The name may begin with folders that are not there, but its last one must be.
        """
        parts = tuple(part for part in name.split("/") if part not in {"", ".", ".."})
        if not parts:
            return None
        index = self._index
        if parts[-1] not in index and _lacks_ending(name):
            index = self._index_of_stems
        if len(parts) == 1:
            found = index.get(parts[-1], [])
            return found[0][0] if len(found) == 1 else None
        found = [entry for entry in index.get(parts[-1], []) if entry[1][-1:] == parts[-2:-1]]
        for length in range(min(len(parts) - 1, LONGEST), 0, -1):
            folders = parts[-1 - length : -1]
            alike = [file for file, above in found if above[-length:] == folders]
            if alike:
                return alike[0] if len(alike) == 1 else None
        return None

    def _stems_in(self, folder: str) -> dict[str, list[str]]:
        """Return the pictures of a folder by their names without the endings."""
        if folder not in self._stems:
            stems = self._stems[folder] = {}
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208
            except (OSError, ValueError):
                names = []
            for name in names:
                stem, ending = os.path.splitext(name)  # noqa: PTH122
                if ending.lower() in PICTURE_SUFFIXES:
                    stems.setdefault(stem, []).append(name)
        return self._stems[folder]

    @cached_property
    def _index(self) -> Index:
        """The pictures below the folder by name; empty if there are too many files."""
        index: Index = {}
        seen = 0
        for place, _, names in walk(self.folder):
            seen += len(names)
            if seen > MOST_FILES:
                return {}
            above = Path(place).parts[-LONGEST:]
            for name in sorted(names):
                if has_picture_suffix(name):
                    entry = os.path.join(place, name), above  # noqa: PTH118
                    index.setdefault(name, []).append(entry)
        return index

    @cached_property
    def _index_of_stems(self) -> Index:
        index: Index = {}
        for name, files in self._index.items():
            index.setdefault(os.path.splitext(name)[0], []).extend(files)  # noqa: PTH122
        return index


def _spellings(name: str) -> list[str]:
    names = [name.strip()]
    if names[0].lower().startswith("file:"):
        with suppress(ValueError):  # what follows is no address
            names.append(unquote(urlsplit(names[0]).path))
    return names + [other.replace("\\", "/") for other in names if "\\" in other]


def _lacks_ending(name: str) -> bool:
    return not has_picture_suffix(name) and bool(name) and name[-1] not in "/\\"
