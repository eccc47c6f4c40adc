"""Class names: those that hardly differ, and are one class by mistake or two on purpose."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ilk.data.catalog import Catalog
from ilk.errors import DataError
from ilk.text import join_limited, pluralize

log = logging.getLogger("ilk")


def plain(name: str) -> str:
    """Return a class name without case, accents, spaces, underscores and hyphens.

    Between two digits the separator stays: '1-1' is not '11'. Only accents of Latin, Greek and
    Cyrillic letters are removed; the marks of other scripts form separate letters. A whole number
    is the same with zeros around it: '0', '0.0' and '00'.
    """
    letters = "".join(
        c for c in unicodedata.normalize("NFKD", name) if not "\u0300" <= c <= "\u036f"
    )
    spaced = re.sub(r"[\s_\-\u2010-\u2015]+", " ", letters.casefold()).strip()
    if whole := re.fullmatch(r"(\d+)(\.0*)?", spaced):
        return whole[1].lstrip("0") or "0"
    return re.sub(r"(?<!\d) | (?!\d)", "", spaced) or name


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return the names that hardly differ, in groups of two or more."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[plain(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def settled(catalog: Catalog, merge: bool | None) -> Catalog:
    """Return the catalog with class names that hardly differ merged, or as they are.

    Parameters
    ----------
    merge : bool, optional
        True: each takes the most frequent of the names. False: they are separate classes.

    Raises
    ------
    DataError
        There are such names, and ``merge`` is None.
    """
    groups = alike(catalog.classes)
    if not groups or merge is False:
        return catalog
    counts = catalog.counts()
    if merge is None:
        shown = "; ".join(
            join_limited(f"'{name}' ({pluralize(counts[name], 'picture')})" for name in names)
            for names in groups[:3]
        )
        raise DataError(
            f"Class names of {catalog.source} hardly differ: {shown}{'; …' * (len(groups) > 3)}. "
            "--merge-alike trains them as one class, under the most frequent of the names; "
            "--no-merge-alike as separate classes."
        )
    kept = {name: max(names, key=counts.__getitem__) for names in groups for name in names}
    for names in groups:
        others = [name for name in names if name != kept[name]]
        log.warning("Merged %s into '%s'", join_limited(f"'{n}'" for n in others), kept[names[0]])
    return _renamed(catalog, kept)


def matched(catalog: Catalog, classes: Iterable[str]) -> Catalog:
    """Return the catalog with labels that hardly differ from one of some classes renamed to it."""
    known = list(classes)
    by_plain = {plain(name): name for name in known}
    names = {
        label: by_plain[plain(label)]
        for label in catalog.classes
        if label not in known and plain(label) in by_plain
    }
    return _renamed(catalog, names) if names else catalog


def _renamed(catalog: Catalog, names: Mapping[str, str]) -> Catalog:
    pictures = (
        replace(p, label=names.get(p.label, p.label)) if p.label is not None else p
        for p in catalog.pictures
    )
    return replace(catalog, pictures=tuple(pictures))
