"""Kinds: what each kind of finding is called, in words."""

from __future__ import annotations

KINDS = {
    "file.unreadable": "Files that cannot be read",
    "file.truncated": "Files that end too early",
    "file.incomplete": "Files that end too early, yet can be read",
    "file.empty": "Empty files",
    "file.not_a_picture": "Files that are no pictures",
    "file.bomb": "Pictures too large to be opened safely",
    "file.changed": "Files that changed while they were read",
    "file.ignored": "Files that are passed over",
    "file.unlabelled": "Pictures without a label",
    "file.ending": "Endings that do not tell what is inside",
    "file.animated": "Animations: the first frame counts",
    "file.mode": "Unusual colour modes",
    "file.rotated": "Pictures that are turned by their EXIF data",
    "file.size": "Extreme sizes and shapes",
    "file.link": "Links that lead out of the folder, or nowhere",
    "picture.blank": "Blank pictures",
    "picture.blurred": "Blurred pictures",
    "picture.dark": "Very dark pictures",
    "picture.bright": "Very bright pictures",
    "picture.grey": "Grey pictures among coloured ones",
    "picture.placeholder": "Placeholders instead of pictures",
    "duplicate.exact": "Exact copies",
    "duplicate.near": "Near copies",
    "leakage.exact": "Exact copies in several splits",
    "leakage.near": "Near copies in several splits",
    "label.conflict": "The same picture under several labels",
    "label.suspect": "Labels that are likely wrong",
    "label.names": "Class names that hardly differ",
    "label.splits": "Splits that do not hold the same classes",
    "balance.one_class": "Too few classes",
    "balance.few": "Classes with few pictures",
    "balance.unequal": "Classes of very unequal size",
    "balance.split": "Classes too small to be split",
    "balance.shortcut": "Shortcuts that a model may learn instead",
    "outlier": "Pictures unlike the rest of their class",
}

# Further names by which several kinds can be chosen.
GROUPS = {
    "unreadable": (
        "file.unreadable",
        "file.truncated",
        "file.empty",
        "file.not_a_picture",
        "file.bomb",
    ),
}


def title(kind: str) -> str:
    """Return what a kind is called in words; the kind itself if nobody has named it."""
    return KINDS.get(kind, kind)
