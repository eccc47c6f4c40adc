"""Plan: which files of the chosen findings go, and which stay."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ilk.checking.findings import Finding
from ilk.checking.selection import family

# Of such a group all files but one are too many; of other findings every file is in question.
# Those of a label conflict all are: any label may be the wrong one.
COPIES = ("duplicate.exact", "duplicate.near", "leakage.exact", "leakage.near")
# These findings are about classes, not about the files that they may name.
ABOUT_CLASSES = ("balance",)


def chosen_files(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Return the files to be moved, each with the findings that it is moved for.

    Of copies, the first that nothing else is found wrong with stays where it is. A file that a link
    in the same group leads to stays if the link does.

    Returns
    -------
    dict of str to list of Finding
        Absolute paths; in the last folder and file no link is followed.
    """
    found = [f for f in findings if f.paths and family(f.kind) not in ABOUT_CLASSES]
    chosen: dict[str, list[Finding]] = {}
    # Copies come last: a copy that stays must not be one that goes for another reason.
    for finding in sorted(found, key=lambda f: f.kind in COPIES):
        places = list(dict.fromkeys(map(place, finding.paths)))
        for path in _too_many(places, chosen) if finding.kind in COPIES else places:
            chosen.setdefault(path, []).append(finding)
    return chosen


def _too_many(places: Sequence[str], gone: Iterable[str]) -> list[str]:
    """Return the copies that can go: all but the first of those that are still there."""
    left = [path for path in places if path not in gone]
    stays = {os.path.realpath(path) for path in left[:1]}
    return [path for path in left[1:] if path not in stays]


def place(path: str) -> str:
    """Return where a file lies: an absolute path without links, save that the file may be one.

    Two names of one entry of one folder have the same place, so no file is taken for its own copy.
    """
    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 -- as Path, but for odd bytes
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
