"""Duplicates: the same picture several times, in several splits, or under several labels.

Exact copies have the same bytes, by their hash; near copies are found by
`ilk.data.inspection.near`. The first file of a finding is the one to keep: a file of test before
those of val and train, because scores are comparable only on the same test pictures, and then the
largest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.kinds import Severity
from ilk.checking.findings.records import Finding
from ilk.data.inspection.copies import groups, spanning
from ilk.data.inspection.near import Pair
from ilk.spec import SPLITS
from ilk.text import escaped, join_limited

KEEP = "Keep one: each copy counts as another picture."
LEFT = "Keep one, or leave them: when ilk splits the data, near copies go to the same split."
LEAKS = (
    "Keep only the first, so that the test data stays the same "
    "(--quarantine DIR --kinds leakage moves the others)."
)
GROUP_LEAKS = (
    "Give splits that keep groups together, or none: ilk train --group-by then makes such splits."
)
CONFLICT = "Decide which label is right, and remove the picture from the other class."


def find(evidence: Evidence, pairs: Sequence[Pair]) -> Iterator[Finding]:
    """Find groups of copies: exact ones first, then near ones.

    A group in several splits leaks, one under several labels is a conflict, and may be both.
    """
    pictures = evidence.catalog.pictures
    same: dict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        same[picture.digest].append(i)
    for indices in same.values():
        if len(indices) > 1:
            yield from _found(evidence, indices, "exact", "identical files")
    mirrored = {i for pair in pairs if pair.mirrored for i in pair[:2]}
    for group in groups(pairs):
        indices = [i for one in group for i in same[pictures[one].digest]]
        what = "near copies" + ", some of them mirrored" * (not mirrored.isdisjoint(group))
        yield from _found(evidence, indices, "near", what)
    yield from _divided_groups(evidence)


def _divided_groups(evidence: Evidence) -> Iterator[Finding]:
    """Find groups of pictures, such as those of a patient, that several splits share."""
    if any(p.group for p in evidence.catalog.pictures):
        for pictures in spanning(evidence.catalog, lambda p: p.origin):
            if len({p.distinct for p in pictures}) > 1:
                splits = [name for name in SPLITS if any(p.split == name for p in pictures)]
                name = escaped(pictures[0].group)
                detail = f"group {name}: {len(pictures)} pictures in {' and '.join(splits)}"
                paths = tuple(p.path for p in pictures)
                yield Finding("leakage.group", "error", paths, detail, GROUP_LEAKS)


def _found(evidence: Evidence, indices: Sequence[int], how: str, what: str) -> Iterator[Finding]:
    """Yield the findings on one group of copies."""
    pictures, facts = evidence.catalog.pictures, evidence.inspection.facts
    splits = [name for name in SPLITS if any(pictures[i].split == name for i in indices)]
    labels = sorted({p.label for p in (pictures[i] for i in indices) if p.label is not None})
    keep = {name: rank for rank, name in enumerate(("test", "val", "train"))}
    ordered = sorted(
        indices,
        key=lambda i: (
            keep.get(pictures[i].split or "", len(keep)),
            -facts[i].width * facts[i].height,
            i,
        ),
    )
    paths = tuple(pictures[i].path for i in ordered)
    said = f"{len(indices)} {what}"
    if len(splits) > 1:
        where = " and ".join([", ".join(splits[:-1]), splits[-1]])
        detail = f"{said} in {where}: the score will be optimistic"
        yield Finding(f"leakage.{how}", "error", paths, detail, LEAKS)
    if len(labels) > 1:
        detail = f"{said}, labelled {join_limited(map(escaped, labels))}"
        severity: Severity = "error" if how == "exact" else "warning"
        yield Finding("label.conflict", severity, paths, detail, CONFLICT)
    if len(splits) < 2 and len(labels) < 2:
        action = KEEP if how == "exact" else LEFT
        yield Finding(f"duplicate.{how}", "warning", paths, said, action)
