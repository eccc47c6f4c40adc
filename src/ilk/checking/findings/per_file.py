"""Per file: a finding for each file, or one for all of them where most are alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ilk.checking.findings.records import Finding, Severity

FEW, MOST = 20, 0.5


def is_common(number: int, total: int) -> bool:
    """Say whether so many of all pictures share a trait that it is not unusual any more."""
    return number > max(FEW, MOST * total)


def per_file(
    kind: str, severity: Severity, paths: Sequence[str], remark: str, action: str, total: int
) -> Iterator[Finding]:
    """Tell of each file; or once, as a matter of interest, what most of all pictures are like."""
    if is_common(len(paths), total):
        detail = f"{len(paths):,} of {total:,} pictures: each {remark}"
        yield Finding(kind, "info", (), detail, action)
        return
    for path in paths:
        yield Finding(kind, severity, (path,), remark, action)
