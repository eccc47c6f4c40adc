"""Checks: what is wrong with the pictures, before it ruins the model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ilk.data.catalog import Catalog, Picture
from ilk.data.stream import Stream
from ilk.errors import listed
from ilk.runtime import Progress, silent
from ilk.spec import Preprocess

Severity = Literal["error", "warning", "info"]
ORDER: tuple[Severity, ...] = ("error", "warning", "info")
FEW = 10
TOO_FEW = 5
UNEQUAL = 10


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its kind, the files concerned, and what to do about it."""

    kind: str
    severity: Severity
    paths: tuple[str, ...]
    detail: str
    action: str


@dataclass(frozen=True)
class Findings:
    """What a check of ``n`` files found, the gravest first; ``catalog`` is what was checked."""

    n: int
    findings: tuple[Finding, ...]
    catalog: Catalog = field(default=Catalog(()), repr=False, compare=False)

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each kind."""
        return dict(Counter(f.kind for f in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk check --json`` prints."""
        return {
            "n": self.n,
            "findings": [asdict(f) for f in self.findings],
            "counts": self.counts,
        }


def run_checks(
    catalog: Catalog, workers: int | None = None, progress: Progress = silent
) -> Findings:
    """Read every picture of a catalog once, and say what is wrong.

    Exact copies are found by a hash of the file's content.
    """
    digested = catalog.digested(workers)
    readable = digested.without(_undecodable(digested, workers, progress))
    found = [
        *_files(readable),
        *_copies(readable),
        *_balance(readable),
    ]
    found.sort(key=lambda f: ORDER.index(f.severity))
    return Findings(len(catalog) + len(catalog.left_out), tuple(found), catalog)


def _undecodable(catalog: Catalog, workers: int | None, progress: Progress) -> dict[str, str]:
    reasons: dict[str, str] = {}
    with progress("checking pictures", len(catalog)) as tick:
        # The size hardly matters here: what counts is that each file decodes to its end.
        for batch in Stream(catalog.pictures, Preprocess(imgsz=64), workers=workers):
            reasons |= {catalog.pictures[i].path: why for i, why in batch.errors.items()}
            tick(len(batch.indices) + len(batch.errors))
    return reasons


def _files(catalog: Catalog) -> Iterator[Finding]:
    for file in catalog.left_out:
        if file.unreadable:
            action = "Replace or delete the file; training leaves it out."
            yield Finding("file.unreadable", "error", (file.path,), file.reason, action)
        else:
            action = "Move it into a class folder, or away; training leaves it out."
            yield Finding("file.ignored", "info", (file.path,), file.reason, action)


def _copies(catalog: Catalog) -> Iterator[Finding]:
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in catalog.pictures:
        groups[picture.digest].append(picture)
    for group in (g for g in groups.values() if len(g) > 1):
        paths = tuple(p.path for p in group)
        labels = sorted({p.label or "" for p in group})
        splits = sorted({p.split or "" for p in group})
        if len(labels) > 1:
            detail = f"the same file under the labels {listed(labels)}"
            action = "Keep it under the right label only."
            yield Finding("duplicate.across_classes", "error", paths, detail, action)
        elif len(splits) > 1:
            detail = f"the same file in the splits {listed(splits)}: the score will flatter"
            action = "Keep it in one split only."
            yield Finding("duplicate.across_splits", "error", paths, detail, action)
        else:
            detail = f"{len(paths)} identical files"
            yield Finding("duplicate.exact", "warning", paths, detail, "Keep one of them.")


def _balance(catalog: Catalog) -> Iterator[Finding]:
    counts = catalog.counts()
    if len(counts) < 2:
        detail = f"{len(counts)} class with pictures"
        yield Finding("balance.one_class", "error", (), detail, "Add pictures of another class.")
        return
    small = [f"{name} ({n})" for name, n in sorted(counts.items()) if n < FEW]
    if small:
        action = f"Collect at least {FEW} pictures of each class; 50 are better."
        yield Finding("balance.few", "warning", (), listed(small), action)
    (most, many), (least, few) = counts.most_common()[0], counts.most_common()[-1]
    if many >= UNEQUAL * few:
        detail = f"{most} has {many:,} pictures, {least} {few:,}"
        action = "Collect more of the rare class, or train with --class-weights balanced."
        yield Finding("balance.unequal", "warning", (), detail, action)


def remarks(catalog: Catalog) -> list[str]:
    """Return in a line each what the cheap checks find in a digested catalog, if it is grave."""
    copies = Counter(f.kind for f in _copies(catalog))
    lines = [
        f"{copies[kind]:,} pictures {what} ('ilk check' names them)"
        for kind, what in (
            ("duplicate.across_classes", "lie under more than one label"),
            ("duplicate.across_splits", "lie in more than one split: the score will flatter"),
        )
        if copies[kind]
    ]
    few = [f"{name} ({n})" for name, n in sorted(catalog.counts().items()) if n < TOO_FEW]
    return lines + [f"Hardly any pictures of {listed(few)}: do not trust it there" for _ in few[:1]]
