"""Walk: the folders below a folder, and the files that a pattern names; neither follows links."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from ilk.data.names import is_system_folder

DEEPEST = 100  # folders within one another


def walk(
    folder: str | Path, errors: list[OSError] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder with the names of its folders, sorted, and of its files, as `os.walk` does.

    Hidden folders and those of systems are skipped, and so is what lies deeper than ``DEEPEST``.
    Folders that cannot be listed or lie too deep are appended to ``errors``.
    """
    errors = [] if errors is None else errors
    above = len(str(folder))
    for place, inner, names in os.walk(folder, onerror=errors.append):
        inner[:] = sorted(n for n in inner if not (n.startswith(".") or is_system_folder(n)))
        if place.count(os.sep, above) >= DEEPEST and inner:
            reason = f"it is nested too deep, in more than {DEEPEST} folders"
            errors += [OSError(errno.ELOOP, reason, os.path.join(place, n)) for n in inner]  # noqa: PTH118 -- Path is slow
            inner.clear()
        yield place, inner, names


def matches(pattern: str) -> list[str]:
    """Return what a pattern names, sorted; ``**`` stands for any number of folders, without links.

    `glob.glob` follows links, and does not end where they lead back.
    """
    before, stars, after = _parted(pattern)
    if not stars:
        return sorted(glob.iglob(pattern))  # noqa: PTH207 -- keeps the name as it was given
    found: set[str] = set()
    for base in glob.glob(before) if before else [""]:  # noqa: PTH207
        for place, _, _ in walk(base or os.curdir):
            inner = place if base else place.removeprefix(os.curdir).removeprefix(os.sep)
            found.update(matches(os.path.join(glob.escape(inner), after)))  # noqa: PTH118
    return sorted(found)


def _parted(pattern: str) -> tuple[str, bool, str]:
    """Return what is before ``**`` in a pattern, whether there is one, and what is after it."""
    parts = pattern.split(os.sep)  # noqa: PTH206 -- keeps what stands for nothing
    if "**" not in parts:
        return pattern, False, ""
    first = parts.index("**")
    after = parts[first:]
    while after and after[0] == "**":  # several in a row mean the same as one
        del after[0]
    before = os.sep.join([*parts[:first], ""]) if first else ""  # noqa: PTH118
    return before, True, os.sep.join(after) or "*"  # noqa: PTH118
