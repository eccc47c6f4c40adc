"""Undo: move files from quarantine back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ilk.checking.quarantine.files import digest, move, part_of
from ilk.checking.quarantine.manifest import FILES, NAME, Entry, conflict, load
from ilk.checking.quarantine.move import MoveResult
from ilk.progress import ProgressOption, progress_of
from ilk.text import escaped


def undo_quarantine(
    manifest: str | os.PathLike[str], *, progress: ProgressOption = None
) -> MoveResult:
    """Move every file of a quarantine back to where it was.

    It can be repeated. Nothing is overwritten, and no file is moved whose content differs from the
    manifest. The manifest stays.

    Parameters
    ----------
    manifest : str or Path
        The ``manifest.json`` of a quarantine, or its folder.
    progress : bool or Progress, optional
        Whether to show progress on stderr. Default: bars, in terminals and notebooks only. True:
        elsewhere lines, every few seconds.

    Returns
    -------
    MoveResult

    Raises
    ------
    ManifestError
        The manifest cannot be read or is not valid.
    """
    manifest = Path(manifest)
    manifest = manifest / NAME if manifest.is_dir() else manifest
    record = load(manifest)
    folder = manifest.resolve().parent
    done: list[str] = []
    failed: dict[str, str] = {}
    with progress_of(progress)("putting back", len(record.entries)) as tick:
        for entry in record.entries:
            try:
                reason = conflict(entry, record.root) or _put_back(entry, folder)
            except OSError as error:
                reason = error.strerror or str(error)
            if reason:
                failed[entry.original] = reason
            else:
                done.append(entry.original)
                _tidy(entry, folder)
            tick(1)
    _remove_empty(folder / FILES)
    return MoveResult(manifest, tuple(done), failed)


def _put_back(entry: Entry, folder: Path) -> str:
    """Move one file back; return why that is not possible, or ''."""
    here, there = folder / entry.now, Path(entry.original)
    if here.parent.resolve() != here.parent:
        return f"{escaped(here.parent)} leads out of the quarantine"
    if not os.path.lexists(here):
        if not os.path.lexists(there):
            return f"it is neither there nor at {escaped(here)}"
        return "" if digest(there) == entry.sha256 else "another file is there, and it is not here"
    if os.path.lexists(there):
        return _finish(here, there, entry)
    if digest(here) != entry.sha256:
        return f"{escaped(here)} is not the file that was moved there"
    move(here, there, entry.sha256)
    return ""


def _finish(here: Path, there: Path, entry: Entry) -> str:
    """Finish a move that was interrupted when the file had both names."""
    if digest(there) != entry.sha256:
        return f"another file is there now; the one that was moved is {escaped(here)}"
    if digest(here) == entry.sha256 and there.parent.resolve() / there.name != here:
        here.unlink()  # one of two names, or of two equal copies
    return ""


def _tidy(entry: Entry, folder: Path) -> None:
    """Remove the partial file of an interrupted copy."""
    for target in (folder / entry.now, Path(entry.original)):
        with contextlib.suppress(OSError):
            part_of(target, entry.sha256).unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    """Remove the folders that held the files, if they are empty."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(place).rmdir()
