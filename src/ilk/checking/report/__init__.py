"""Report of a check: ``check.json`` for scripts, and ``check.html`` for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ilk import page
from ilk.checking.findings.kinds import SEVERITIES, Severity, title
from ilk.checking.findings.records import Finding, Findings
from ilk.data.catalog import Picture
from ilk.evaluation.thumbnails import Thumbnails
from ilk.folder import write_json
from ilk.runtime import versions
from ilk.text import escaped

NAMES = ("check.json", "check.html")
# Limits that keep the page below 5 MB, also with 60,000 findings; the rest is counted.
MAX_PICTURES, PICTURES_PER_KIND, PICTURES_PER_FINDING = 320, 48, 6
MAX_LINES, LINES_PER_KIND, NAMES_PER_LINE = 400, 60, 3  # lines: findings without pictures
LONGEST_TEXT = 120  # characters
short = partial(page.short, longest=LONGEST_TEXT)


@dataclass(frozen=True)
class Item:
    """One finding on the page: with pictures, or as a line of text."""

    detail: str
    figures: tuple[page.Figure, ...] = ()
    names: tuple[str, ...] = ()
    more: int = 0


@dataclass(frozen=True)
class Section:
    """The findings of one kind and severity, as many as the page has room for."""

    kind: str
    severity: Severity
    title: str
    action: str
    count: int
    groups: tuple[Item, ...]
    singles: tuple[Item, ...]
    lines: tuple[Item, ...]

    @property
    def more(self) -> int:
        """The number of findings not shown."""
        return self.count - len(self.groups) - len(self.singles) - len(self.lines)


def write(folder: Path, findings: Findings) -> None:
    """Write ``check.json`` and ``check.html`` to an existing folder, each completely or not at all.

    The page is a single file below 5 MB: it shows the first findings of each kind with thumbnails,
    more of them by name, and counts the rest, which are in check.json.
    """
    lacking = [f"{title(kind)} ({why})" for kind, why in findings.not_looked_for.items()]
    write_json(folder / "check.json", findings.to_dict())
    page.write(
        folder / "check.html",
        __name__,
        "check.html",
        title=f"Check: {escaped(Path(findings.catalog.source).name) or 'data'}",
        verdict=verdict(findings),
        severities=severities(findings),
        sections=sections(findings),
        facts={
            "Data": escaped(findings.catalog.source),
            "Files": f"{findings.n:,}",
            "Classes": f"{len(findings.catalog.classes):,}",
            **({"Not looked for": "; ".join(lacking)} if lacking else {}),
            "Versions": ", ".join(f"{k} {v}" for k, v in versions().items()),
        },
    )


def severities(findings: Findings) -> dict[Severity, int]:
    """Count the findings of each severity, most severe first."""
    counts = Counter(f.severity for f in findings.findings)
    return {severity: counts[severity] for severity in SEVERITIES}


def verdict(findings: Findings) -> str:
    """Return what the findings mean, in a sentence or two."""
    counts = severities(findings)
    if not findings.findings:
        return f"No problems found in {findings.n:,} files."
    if counts["error"]:
        text = "Fix the errors before training: the score would mean little."
    elif counts["warning"]:
        text = "You can train on this data, but look through the warnings first."
    else:
        text = "You can train on this data."
    files = len({path for f in findings.findings for path in f.paths})
    return f"{text} The findings affect {files:,} of {findings.n:,} files."


def by_kind(findings: Findings) -> dict[tuple[Severity, str], list[Finding]]:
    """Return the findings by severity and kind, most severe first."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in sorted(findings.findings, key=lambda f: SEVERITIES.index(f.severity)):
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    return groups


def sections(findings: Findings) -> list[Section]:
    """Lay out the findings, as many as the page has room for."""
    kinds = by_kind(findings)
    with Thumbnails(findings.catalog.conversion) as thumbnails:
        layout = _Layout(findings, thumbnails)
        share = 1 / max(1, len(kinds))
        pictures = min(PICTURES_PER_KIND, int(MAX_PICTURES * share))
        lines = min(LINES_PER_KIND, int(MAX_LINES * share))
        return [layout.section(group, pictures, lines) for group in kinds.values()]


class _Layout:
    """Lays out findings, with pictures looked up by path and names relative to the data."""

    def __init__(self, findings: Findings, thumbnails: Thumbnails) -> None:
        self._pictures = {p.path: p for p in findings.catalog.pictures}
        self._root = f"{findings.catalog.source}/"
        self._thumbnails = thumbnails

    def section(self, findings: Sequence[Finding], pictures: int, lines: int) -> Section:
        pictured: list[Finding] = []
        used = 0
        for finding in findings:
            used += min(len(finding.paths), PICTURES_PER_FINDING)
            if used > pictures or not finding.paths:
                break
            pictured.append(finding)
        rest = findings[len(pictured) : len(pictured) + lines]
        wanted = [p for f in pictured for p in f.paths[:PICTURES_PER_FINDING]]
        self._thumbnails.prepare(self._pictures.get(p) or Picture(p) for p in wanted)
        first = findings[0]
        return Section(
            first.kind,
            first.severity,
            title(first.kind),
            first.action,
            len(findings),
            groups=tuple(self._item(f) for f in pictured if len(f.paths) > 1),
            singles=tuple(self._item(f) for f in pictured if len(f.paths) == 1),
            lines=tuple(self._line(f) for f in rest),
        )

    def _item(self, finding: Finding) -> Item:
        figures = tuple(self._figure(path) for path in finding.paths[:PICTURES_PER_FINDING])
        return Item(short(finding.detail), figures, more=len(finding.paths) - len(figures))

    def _line(self, finding: Finding) -> Item:
        names = tuple(self._name(path) for path in finding.paths[:NAMES_PER_LINE])
        return Item(short(finding.detail), (), names, len(finding.paths) - len(names))

    def _figure(self, path: str) -> page.Figure:
        picture = self._pictures.get(path)
        tags = (picture.label, picture.split) if picture else ()
        texts = tuple(short(tag) for tag in tags if tag)
        return page.Figure(self._name(path), texts, self._thumbnails.of(path))

    def _name(self, path: str) -> str:
        return short(path.removeprefix(self._root))
