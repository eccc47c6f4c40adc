"""Balance: how many pictures each class has."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.records import Finding
from ilk.data.catalog import Catalog
from ilk.spec import SPLITS
from ilk.text import escaped, join_limited

MIN_PICTURES = 10  # of a class
MAX_RATIO = 10  # of the largest class to the smallest


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find missing, small and very unequal classes, and classes too small to be split."""
    catalog = evidence.catalog
    counts = catalog.counts()
    if len(counts) < 2:
        detail = f"{len(counts)} class with pictures"
        yield Finding("balance.one_class", "error", (), detail, "Add pictures of another class.")
        return
    yield from _few(counts)
    yield from _unequal(counts)
    yield from _split(catalog)


def _few(counts: Counter[str]) -> Iterator[Finding]:
    small = [f"{name} ({n})" for name, n in sorted(counts.items()) if n < MIN_PICTURES]
    if small:
        action = f"Collect at least {MIN_PICTURES} pictures of each class; 50 are better."
        yield Finding("balance.few", "warning", (), join_limited(small), action)


def _unequal(counts: Counter[str]) -> Iterator[Finding]:
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many >= MAX_RATIO * few:
        detail = (
            f"{escaped(most)} has {many:,} pictures, {escaped(least)} {few:,}; equivalent to "
            f"{effective_number(counts.values()):.1f} equal classes instead of {len(counts)}"
        )
        action = "Collect more of the rare class, or train with --class-weights balanced."
        yield Finding("balance.unequal", "warning", (), detail, action)


def effective_number(counts: Iterable[int]) -> float:
    """Return the effective number of classes.

    It is the exponential of the entropy of the classes' shares ("Entropy and diversity", Jost
    2006, equation 1 at order 1): 3 for three classes of the same size, near 1 if one class has
    nearly all pictures.
    """
    shares = np.array([n for n in counts if n > 0], np.float64)
    shares /= shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _split(catalog: Catalog) -> Iterator[Finding]:
    """Find classes too small to be in every split, as copies of a picture stay in one split.

    For data with splits, `labels` finds the classes that they lack.
    """
    if catalog.splits:
        return
    distinct: dict[str, set[str]] = defaultdict(set)
    for picture in catalog.pictures:
        if picture.label is not None:
            distinct[picture.label].add(picture.origin)
    small = [f"{name} ({len(d)})" for name, d in sorted(distinct.items()) if len(d) < len(SPLITS)]
    if small:
        detail = f"fewer than {len(SPLITS)} different pictures: {join_limited(small)}"
        action = f"Add pictures, so that each of {', '.join(SPLITS)} gets one, or drop the class."
        yield Finding("balance.split", "warning", (), detail, action)
