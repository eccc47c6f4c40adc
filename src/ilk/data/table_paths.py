"""Table paths: the files that a table names, as other systems and tools write their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ilk.data.names import PICTURE_SUFFIXES, has_picture_suffix, is_system_folder

MOST_FILES = 500_000  # looked through for those that are not where the table says


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

    def find(self, name: str) -> str:
        """Return the file that a cell names: as it stands if that is there, else as it is meant.

        It may be written with ``file://``, with backslashes, with spaces around it, or without the
        file's ending; or lie in another folder below, or have been in a folder of another machine,
        if only one file has its name. Otherwise the name is returned as it stands.
        """
        asked = str(self.folder / name)
        if os.path.lexists(asked):
            return asked
        names = _spellings(name)
        for file in self._beside(names):
            if os.path.isfile(file):  # noqa: PTH113
                return file
        found = next(filter(None, map(self._below, names)), None)
        if found is None:
            return asked
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
        found = self._index.get(parts[-1], [])
        if not found and _lacks_ending(name):
            found = self._index_of_stems.get(parts[-1], [])
        for length in range(len(parts) - 1, 0 if len(parts) > 1 else -1, -1):
            folders = parts[-1 - length : -1]
            alike = [file for file in found if Path(file).parts[-1 - length : -1] == folders]
            if alike:
                return alike[0] if len(alike) == 1 else None
        return None

    def _stems_in(self, folder: str) -> dict[str, list[str]]:
        """Return the pictures of a folder by their names without the endings."""
        if folder not in self._stems:
            stems = self._stems[folder] = {}
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208
            except OSError:
                names = []
            for name in names:
                stem, ending = os.path.splitext(name)  # noqa: PTH122
                if ending.lower() in PICTURE_SUFFIXES:
                    stems.setdefault(stem, []).append(name)
        return self._stems[folder]

    @cached_property
    def _index(self) -> dict[str, list[str]]:
        """The pictures below the folder by name; empty if there are too many files."""
        index: dict[str, list[str]] = {}
        seen = 0
        for place, inner, names in os.walk(self.folder):
            inner[:] = sorted(n for n in inner if not (n.startswith(".") or is_system_folder(n)))
            seen += len(names)
            if seen > MOST_FILES:
                return {}
            for name in sorted(names):
                if has_picture_suffix(name):
                    index.setdefault(name, []).append(os.path.join(place, name))  # noqa: PTH118
        return index

    @cached_property
    def _index_of_stems(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for name, files in self._index.items():
            index.setdefault(os.path.splitext(name)[0], []).extend(files)  # noqa: PTH122
        return index


def _spellings(name: str) -> list[str]:
    names = [name.strip()]
    if names[0].lower().startswith("file:"):
        names.append(unquote(urlsplit(names[0]).path))
    return names + [other.replace("\\", "/") for other in names if "\\" in other]


def _lacks_ending(name: str) -> bool:
    return not has_picture_suffix(name) and bool(name) and name[-1] not in "/\\"
