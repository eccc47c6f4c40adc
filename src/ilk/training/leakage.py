"""Leakage: pictures held out by the data's own splits that are not independent of the training."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.copies import spanning
from ilk.errors import DataError
from ilk.spec import SPLITS
from ilk.text import escaped, join_limited, pluralize

log = logging.getLogger("ilk")
FEW = 0.01  # of a held-out split: so many are left out of it, more stop the training


@dataclass(frozen=True)
class Leak:
    """A way in which pictures of several splits depend on each other."""

    key: Callable[[Picture], str]  # what such pictures share
    reason: Callable[[Picture, Picture], str]
    one: str
    many: str
    noun: str
    advice: str


def _copied(picture: Picture, kept: Picture) -> str:
    near = "nearly " * (picture.digest != kept.digest)
    return f"is {near}the same as {kept.path} in {kept.split}"


def _related(picture: Picture, kept: Picture) -> str:
    return f"is of the group {picture.group}, like {kept.path} in {kept.split}"


COPIES = Leak(
    lambda p: p.distinct,
    _copied,
    "is a copy of a picture",
    "are copies of pictures",
    "group of copies",
    "'ilk check' lists them, and 'ilk check --quarantine DIR --kinds leakage' moves them away",
)
GROUPED = Leak(
    lambda p: p.origin,
    _related,
    "is of a group that has pictures",
    "are of groups that have pictures",
    "group",
    "Give splits that keep groups together, or none: ilk then splits by group",
)


def without_leaks(catalog: Catalog, allow: bool) -> Catalog:
    """Return the catalog less the held-out pictures that leak from another of its own splits.

    These are copies, exact or near, and pictures of the same group. What they share stays in one
    split: train if it is there, else val.

    Parameters
    ----------
    allow : bool
        Whether to keep them all, with a warning.

    Raises
    ------
    DataError
        They are more than ``FEW`` of a split.
    """
    if len(catalog.splits) < 2:
        return catalog
    for leak in (COPIES, GROUPED):
        catalog = _without(leak, catalog, allow)
    return catalog


def _without(leak: Leak, catalog: Catalog, allow: bool) -> Catalog:
    found = spanning(catalog, leak.key)
    if not found:
        return catalog
    reasons: dict[str, str] = {}
    for pictures in found:
        kept = min(pictures, key=lambda p: SPLITS.index(p.split or ""))
        reasons |= {p.path: leak.reason(p, kept) for p in pictures if p.split != kept.split}
    gone = [p for p in catalog.pictures if p.path in reasons]
    sizes = {split: len(catalog.of(split)) for split in catalog.splits}
    counts = Counter(str(p.split) for p in gone)
    few = all(number <= FEW * sizes[split] for split, number in counts.items())
    if few and not allow:
        names = join_limited(p.path for p in gone)
        log.warning("Left out of the scores, as %s in another split: %s",
                    leak.many.removeprefix("are "), names)  # fmt: skip
        return catalog.without(reasons, unreadable=False)
    what = " and ".join(
        f"{pluralize(number, 'picture')} of {sizes[split]:,} in {split}"
        for split, number in sorted(counts.items())
    )
    said = (
        f"{what} {leak.one if len(gone) == 1 else leak.many} in another split "
        f"({_number_of(leak, len(found))}): {escaped(gone[0].path)} "
        f"{escaped(reasons[gone[0].path])}{', …' * (len(gone) > 1)}"
    )
    if allow:
        log.warning("%s. The scores will be too high.", said)
        return catalog
    raise DataError(
        f"{said}. That is more than the {FEW:.0%} of a split that would be left out of the "
        f"scores. {leak.advice}; --allow-leakage trains anyway."
    )


def _number_of(leak: Leak, number: int) -> str:
    first, _, rest = leak.noun.partition(" ")
    return f"{pluralize(number, first)} {rest}".strip()
