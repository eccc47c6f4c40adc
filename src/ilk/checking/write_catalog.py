"""Write catalog: the checked data as a table with suspects marked, which a training takes."""

from __future__ import annotations

import csv
import io
import os
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from ilk.checking.findings.kinds import family
from ilk.checking.findings.records import Finding, Findings
from ilk.checking.quarantine.move import refuse_memory
from ilk.checking.quarantine.plan import place
from ilk.data.catalog import LeftOut, Picture
from ilk.errors import OutputError, UsageError
from ilk.runtime import write_whole
from ilk.text import escaped

BEFORE, AFTER = ("path", "label", "split"), ("suspect", "why", "left_out")


def refuse_table(file: Path) -> None:
    """Refuse a file that exists, or that `ilk.train` would not take for a table.

    Raises
    ------
    UsageError, OutputError
    """
    if file.suffix.lower() != ".csv":
        raise UsageError(f"--write-catalog {escaped(file)} should end in .csv.")
    if os.path.lexists(file):
        raise OutputError(f"{escaped(file)} already exists. Give --write-catalog a new file.")


def write_catalog(
    findings: Findings, file: str | os.PathLike[str], *, gone: Collection[str] = ()
) -> int:
    """Write the checked data as a table with suspects marked, one row per file.

    The columns are ``path,label,split``, those of the data's own table, and
    ``suspect,why,left_out``. ``suspect`` has the kinds of the errors and warnings on the file, and
    ``why`` their details. A training skips rows with text in ``left_out``: files that cannot be
    read or have no label; you may add to them.

    Parameters
    ----------
    findings : Findings
        See `ilk.check`.
    file : str or Path
        A new ``.csv`` file.
    gone : collection of str
        Absolute paths of files without a row, such as those that `ilk.quarantine` moved.

    Returns
    -------
    int
        The number of pictures marked as suspects.

    Raises
    ------
    UsageError
        The file does not end in ``.csv``, or the pictures are not files.
    OutputError
        The file exists already or cannot be written.
    """
    file = Path(file)
    refuse_table(file)
    refuse_memory(findings.catalog, "--write-catalog")
    table, marked = _table(findings, gone)
    refuse_table(file)  # again: a large table took a while
    try:
        # surrogateescape keeps any file name that the system allows intact.
        write_whole(file, table.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise OutputError(f"{escaped(file)} cannot be written: {error.strerror}.") from None
    return marked


def _table(findings: Findings, gone: Collection[str]) -> tuple[str, int]:
    """Return the table's text, and how many pictures are marked in it."""
    suspects: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings.select("error", "warning"):
        for path in dict.fromkeys(finding.paths):
            suspects[path].append(finding)
    catalog, marked = findings.catalog, 0
    files: tuple[Picture | LeftOut, ...] = (*catalog.pictures, *catalog.left_out)
    own = sorted({name for x in files for name in x.columns} - {*BEFORE, *AFTER})
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*BEFORE, *own, *AFTER])
    for x in files:
        if gone and place(x.path) in gone:
            continue
        why = suspects.get(x.path, [])
        left_out = x.reason if isinstance(x, LeftOut) else _unusable(why)
        kinds = " ".join(dict.fromkeys(f.kind for f in why))
        details = "; ".join(escaped(f.detail) for f in why)
        path = os.path.abspath(x.path)  # noqa: PTH100 -- keeps links as they are
        values = [x.columns.get(name, "") for name in own]
        writer.writerow([path, x.label, x.split, *values, kinds, details, left_out])
        marked += bool(kinds and not left_out)
    return out.getvalue(), marked


def _unusable(findings: list[Finding]) -> str:
    """Return why a training cannot use the file, or ''."""
    reasons = (f.detail for f in findings if f.severity == "error" and family(f.kind) == "file")
    return next(reasons, "")
