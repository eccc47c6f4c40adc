"""Records: findings of a check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ilk.checking.findings.kinds import Selection, Severity, matches, select
from ilk.data.catalog import Catalog


@dataclass(frozen=True)
class Finding:
    """A problem: its kind, the files concerned, and what to do about it."""

    kind: str
    severity: Severity
    paths: tuple[str, ...]
    detail: str
    action: str


@dataclass(frozen=True)
class Findings:
    """What a check found.

    Attributes
    ----------
    n : int
        The number of files checked.
    findings : tuple of Finding
        Most severe first.
    catalog : Catalog
        What was checked.
    not_looked_for : dict of str to str
        Kinds that could not be looked for, with the reason.
    folder : Path or None
        Where the report was written, if it was.
    """

    n: int
    findings: tuple[Finding, ...]
    catalog: Catalog = field(default=Catalog(()), repr=False, compare=False)
    not_looked_for: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = field(default=None, compare=False)

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each kind."""
        return dict(Counter(f.kind for f in self.findings))

    def select(self, *names: str) -> tuple[Finding, ...]:
        """Return the findings of some severities (``error``), families (``leakage``) or kinds.

        Raises
        ------
        UsageError
            There is no severity, family or kind of that name.
        """
        return self.selected(select(names))

    def selected(self, selection: Selection) -> tuple[Finding, ...]:
        """Return the findings of a selection, in their order."""
        return tuple(f for f in self.findings if matches(selection, f.kind, f.severity))

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk check --json`` prints."""
        return {
            "n": self.n,
            "findings": [asdict(f) for f in self.findings],
            "counts": self.counts,
            "not_looked_for": dict(self.not_looked_for),
        }
