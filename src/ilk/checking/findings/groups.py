"""Groups: pictures that may belong together, by their names, folders or EXIF.

Whether that matters is measured: cross-validation that holds out whole groups is compared with one
that holds out pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ilk.arrays import Floats, Mask, Targets
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.records import Finding
from ilk.checking.out_of_fold import out_of_fold
from ilk.data.catalog import Picture
from ilk.data.groups import group_names
from ilk.evaluation.comparison import compared
from ilk.text import escaped

# As --group-by takes them: all but the last part of the name, its first part, folders, sessions.
CANDIDATES = (
    r"([^/]+)[_. -][^/_. -]+\.[^/.]+$",
    r"([^/_. -]+)[_. -][^/]*$",
    "folder",
    "camera+day",
)
MOST = 3_000  # pictures that are looked at
SHARED = 0.5  # of the pictures, at least, are in groups of two or more
PER_CLASS = 3  # groups, at least, on average
SMALLEST = 0.01  # difference of the accuracies that is worth a word


@dataclass(frozen=True)
class SuspectedGroups:
    """What pictures may be grouped by, and the accuracies of cross-validation with and without."""

    by: str
    number: int
    example: str
    pictures: int  # of the example
    by_picture: float
    by_group: float

    def __str__(self) -> str:
        return (
            f"Pictures may belong together: {self.number:,} groups, such as "
            f"'{escaped(self.example)}' with {self.pictures:,} pictures. In cross-validation with "
            f"whole groups held out the accuracy is {100 * self.by_group:.1f} %, otherwise "
            f"{100 * self.by_picture:.1f} %. If these are patients, animals or sessions, the score "
            f"is too high: --group-by '{self.by}'"
        )


def suspected_groups(
    pictures: Sequence[Picture], features: Floats, targets: Targets, classes: int
) -> SuspectedGroups | None:
    """Return the grouping that changes the accuracy most, if one does significantly.

    Parameters
    ----------
    pictures : sequence of Picture
        Digested. Nothing is suspected where groups are known.
    features : float32 array [N, D]
    targets : int64 array [N]
    classes : int
    """
    if any(p.group for p in pictures):
        return None
    chosen = np.random.default_rng(0).permutation(len(pictures))[:MOST]
    sample = [pictures[i] for i in chosen]
    some, labels = features[chosen], targets[chosen]
    alone: Mask | None = None
    found = None
    for by in CANDIDATES:
        names = group_names(sample, by)
        if not _plausible(names, labels, classes):
            continue
        if alone is None:
            alone = _right(some, labels, classes, [p.distinct for p in sample])
        # Copies may have other names.
        first = dict(zip((p.distinct for p in sample), names, strict=True))
        together = _right(some, labels, classes, [first[p.distinct] for p in sample])
        if alone is None or together is None:
            continue
        gap = compared(together, alone)
        if gap.decided and gap.difference.value >= SMALLEST:
            lower = float(together.mean())
            if found is None or lower < found.by_group:
                (example, number), *_ = Counter(names).most_common(1)
                groups = len(set(names))
                found = SuspectedGroups(by, groups, example, number, float(alone.mean()), lower)
    return found


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find pictures that may belong together, if the backbone's features show that it matters."""
    if evidence.features is None or len(evidence.catalog.classes) < 2:
        return
    labelled = np.flatnonzero(evidence.targets >= 0)
    found = suspected_groups(
        [evidence.catalog.pictures[i] for i in labelled],
        evidence.features[labelled],
        evidence.targets[labelled],
        len(evidence.catalog.classes),
    )
    if found is not None:
        action = f"If they do, train and evaluate with --group-by '{found.by}'."
        yield Finding("balance.groups", "warning", (), str(found), action)


def _plausible(names: Sequence[str], targets: Targets, classes: int) -> bool:
    """Return whether most pictures share a group, and classes consist of several groups."""
    counts = Counter(names)
    shared = sum(n for name, n in counts.items() if n > 1 and name)
    pairs = {(name, target) for name, target in zip(names, targets.tolist(), strict=True) if name}
    return shared >= SHARED * len(names) and len(pairs) >= PER_CLASS * classes


def _right(features: Floats, targets: Targets, classes: int, groups: Sequence[str]) -> Mask | None:
    """Return which pictures a model that has not seen their group classifies correctly."""
    probabilities = out_of_fold(features, targets, classes, groups=groups)
    if probabilities is None:
        return None
    right: Mask = np.nan_to_num(probabilities, nan=-1).argmax(axis=1) == targets
    return right
