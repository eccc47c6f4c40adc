"""Findings: as a table in the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter

from ilk.checking.findings import ORDER, Finding, Findings
from ilk.checking.findings.kinds import title
from ilk.checking.report import by_kind
from ilk.text import escaped, join_limited

MOST = 4  # findings of a kind that are named
COLOURS = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
INDENT = " " * 9


def print_findings(findings: Findings) -> None:
    """Print what was found, by severity and kind: the number, the first names, what to do."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    with console.capture() as capture:  # rich itself would exit with 1 when the reader goes away
        for (severity, kind), group in by_kind(findings).items():
            head = f"  {len(group):,} x {kind}: {title(kind)}"
            console.print(Text.assemble((f"{severity:<7}", COLOURS[severity]), head))
            for line in _wrapped(group[0].action, width):
                console.print(Text(line, style="italic"))
            for finding in group[:MOST]:
                console.print(Text(_fitted(f"{INDENT}{_line(finding, findings)}", width)))
            if len(group) > MOST:
                console.print(Text(f"{INDENT}… and {len(group) - MOST:,} more", style="dim"))
            console.print()
    print(capture.get(), end="")
    for kind, why in findings.not_looked_for.items():
        print(f"not looked for: {kind}, {title(kind).lower()} ({why})")
    print(summary(findings))


def summary(findings: Findings) -> str:
    """Return how many files there were, and how many findings of each severity."""
    number = len(findings.findings)
    counts = Counter(f.severity for f in findings.findings)
    parts = ", ".join(f"{counts[severity]:,} {severity}" for severity in ORDER if counts[severity])
    total = (
        f"{findings.n:,} files, {f'{number:,}' if number else 'no'} finding{'s' * (number != 1)}"
    )
    return f"{total}: {parts}" if number else total


def _line(finding: Finding, findings: Findings) -> str:
    root = f"{findings.catalog.source}/"
    names = join_limited((path.removeprefix(root) for path in finding.paths), 2)
    return f"{names}{': ' if names else ''}{escaped(finding.detail)}"


def _wrapped(text: str, width: int) -> list[str]:
    room = max(40, width) if width else 10_000
    return textwrap.wrap(text, room, initial_indent=INDENT, subsequent_indent=INDENT)


def _fitted(line: str, width: int) -> str:
    """Cut a line to the terminal's width; a pipe or a file gets all of it."""
    return line if not width or len(line) <= width else f"{line[: width - 1]}…"
