"""Kinds: the kinds of findings, their titles, and how findings are selected by them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

from ilk.errors import UsageError
from ilk.text import escaped, split_commas

Severity = Literal["error", "warning", "info"]
Selection = frozenset[str]  # names of kinds, families, groups or severities
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

KINDS = {
    "file.unreadable": "Files that cannot be read",
    "file.truncated": "Truncated files",
    "file.incomplete": "Truncated files that can be read in part",
    "file.empty": "Empty files",
    "file.not_a_picture": "Files that are not pictures",
    "file.needs_package": "Pictures that need another package",
    "file.bomb": "Pictures too large to open safely",
    "file.changed": "Files that changed while they were read",
    "file.ignored": "Files that are ignored",
    "file.unlabelled": "Pictures without a label",
    "file.ending": "File extensions that do not match the content",
    "file.animated": "Animations, of which only the first frame is used",
    "file.mode": "Unusual colour modes",
    "file.rotated": "Pictures rotated by their EXIF data",
    "file.size": "Extreme sizes and shapes",
    "file.link": "Links that leave the folder or are broken",
    "picture.blank": "Blank pictures",
    "picture.blurred": "Blurred pictures",
    "picture.dark": "Very dark pictures",
    "picture.bright": "Very bright pictures",
    "picture.grey": "Greyscale pictures among coloured ones",
    "picture.placeholder": "Placeholders instead of pictures",
    "duplicate.exact": "Exact copies",
    "duplicate.near": "Near copies",
    "leakage.exact": "Exact copies in several splits",
    "leakage.near": "Near copies in several splits",
    "leakage.group": "Groups in several splits",
    "label.conflict": "The same picture under several labels",
    "label.suspect": "Labels that are likely wrong",
    "label.names": "Class names that are nearly the same",
    "label.splits": "Splits that do not have the same classes",
    "balance.one_class": "Too few classes",
    "balance.few": "Classes with few pictures",
    "balance.unequal": "Classes of very unequal size",
    "balance.split": "Classes too small to be split",
    "balance.shortcut": "Shortcuts that a model may learn instead",
    "balance.groups": "Pictures that may belong together",
    "outlier": "Outliers of their class",
}

# Further names that select several kinds.
GROUPS = {
    "unreadable": (
        *("file.unreadable", "file.truncated", "file.empty"),
        *("file.not_a_picture", "file.bomb"),
    ),
}


def title(kind: str) -> str:
    """Return the title of a kind; the kind itself if it has none."""
    return KINDS.get(kind, kind)


def family(kind: str) -> str:
    """Return the part of a kind before its first dot."""
    return kind.partition(".")[0]


def matches(selection: Selection, kind: str, severity: Severity) -> bool:
    """Return whether a finding of this kind and severity is selected."""
    groups = (name for name, kinds in GROUPS.items() if kind in kinds)
    return not selection.isdisjoint({severity, kind, family(kind), *groups})


def select(names: Iterable[str] | str, flag: str = "--kinds") -> Selection:
    """Return a selection by names, each of which may be several, separated by commas.

    Raises
    ------
    UsageError
        There is no kind, family, group or severity of that name; ``flag`` is for the message.
    """
    wanted = split_commas([names] if isinstance(names, str) else names)
    valid = [*SEVERITIES, *GROUPS, *dict.fromkeys(family(kind) for kind in KINDS), *KINDS]
    for name in wanted or [""]:
        if name not in valid:
            near = get_close_matches(name, valid, 1, 0.5)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            raise UsageError(
                f"{flag} '{escaped(name)}' is not a kind of finding. {hint}Allowed are the "
                f"severities {', '.join(SEVERITIES)}; "
                f"{', '.join(valid[len(SEVERITIES) : -len(KINDS)])}; and single kinds such as "
                f"{', '.join(list(KINDS)[:2])}."
            )
    return frozenset(wanted)
