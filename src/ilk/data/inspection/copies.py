"""Copies: groups of copies, and those that span more than one split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.near import Pair

FEW, SHARE = 50, 0.1


def groups(pairs: Iterable[Pair], number: int) -> list[list[int]]:
    """Join pairs of near copies into groups: connected components, such as the frames of a video.

    Each picture is compared with a few neighbours only, so a missing pair is no evidence. But
    simple pictures (strokes, icons) can chain across the whole data set. Components of more than 50
    pictures and a tenth of the data are therefore rebuilt, most similar pairs first; two groups
    merge only if half of the pairs between them are near copies, or if one picture is then a near
    copy of all others.

    Parameters
    ----------
    pairs : iterable of Pair
    number : int
        Of pictures.

    Returns
    -------
    list of list of int
        Rows in rising order, two or more in each group.
    """
    ordered = sorted(pairs, key=lambda p: (-p.likeness, p.first, p.second))
    like: dict[int, set[int]] = defaultdict(set)
    for pair in ordered:
        like[pair.first].add(pair.second)
        like[pair.second].add(pair.first)
    whole = _joined(ordered, lambda one, other: True)
    largest = max(FEW, SHARE * number)
    chained = {row for rows in whole if len(rows) > largest for row in rows}
    parts = _joined(
        (pair for pair in ordered if pair.first in chained),
        lambda one, other: _belong(one, other, like),
    )
    return sorted([*(rows for rows in whole if len(rows) <= largest), *parts])


def _joined(pairs: Iterable[Pair], fits: Callable[[set[int], set[int]], bool]) -> list[list[int]]:
    """Join the groups of each pair's pictures in turn, if they fit together."""
    group: dict[int, set[int]] = {}
    for pair in pairs:
        one = group.setdefault(pair.first, {pair.first})
        other = group.setdefault(pair.second, {pair.second})
        if one is not other and fits(one, other):
            if len(one) < len(other):
                one, other = other, one
            one |= other
            group.update(dict.fromkeys(other, one))
    joined = {id(rows): rows for rows in group.values() if len(rows) > 1}
    return [sorted(rows) for rows in joined.values()]


def _belong(one: set[int], other: set[int], like: dict[int, set[int]]) -> bool:
    between = sum(len(like[row] & other) for row in one)
    both = one | other
    return 2 * between >= len(one) * len(other) or any(both <= like[row] | {row} for row in both)


def grouped(catalog: Catalog, pairs: Iterable[Pair]) -> Catalog:
    """Return a digested catalog in which near copies, and copies of them, share a group."""
    pictures = catalog.pictures
    name: dict[str, str] = {}
    for rows in groups(pairs, len(pictures)):
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
