"""Labels: those that are likely wrong, those that are missing, and names that do not fit."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.records import Finding, Severity
from ilk.data.catalog import Catalog
from ilk.evaluation.label_issues import suspicion
from ilk.text import escaped, join_limited

UNLABELLED = "file.unlabelled"
CONTRADICTED = -0.3  # of a margin: another class is about twice as likely, 0.65 to 0.35


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find labels that are missing or likely wrong, and names and splits that do not fit."""
    yield from _unlabelled(evidence.catalog)
    yield from _names(evidence.catalog)
    yield from _splits(evidence.catalog)
    yield from _suspects(evidence)


def _unlabelled(catalog: Catalog) -> Iterator[Finding]:
    paths = tuple(p.path for p in catalog.pictures if p.label is None)
    paths += tuple(x.path for x in catalog.left_out if x.kind == UNLABELLED)
    if paths:
        detail = f"{len(paths):,} without a label, so nothing can be learned from them"
        action = "Put each into its class's folder, or away; training leaves it out."
        yield Finding(UNLABELLED, "warning", paths, detail, action)


# --- names and splits -----------------------------------------------------------------------------


def _names(catalog: Catalog) -> Iterator[Finding]:
    alike: dict[str, list[str]] = defaultdict(list)
    for name in catalog.classes:
        alike[plain(name)].append(name)
    counts = catalog.counts()
    for names in alike.values():
        if len(names) > 1:
            shares = join_limited(f"'{name}' ({counts[name]:,} pictures)" for name in names)
            detail = f"differ only in case, spaces, hyphens or accents: {shares}"
            action = "Give them one name, if they mean the same: they are learned as two classes."
            yield Finding("label.names", "warning", (), detail, action)


def plain(name: str) -> str:
    """Return a class name without case, accents, spaces, underscores and hyphens.

    Between two digits the separator stays: '1-1' is not '11'. Only accents of Latin, Greek and
    Cyrillic letters go; the marks of other scripts make letters of their own.
    """
    letters = "".join(
        c for c in unicodedata.normalize("NFKD", name) if not "\u0300" <= c <= "\u036f"
    )
    spaced = re.sub(r"[\s_\-\u2010-\u2015]+", " ", letters.casefold()).strip()
    return re.sub(r"(?<!\d) | (?!\d)", "", spaced) or name


def _splits(catalog: Catalog) -> Iterator[Finding]:
    """Find classes that some of the splits lack."""
    for split in catalog.splits:
        present = {p.label for p in catalog.of(split)}
        missing = [name for name in catalog.classes if name not in present]
        if missing:
            severity: Severity = "error" if split == "train" else "warning"
            detail = f"{split} has no pictures of {join_limited(missing)}, unlike other splits"
            action = (
                "Add pictures to train: what is not learned is never predicted."
                if split == "train"
                else f"Move pictures to {split}: else nothing is measured of these classes there."
            )
            yield Finding("label.splits", severity, (), detail, action)


# --- labels that are likely wrong -----------------------------------------------------------------


def _suspects(evidence: Evidence) -> Iterator[Finding]:
    """Find suspects, the most suspicious first."""
    probabilities, targets = evidence.probabilities, evidence.targets
    if probabilities is None:
        return
    found = suspicion(probabilities, targets)
    paths, classes = evidence.paths, [escaped(name) for name in evidence.catalog.classes]
    action = "Look at it; if the label is wrong, move it to its class, else leave it."
    for row in found.ranking[found.suspects[found.ranking]]:
        given, likely = int(targets[row]), int(probabilities[row].argmax())
        detail = (
            f"labelled {classes[given]}, looks like {classes[likely]} "
            f"({probabilities[row, likely]:.2f} against {probabilities[row, given]:.2f})"
        )
        yield Finding("label.suspect", "warning", (paths[row],), detail, action)
