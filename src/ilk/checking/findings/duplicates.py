"""Duplicates: the same picture more than once, in several splits, or under several labels.

Exact copies have the same bytes, by their hash; near copies are found by
`ilk.data.inspection.near`. The first file that a finding names is the one to keep, should the
others go: that of test before those of val and train, for scores stay comparable only if the
pictures that they are taken on stay; among those, the largest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.records import Finding, Severity
from ilk.data.inspection.copies import groups
from ilk.data.inspection.near import Pair
from ilk.spec import SPLITS
from ilk.text import escaped, join_limited

KEEP = "Keep one: each copy counts as one more picture."
LEFT = "Keep one, or leave them: where ilk deals pictures out, near copies land in the same split."
LEAKS = (
    "Keep the first alone, so that what scores are taken on stays as it is "
    "(--quarantine DIR --kinds leakage moves the others away)."
)
CONFLICT = "Decide which label is right, and take the picture out of the other class."


def find(evidence: Evidence, pairs: Iterable[Pair]) -> Iterator[Finding]:
    """Find groups of copies: exact ones first, then near ones.

    A group in several splits leaks, one under several labels is a conflict, and may be both.
    """
    pictures = evidence.catalog.pictures
    same: dict[str, list[int]] = defaultdict(list)
    for row, picture in enumerate(pictures):
        same[picture.digest].append(row)
    for rows in same.values():
        if len(rows) > 1:
            yield from _found(evidence, rows, "exact", "identical files")
    pairs = list(pairs)
    turned = {row for pair in pairs if pair.mirrored for row in pair[:2]}
    for group in groups(pairs, len(pictures)):
        rows = [row for one in group for row in same[pictures[one].digest]]
        what = "near copies" + ", some of them mirrored" * (not turned.isdisjoint(group))
        yield from _found(evidence, rows, "near", what)


def _found(evidence: Evidence, rows: Sequence[int], how: str, what: str) -> Iterator[Finding]:
    """Yield what is to be said of one group."""
    pictures, facts = evidence.catalog.pictures, evidence.inspection.facts
    splits = [name for name in SPLITS if any(pictures[row].split == name for row in rows)]
    labels = sorted({p.label for p in (pictures[row] for row in rows) if p.label is not None})
    keep = {name: rank for rank, name in enumerate(("test", "val", "train"))}
    ordered = sorted(
        rows,
        key=lambda row: (
            keep.get(pictures[row].split or "", len(keep)),
            -facts[row].width * facts[row].height,
            row,
        ),
    )
    paths = tuple(pictures[row].path for row in ordered)
    said = f"{len(rows)} {what}"
    if len(splits) > 1:
        where = " and ".join([", ".join(splits[:-1]), splits[-1]])
        detail = f"{said} in {where}: the score will flatter"
        yield Finding(f"leakage.{how}", "error", paths, detail, LEAKS)
    if len(labels) > 1:
        detail = f"{said}, labelled {join_limited(map(escaped, labels))}"
        severity: Severity = "error" if how == "exact" else "warning"
        yield Finding("label.conflict", severity, paths, detail, CONFLICT)
    if len(splits) < 2 and len(labels) < 2:
        action = KEEP if how == "exact" else LEFT
        yield Finding(f"duplicate.{how}", "warning", paths, said, action)
