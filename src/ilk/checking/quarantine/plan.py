"""Plan: which files of the chosen findings are moved, and which stay."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ilk.checking.findings.kinds import family
from ilk.checking.findings.records import Finding

# Of copies all but one are redundant. Of other findings all files are moved, also of a label
# conflict: any of the labels may be wrong.
COPIES = ("duplicate.exact", "duplicate.near", "leakage.exact", "leakage.near")
# These findings are about classes, even if they name files.
ABOUT_CLASSES = ("balance",)
ABOUT_SPLITS = ("leakage.group",)  # good pictures, badly divided


def chosen_files(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Return the files to move, each with the findings that it is moved for.

    Of copies, the first without other findings stays. The target of a link in the same group stays
    if the link does.

    Returns
    -------
    dict of str to list of Finding
        By absolute path; see `place`.
    """
    found = [
        f
        for f in findings
        if f.paths and family(f.kind) not in ABOUT_CLASSES and f.kind not in ABOUT_SPLITS
    ]
    chosen: dict[str, list[Finding]] = {}
    # Copies come last: the copy that stays must not be moved for another reason.
    for finding in sorted(found, key=lambda f: f.kind in COPIES):
        places = list(dict.fromkeys(map(place, finding.paths)))
        for path in _redundant(places, chosen) if finding.kind in COPIES else places:
            chosen.setdefault(path, []).append(finding)
    return chosen


def _redundant(places: Sequence[str], gone: Iterable[str]) -> list[str]:
    """Return the copies to move: all but the first of those that are not moved anyway."""
    left = [path for path in places if path not in gone]
    stays = {os.path.realpath(path) for path in left[:1]}
    return [path for path in left[1:] if path not in stays]


def place(path: str) -> str:
    """Return the absolute path of a file with links resolved in its folder, not in the file itself.

    Two names of one folder entry have the same place, so no file is taken for its own copy.
    """
    folder, name = os.path.split(os.path.abspath(path))  # noqa: PTH100 -- as Path, but for odd bytes
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
