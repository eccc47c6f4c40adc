"""Selection: findings chosen by kind, by the beginning of a kind, or by severity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate

from ilk.checking.findings import ORDER, Finding, Findings
from ilk.checking.findings.kinds import GROUPS, KINDS
from ilk.errors import UsageError
from ilk.text import escaped


@dataclass(frozen=True)
class Selection:
    """Names of kinds (``leakage.exact``), of families (``leakage``), groups or severities."""

    names: frozenset[str]

    def __contains__(self, finding: Finding) -> bool:
        return not self.names.isdisjoint(_names(finding))

    def of(self, findings: Findings) -> tuple[Finding, ...]:
        """Return the findings that are chosen, in their order."""
        return tuple(f for f in findings.findings if f in self)


def select(names: Sequence[str], flag: str) -> Selection:
    """Make a selection of names, of which each may be several, joined by commas.

    Raises
    ------
    UsageError
        A name is none of a kind, family, group or severity; ``flag`` is what the message calls it.
    """
    wanted = [part.strip() for name in names for part in name.split(",")]
    valid = [*ORDER, *GROUPS, *dict.fromkeys(family(kind) for kind in KINDS), *KINDS]
    for name in wanted:
        if name not in valid:
            near = get_close_matches(name, valid, 1, 0.5)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            raise UsageError(
                f"{flag} '{escaped(name)}' is no kind of finding. {hint}Allowed are the severities "
                f"{', '.join(ORDER)}; {', '.join(valid[len(ORDER) : -len(KINDS)])}; and single "
                f"kinds such as {', '.join(list(KINDS)[:2])}."
            )
    return Selection(frozenset(wanted))


def family(kind: str) -> str:
    """Return what stands before a kind's first dot."""
    return kind.partition(".")[0]


def _names(finding: Finding) -> set[str]:
    """Return all names by which a finding can be chosen."""
    beginnings = accumulate(finding.kind.split("."), lambda a, b: f"{a}.{b}")
    groups = (name for name, kinds in GROUPS.items() if finding.kind in kinds)
    return {finding.severity, *beginnings, *groups}
