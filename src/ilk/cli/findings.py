"""Findings, for the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter

from ilk.checking.findings.kinds import SEVERITIES, title
from ilk.checking.findings.records import Finding, Findings
from ilk.checking.report import by_kind
from ilk.text import escaped, join_limited, pluralize

MAX_EXAMPLES = 4  # of each kind
COLOURS = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
INDENT = " " * 9


def print_findings(findings: Findings) -> None:
    """Print findings by severity and kind: their number, the first of them, and what to do."""
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
            for finding in group[:MAX_EXAMPLES]:
                console.print(Text(_fitted(f"{INDENT}{_line(finding, findings)}", width)))
            if (more := len(group) - MAX_EXAMPLES) > 0:
                console.print(Text(f"{INDENT}… and {more:,} more", style="dim"))
            console.print()
    print(capture.get(), end="")
    for kind, why in findings.not_looked_for.items():
        print(f"not looked for: {kind}, {title(kind).lower()} ({why})")
    print(summary(findings))


def summary(findings: Findings) -> str:
    """Return the number of files, and of findings by severity."""
    number = len(findings.findings)
    counts = Counter(f.severity for f in findings.findings)
    parts = ", ".join(f"{counts[name]:,} {name}" for name in SEVERITIES if counts[name])
    found = pluralize(number, "finding") if number else "no findings"
    return f"{findings.n:,} files, {found}{f': {parts}' if number else ''}"


def _line(finding: Finding, findings: Findings) -> str:
    root = f"{findings.catalog.source}/"
    names = join_limited((path.removeprefix(root) for path in finding.paths), 2)
    return f"{names}{': ' if names else ''}{escaped(finding.detail)}"


def _wrapped(text: str, width: int) -> list[str]:
    columns = max(40, width) if width else 10_000
    return textwrap.wrap(text, columns, initial_indent=INDENT, subsequent_indent=INDENT)


def _fitted(line: str, width: int) -> str:
    """Cut a line to the width of the terminal; pipes and files get all of it."""
    return line if not width or len(line) <= width else f"{line[: width - 1]}…"
