"""Move: put files into quarantine."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ilk.checking.findings.kinds import select
from ilk.checking.findings.records import Finding, Findings
from ilk.checking.quarantine.files import digest, make_folder, move
from ilk.checking.quarantine.manifest import FILES, Entry, Manifest
from ilk.checking.quarantine.plan import chosen_files
from ilk.data.catalog import Catalog
from ilk.errors import Interrupted, OutputError, UsageError
from ilk.progress import ProgressOption, progress_of
from ilk.runtime import Progress, silent
from ilk.text import escaped


@dataclass(frozen=True)
class MoveResult:
    """What was moved into or out of quarantine.

    Attributes
    ----------
    manifest : Path or None
        The record of all moves; None if there was nothing to move.
    files : tuple of str
        The original paths of the files that were moved.
    failed : mapping of str to str
        Why other files could not be moved, by original path.
    """

    manifest: Path | None
    files: tuple[str, ...]
    failed: Mapping[str, str]


def refuse_folder(folder: Path, data: Path) -> None:
    """Refuse a folder that has other files in it, or is part of the data.

    Raises
    ------
    OutputError
        It exists and is not an empty folder.
    UsageError
        It is inside the data folder, where it would be taken for a class.
    """
    empty = folder.is_dir() and not any(folder.iterdir())
    if os.path.lexists(folder) and not empty:
        raise OutputError(
            f"{escaped(folder)} already exists. Give --quarantine a new or an empty folder, so "
            "that no manifest of an earlier quarantine is lost."
        )
    if data.is_dir() and folder.resolve().is_relative_to(data.resolve()):
        raise UsageError(
            f"--quarantine {escaped(folder)} is inside {escaped(data)}, where its pictures would "
            "be found again. Give a folder outside of it."
        )


def refuse_memory(catalog: Catalog, flag: str) -> None:
    """Refuse pictures that are not files.

    Raises
    ------
    UsageError
    """
    if any(p.content is not None for p in catalog.pictures):
        raise UsageError(
            f"{flag} is for pictures in files; those of {escaped(catalog.source)} are in memory."
        )


def quarantine(
    findings: Findings,
    kinds: Iterable[str] | str,
    folder: str | os.PathLike[str],
    *,
    progress: ProgressOption = None,
) -> MoveResult:
    """Move the files of chosen findings to a folder; of copies, one stays.

    Parameters
    ----------
    findings : Findings
        See `ilk.check`.
    kinds : str or iterable of str
        Severities (``error``), families (``duplicate``) or kinds (``duplicate.exact``).
    folder : str or Path
        New or empty, and not inside the data. It gets a ``manifest.json``, which
        `ilk.undo_quarantine` takes. If there is nothing to move, it is not made.
    progress : bool or Progress, optional
        Whether to show progress on stderr. Default: bars, in terminals and notebooks only. True:
        elsewhere lines, every few seconds.

    Returns
    -------
    MoveResult

    Raises
    ------
    UsageError
        A kind is not known, the folder is inside the data, or the pictures are not files.
    OutputError
        The folder is not empty or cannot be written.
    Interrupted
        By Ctrl-C; the message tells how to move the files back.
    """
    folder = Path(folder)
    selection = select(kinds)
    refuse_folder(folder, Path(findings.catalog.source))
    refuse_memory(findings.catalog, "--quarantine")
    chosen = chosen_files(findings.selected(selection))
    return move_files(chosen, folder, progress_of(progress)) if chosen else MoveResult(None, (), {})


def move_files(
    chosen: Mapping[str, Sequence[Finding]], folder: Path, progress: Progress = silent
) -> MoveResult:
    """Move files to a new or empty folder, keeping their relative paths.

    Parameters
    ----------
    chosen : mapping of str to sequence of Finding
        Why each file is moved, by absolute path: see `chosen_files`.
    folder : Path
    progress : Progress

    Raises
    ------
    OutputError
        The folder cannot be written.
    Interrupted
        By Ctrl-C; the message tells how to move the files back.
    """
    try:
        make_folder(folder)
        folder = folder.resolve()
        manifest, failed = _planned(chosen, progress)
        path = manifest.save(folder)
    except OSError as error:
        raise OutputError(f"{escaped(folder)} cannot be written: {error.strerror}.") from None
    done: list[str] = []
    try:
        with progress("moving files", len(manifest.entries)) as tick:
            for entry in manifest.entries:
                try:
                    move(Path(entry.original), folder / entry.now, entry.sha256)
                    done.append(entry.original)
                except OSError as error:
                    failed[entry.original] = error.strerror or str(error)
                tick(1)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted; {len(done):,} of {len(manifest.entries):,} files were moved. To move "
            f"them back: ilk check --undo {shlex.quote(escaped(folder))}"
        ) from None
    return MoveResult(path, tuple(done), failed)


def _planned(
    chosen: Mapping[str, Sequence[Finding]], progress: Progress
) -> tuple[Manifest, dict[str, str]]:
    """Return the manifest, and why some files cannot be moved."""
    root = os.path.commonpath([os.path.dirname(path) for path in chosen]) if chosen else os.sep  # noqa: PTH120
    entries: list[Entry] = []
    failed: dict[str, str] = {}
    with progress("hashing files", len(chosen)) as tick:
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
