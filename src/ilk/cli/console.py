"""Console: output shared by the commands: results on stdout, progress and remarks on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from ilk.data.catalog import LeftOut, describe_left_out
from ilk.evaluation.result import Evaluation
from ilk.text import escaped, pluralize

Count = Annotated[int, Parameter(validator=validators.Number(gte=1))]


def given_sources(data: Sequence[str]) -> str | list[str] | None:
    """Return what was given as DATA: one source as it is, None if there is none."""
    return list(data) if len(data) > 1 else next(iter(data), None)


def print_json(record: Any) -> None:
    """Print a record as one line of JSON."""
    print(json.dumps(record))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column left-aligned, the others right-aligned."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: names are never markup
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    with console.capture() as capture:  # rich itself would exit with 1 when the reader goes away
        console.print(table)
    print(capture.get(), end="")


def print_scores(evaluation: Evaluation) -> None:
    """Print the three scores, one per line."""
    counted = "" if evaluation.units is None else f": {evaluation.counted}"
    print(f"accuracy           {evaluation.accuracy}  on {evaluation.scored_on}{counted}")
    print(f"balanced accuracy  {evaluation.balanced_accuracy}")
    print(f"macro F1           {evaluation.macro_f1}")


def print_confidence(evaluation: Evaluation) -> None:
    """Print calibration, abstention and out-of-distribution detection."""
    found = evaluation.confidence
    raw = 100 * found.before.error.value
    print(f"calibration error  {found.after.error}; {raw:.1f} % uncalibrated")
    if evaluation.abstention:
        accepted = evaluation.abstention
        print(f"accepted           {accepted.coverage}")
        print(f"their precision    {accepted.precision}")
    ood = evaluation.ood
    if ood and ood.true_positive_rate and ood.auroc:
        area = ood.auroc
        print(f"unknown, detected  {ood.true_positive_rate}")
        print(f"false positives    {ood.false_positive_rate}")
        print(f"OOD AUROC          {area.value:.3f} ({area.low:.3f} to {area.high:.3f})")


def print_caveats(evaluation: Evaluation) -> None:
    """Print to stderr what limits the meaning of the scores."""
    if evaluation.guesses:
        say("The model may be no better than guessing.")
    suspects = evaluation.mistakes.suspects
    if suspects:
        say(f"{pluralize(len(suspects), 'label')} may be wrong: see the report.")
    if evaluation.unknown:
        names = ", ".join(f"{escaped(name)} ({n:,})" for name, n in evaluation.unknown.items())
        say(f"Not scored, as the model does not know these classes: {names}")
    if evaluation.missing:
        say(f"The data has no pictures of: {', '.join(map(escaped, evaluation.missing))}")


def print_left_out(left_out: Sequence[LeftOut]) -> None:
    """Print to stderr which files were left out, and why."""
    if left_out:
        folders = any(Path(x.path).is_dir() for x in left_out)
        what = (
            f"{len(left_out):,} files and folders" if folders else pluralize(len(left_out), "file")
        )
        say(f"Left out {what}:")
        for line in describe_left_out(left_out):
            say(f"  {line}")


def say(text: str) -> None:
    """Print a remark to stderr."""
    print(text, file=sys.stderr)
