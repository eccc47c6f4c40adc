"""Labels: likely wrong or missing ones, and inconsistent class names and splits."""

from __future__ import annotations

from collections.abc import Iterator

from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.kinds import Severity
from ilk.checking.findings.records import Finding
from ilk.data.catalog import Catalog
from ilk.data.class_names import alike
from ilk.evaluation.label_issues import label_issues
from ilk.text import escaped, join_limited

UNLABELLED = "file.unlabelled"


def find(evidence: Evidence) -> Iterator[Finding]:
    """Find missing and likely wrong labels, and inconsistent class names and splits."""
    yield from _unlabelled(evidence.catalog)
    yield from _names(evidence.catalog)
    yield from _splits(evidence.catalog)
    yield from _suspects(evidence)


def _unlabelled(catalog: Catalog) -> Iterator[Finding]:
    paths = tuple(p.path for p in catalog.pictures if p.label is None)
    paths += tuple(x.path for x in catalog.left_out if x.kind == UNLABELLED)
    if paths:
        detail = f"{len(paths):,} without a label, which cannot be used for training"
        action = "Put each into the folder of its class, or remove it; training leaves it out."
        yield Finding(UNLABELLED, "warning", paths, detail, action)


# --- names and splits -----------------------------------------------------------------------------


def _names(catalog: Catalog) -> Iterator[Finding]:
    counts = catalog.counts()
    for names in alike(catalog.classes):
        shares = join_limited(f"'{name}' ({counts[name]:,} pictures)" for name in names)
        detail = f"differ only in case, spaces, hyphens, accents or zeros: {shares}"
        action = (
            "If they mean the same, give them one name, or train with --merge-alike; otherwise "
            "with --no-merge-alike."
        )
        yield Finding("label.names", "warning", (), detail, action)


def _splits(catalog: Catalog) -> Iterator[Finding]:
    """Find classes that some of the splits lack."""
    for split in catalog.splits:
        present = {p.label for p in catalog.of(split)}
        missing = [name for name in catalog.classes if name not in present]
        if missing:
            severity: Severity = "error" if split == "train" else "warning"
            detail = f"{split} has no pictures of {join_limited(missing)}, but other splits have"
            action = (
                "Add pictures to train: a class without training pictures is never predicted."
                if split == "train"
                else f"Add pictures to {split}: without them these classes are not evaluated."
            )
            yield Finding("label.splits", severity, (), detail, action)


# --- labels that are likely wrong -----------------------------------------------------------------


def _suspects(evidence: Evidence) -> Iterator[Finding]:
    """Find likely wrong labels, most suspicious first."""
    probabilities, targets = evidence.probabilities, evidence.targets
    if probabilities is None:
        return
    found = label_issues(probabilities, targets)
    paths, classes = evidence.paths, [escaped(name) for name in evidence.catalog.classes]
    action = "Look at it. If the label is wrong, correct it; else leave it."
    for i in found.ranking[found.suspects[found.ranking]]:
        given, likely = int(targets[i]), int(probabilities[i].argmax())
        detail = (
            f"labelled {classes[given]}, looks like {classes[likely]} "
            f"({probabilities[i, likely]:.2f} against {probabilities[i, given]:.2f})"
        )
        yield Finding("label.suspect", "warning", (paths[i],), detail, action)
