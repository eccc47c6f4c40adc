"""``ilk check``."""

from __future__ import annotations

from itertools import groupby

from ilk.cli.console import Count, print_json, progress
from ilk.data.checks import Finding
from ilk.errors import listed, shown

MOST = 5


def check(data: str, /, *, json: bool = False, workers: Count | None = None) -> None:
    """Say what is wrong with the pictures, before it ruins the model.

    Parameters
    ----------
    data
        Folder, table or name of a data set, as for 'ilk train'.
    json
        Print JSON instead of text.
    workers
        Threads that decode; default: one a core.
    """
    from ilk import api

    result = api.check(data, workers=workers, progress=progress)
    if json:
        print_json(result.to_dict())
        return
    for kind, group in groupby(result.findings, key=lambda f: f.kind):
        _print_kind(kind, list(group))
    number = len(result.findings)
    print(f"{result.n:,} files, {number or 'no'} finding{'s' * (number != 1)}")


def _print_kind(kind: str, findings: list[Finding]) -> None:
    first = findings[0]
    print(f"{first.severity}: {kind} ({len(findings):,}). {first.action}")
    for finding in findings[:MOST]:
        files = listed(finding.paths, 3)
        print(f"  {files}{': ' if files else ''}{shown(finding.detail)}")
    if len(findings) > MOST:
        print(f"  … and {len(findings) - MOST:,} more (--json names them all)")
