"""Move: put files into quarantine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ilk.checking.findings import Finding
from ilk.checking.quarantine.files import digest, make_folder, move
from ilk.checking.quarantine.manifest import FILES, Entry, Manifest
from ilk.errors import OutputError, UsageError
from ilk.runtime import Progress, silent
from ilk.text import escaped


@dataclass(frozen=True)
class Moved:
    """What a quarantine or its undoing did; ``failed`` says of a file why it was not moved."""

    manifest: Path
    files: tuple[str, ...]
    failed: Mapping[str, str]


def refuse_folder(folder: Path, data: Path) -> None:
    """Refuse a folder that a quarantine would mix with other files, or with the pictures.

    Raises
    ------
    OutputError
        It is there already and not empty, or no folder.
    UsageError
        It lies in the folder of the pictures, where it would be taken for one of their classes.
    """
    empty = folder.is_dir() and not any(folder.iterdir())
    if os.path.lexists(folder) and not empty:
        raise OutputError(
            f"{escaped(folder)} is there already. Give --quarantine a new or an empty folder, so "
            "that no manifest of an earlier quarantine is lost."
        )
    if data.is_dir() and folder.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"--quarantine {escaped(folder)} lies inside {escaped(data)}, where its pictures would "
            "be found again. Give a folder beside it."
        )


def quarantine(
    chosen: Mapping[str, Sequence[Finding]], folder: Path, progress: Progress = silent
) -> Moved:
    """Move files into a folder, where they keep their names and their folders.

    Parameters
    ----------
    chosen : mapping of str to sequence of Finding
        Absolute paths, and why each file is moved: see `chosen_files`.
    folder : Path
        New or empty. It gets a ``manifest.json``, by which `undo` puts every file back.
    progress : Progress

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    try:
        make_folder(folder)
        folder = folder.resolve()
        manifest, failed = _planned(chosen, progress)
        path = manifest.save(folder)
    except OSError as error:
        raise OutputError(f"{escaped(folder)} cannot be written: {error.strerror}.") from None
    done: list[str] = []
    with progress("moving files", len(manifest.entries)) as tick:
        for entry in manifest.entries:
            try:
                move(Path(entry.original), folder / entry.now, entry.sha256)
                done.append(entry.original)
            except OSError as error:
                failed[entry.original] = error.strerror or str(error)
            tick(1)
    return Moved(path, tuple(done), failed)


def _planned(
    chosen: Mapping[str, Sequence[Finding]], progress: Progress
) -> tuple[Manifest, dict[str, str]]:
    """Return the manifest, and why some files cannot be in it."""
    root = os.path.commonpath([os.path.dirname(path) for path in chosen]) if chosen else os.sep  # noqa: PTH120
    entries: list[Entry] = []
    failed: dict[str, str] = {}
    with progress("reading what is moved", len(chosen)) as tick:
        for path, findings in chosen.items():
            try:
                entries.append(_entry(path, root, findings))
            except OSError as error:
                failed[path] = error.strerror or str(error)
            tick(1)
    return Manifest(root, tuple(entries)), failed


def _entry(path: str, root: str, findings: Sequence[Finding]) -> Entry:
    status = Path(path).lstat()
    return Entry(
        original=path,
        now=f"{FILES}/{os.path.relpath(path, root)}",
        sha256=digest(Path(path)),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        why=tuple(f"{f.kind}: {f.detail}" for f in findings),
    )
