"""Copies: groups of copies, and those that span more than one split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.near import Pair, connected


def groups(pairs: Iterable[Pair]) -> list[list[int]]:
    """Return the groups of near copies, by row: pictures that pairs connect.

    `near_pairs` has broken chains up already.
    """
    return sorted(connected(pair[:2] for pair in pairs))


def grouped(catalog: Catalog, pairs: Iterable[Pair]) -> Catalog:
    """Return a digested catalog in which near copies, and copies of them, share a group."""
    pictures = catalog.pictures
    name: dict[str, str] = {}
    for rows in groups(pairs):
        digests = [pictures[row].digest for row in rows]
        name.update(dict.fromkeys(digests, min(digests)))
    if not name:
        return catalog
    return replace(
        catalog, pictures=tuple(replace(p, group=name.get(p.digest, "")) for p in pictures)
    )


def leaks(catalog: Catalog) -> list[tuple[Picture, ...]]:
    """Return the groups of copies, exact or near, that span more than one split."""
    return [group for group in _copies(catalog) if len({p.split for p in group}) > 1]


def count_redundant(catalog: Catalog) -> int:
    """Count the pictures that are copies, exact or near, of another."""
    return sum(len(group) - 1 for group in _copies(catalog))


def _copies(catalog: Catalog) -> list[tuple[Picture, ...]]:
    found: dict[str, list[Picture]] = defaultdict(list)
    for picture in catalog.pictures:
        found[picture.origin].append(picture)
    return [tuple(group) for group in found.values() if len(group) > 1]
