"""Marked: the checked catalog as a table, with suspects marked, which a training takes."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from ilk.checking.findings import Finding, Findings
from ilk.checking.quarantine.plan import place
from ilk.checking.selection import family
from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.errors import OutputError, UsageError
from ilk.text import escaped

HEADER = ("path", "label", "split", "suspect", "why", "left_out")


def refuse_table(file: Path) -> None:
    """Refuse a file that is there, or that 'ilk train' would not take for a table.

    Raises
    ------
    UsageError, OutputError
    """
    if file.suffix.lower() != ".csv":
        raise UsageError(f"--write-catalog {escaped(file)} should end in .csv.")
    if os.path.lexists(file):
        raise OutputError(f"{escaped(file)} is there already. Give --write-catalog a new file.")


def refuse_memory(catalog: Catalog, flag: str) -> None:
    """Refuse pictures that are no files.

    Raises
    ------
    UsageError
    """
    if any(p.content is not None for p in catalog.pictures):
        raise UsageError(f"{flag} is for pictures in files; {escaped(catalog.source)} has none.")


def write(file: Path, findings: Findings, gone: Collection[str] = ()) -> int:
    """Write the table ``path,label,split,suspect,why,left_out``, one row a file.

    ``suspect`` holds the kinds of the errors and warnings that name the file, ``why`` what they
    say. A row with text in ``left_out`` is passed over by a training: those are the files that
    cannot be read, or have no label; people may add to them.

    Parameters
    ----------
    file : Path
        A new file.
    findings : Findings
    gone : collection of str
        Absolute paths of files that are no longer there: they get no row.

    Returns
    -------
    int
        The number of pictures that are marked as suspects.

    Raises
    ------
    OutputError
        The file cannot be written, or is there already.
    """
    suspects: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings.findings:
        if finding.severity != "info":
            for path in dict.fromkeys(finding.paths):
                suspects[path].append(finding)
    catalog, marked = findings.catalog, 0
    files: tuple[Picture | LeftOut, ...] = (*catalog.pictures, *catalog.left_out)
    try:
        # newline="" and surrogateescape keep any file name that the system allows intact.
        with file.open("x", newline="", encoding="utf-8", errors="surrogateescape") as out:
            writer = csv.writer(out)
            writer.writerow(HEADER)
            for x in files:
                if gone and place(x.path) in gone:
                    continue
                why = suspects.get(x.path, [])
                left_out = x.reason if isinstance(x, LeftOut) else _unusable(why)
                kinds = " ".join(dict.fromkeys(f.kind for f in why))
                details = "; ".join(escaped(f.detail) for f in why)
                path = os.path.abspath(x.path)  # noqa: PTH100 -- keeps links as they are
                writer.writerow([path, x.label, x.split, kinds, details, left_out])
                marked += bool(kinds and not left_out)
    except OSError as error:
        raise OutputError(f"{escaped(file)} cannot be written: {error.strerror}.") from None
    return marked


def _unusable(findings: list[Finding]) -> str:
    """Return why a training cannot use the file, or ''."""
    reasons = (f.detail for f in findings if f.severity == "error" and family(f.kind) == "file")
    return next(reasons, "")
