"""Findings: what is wrong with the pictures, as records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ilk.data.catalog import Catalog

Severity = Literal["error", "warning", "info"]
ORDER: tuple[Severity, ...] = ("error", "warning", "info")


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
    """What a check of ``n`` files found, the gravest first; ``catalog`` is what was checked.

    ``not_looked_for`` says why some kinds could not be looked for.
    """

    n: int
    findings: tuple[Finding, ...]
    catalog: Catalog = field(default=Catalog(()), repr=False, compare=False)
    not_looked_for: Mapping[str, str] = field(default_factory=dict)

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
            "not_looked_for": dict(self.not_looked_for),
        }
