"""Copies: groups of copies, and pictures in several splits that should be in one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.inspect import inspect
from ilk.data.inspection.near import Pair, connected, near_pairs
from ilk.runtime import Progress, silent


def groups(pairs: Iterable[Pair]) -> list[list[int]]:
    """Return the groups of near copies, by row: pictures that pairs connect.

    `near_pairs` has broken chains up already.
    """
    return sorted(connected(pair[:2] for pair in pairs))


def with_copies(
    catalog: Catalog, pairs: Iterable[Pair], among: Sequence[Picture] | None = None
) -> Catalog:
    """Return a digested catalog that knows its near copies: they, and copies of them, share a name.

    Groups of pictures that have a copy in common become one group. ``pairs`` are rows of ``among``,
    by default of the catalog.
    """
    pictures = catalog.pictures
    digest_of = [p.digest for p in (pictures if among is None else among)]
    name: dict[str, str] = {}
    for rows in groups(pairs):
        digests = [digest_of[row] for row in rows]
        name.update(dict.fromkeys(digests, min(digests)))
    if name:
        pictures = tuple(replace(p, near=name.get(p.digest, "")) for p in pictures)
    if any(p.group for p in pictures):
        pictures = _with_joined_groups(pictures)
    return replace(catalog, pictures=pictures)


def find_copies(
    catalog: Catalog, workers: int | None = None, progress: Progress = silent
) -> Catalog:
    """Look for near copies in a digested catalog, and return it with them: see `with_copies`."""
    inspection = inspect(catalog, workers, progress)
    pairs = near_pairs(inspection, workers, progress)
    return with_copies(catalog, pairs, inspection.catalog.pictures)


def _with_joined_groups(pictures: tuple[Picture, ...]) -> tuple[Picture, ...]:
    """Give pictures of connected groups one name: two are connected if they share a copy."""
    first: dict[tuple[str, str], int] = {}
    links = [
        (first.setdefault(key, row), row)
        for row, p in enumerate(pictures)
        for key in (("group", p.group), ("copies", p.distinct))
        if key[1]
    ]
    names = [""] * len(pictures)
    for rows in connected(links):
        name = min((pictures[row].group for row in rows if pictures[row].group), default="")
        for row in rows:
            names[row] = name
    return tuple(replace(p, group=name) for p, name in zip(pictures, names, strict=True))


def spanning(
    catalog: Catalog, key: Callable[[Picture], str] = lambda p: p.distinct
) -> list[tuple[Picture, ...]]:
    """Return the pictures that share a key, by default copies, where they are in several splits."""
    return [group for group in _sharing(catalog, key) if len({p.split for p in group}) > 1]


def count_redundant(catalog: Catalog) -> int:
    """Count the pictures that are copies, exact or near, of another."""
    return sum(len(group) - 1 for group in _sharing(catalog, lambda p: p.distinct))


def _sharing(catalog: Catalog, key: Callable[[Picture], str]) -> list[tuple[Picture, ...]]:
    found: dict[str, list[Picture]] = defaultdict(list)
    for picture in catalog.pictures:
        found[key(picture)].append(picture)
    return [tuple(group) for group in found.values() if len(group) > 1]
