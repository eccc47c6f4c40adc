"""Undo: put what lies in quarantine back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ilk.checking.quarantine.files import digest, move, part_of
from ilk.checking.quarantine.manifest import FILES, NAME, Entry, load, trouble
from ilk.checking.quarantine.move import Moved
from ilk.runtime import Progress, silent
from ilk.text import escaped


def undo(manifest: Path, progress: Progress = silent) -> Moved:
    """Put every file of a quarantine back where it was, byte for byte.

    It can be repeated: a file that is back already is fine. Nothing that is there now is
    overwritten, and no file that differs from what the manifest says is moved. The manifest stays.

    Parameters
    ----------
    manifest : Path
        A quarantine's ``manifest.json``, or the folder that holds it.
    progress : Progress

    Raises
    ------
    ManifestError
        The manifest cannot be read, or is none.
    """
    manifest = manifest / NAME if manifest.is_dir() else manifest
    record = load(manifest)
    folder = manifest.resolve().parent
    done: list[str] = []
    failed: dict[str, str] = {}
    with progress("putting back", len(record.entries)) as tick:
        for entry in record.entries:
            try:
                reason = trouble(entry, record.root) or _put_back(entry, folder)
            except OSError as error:
                reason = error.strerror or str(error)
            if reason:
                failed[entry.original] = reason
            else:
                done.append(entry.original)
                _tidy(entry, folder)
            tick(1)
    _remove_empty(folder / FILES)
    return Moved(manifest, tuple(done), failed)


def _put_back(entry: Entry, folder: Path) -> str:
    """Put one file back; return why that cannot be, or ''."""
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
    """Finish a move that was cut off between the new name and the end of the old one."""
    if digest(there) != entry.sha256:
        return f"another file is there now; the one that was moved is {escaped(here)}"
    if digest(here) == entry.sha256 and there.parent.resolve() / there.name != here:
        here.unlink()  # one of two names, or of two equal copies
    return ""


def _tidy(entry: Entry, folder: Path) -> None:
    """Take away what a copy that was killed has left half-written."""
    for target in (folder / entry.now, Path(entry.original)):
        with contextlib.suppress(OSError):
            part_of(target, entry.sha256).unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    """Take away the folders that held the files, as far as nothing is left in them."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(place).rmdir()
