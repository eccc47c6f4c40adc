"""Origin: where a classifier was loaded from, so that it can be copied and pickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ilk.engines import Options
from ilk.errors import ModelError
from ilk.folder import readable_errors
from ilk.runtime import cache_dir, write_whole
from ilk.text import escaped

Stamp = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Origin:
    """The file or folder that a classifier was loaded from, as it was then, and how.

    Attributes
    ----------
    stamp : mapping of str to (int, int)
        The size and the time of modification of each file.
    """

    path: Path
    options: Options
    stamp: Stamp

    @classmethod
    def of(cls, path: Path, options: Options) -> Origin:
        """Note a file or folder as it is now."""
        path = path.absolute()
        return cls(path, options, _stamp(path))

    def files(self) -> dict[str, bytes]:
        """Read the files, by their names relative to the parent of the file or folder.

        Raises
        ------
        ModelError
            They are gone, or have changed since.
        """
        name = escaped(self.path)
        try:
            files = {f: (self.path.parent / f).read_bytes() for f in self.stamp}
        except OSError as error:
            raise ModelError(
                f"The classifier is pickled and copied by its file, but {name} cannot be read any "
                f"more: {error.strerror}."
            ) from None
        if _stamp(self.path) != self.stamp or not files:
            raise ModelError(
                f"The classifier is pickled and copied by its file, but {name} has changed since "
                "it was loaded. Load it again."
            )
        return files


def put_in_cache(files: Mapping[str, bytes]) -> Path:
    """Write files that were read by `Origin.files`, and return the file or folder.

    Raises
    ------
    OutputError
        The cache cannot be written.
    """
    hasher = hashlib.sha256()
    for name, data in files.items():
        hasher.update(f"{name} {len(data)} ".encode() + data)
    folder = cache_dir("unpickled") / hasher.hexdigest()[:32]
    with readable_errors(folder, None):
        for name, data in files.items():
            file = folder / name
            if not (file.is_file() and file.stat().st_size == len(data)):
                file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(file, data)
    return folder / Path(next(iter(files))).parts[0]


def _stamp(path: Path) -> Stamp:
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    found = ((f, f.stat()) for f in files if f.is_file())
    return {
        f.relative_to(path.parent).as_posix(): (status.st_size, status.st_mtime_ns)
        for f, status in found
    }
