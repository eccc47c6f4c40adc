"""Report: one self-contained HTML page that opens offline."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from ilk import page
from ilk.evaluation.metrics import Evaluation


def write(
    path: Path,
    evaluation: Evaluation,
    *,
    title: str,
    facts: dict[str, str],
    plot: Path,
    curves: Path | None = None,
) -> None:
    """Write the report of an evaluation.

    Parameters
    ----------
    path : Path
        Where the page goes.
    evaluation : Evaluation
    title : str
    facts : dict
        What was trained on what, by which machine: shown as a table at the end.
    plot : Path
        The confusion matrix as PNG; it is put into the page.
    curves : Path, optional
        How the training went, as PNG.
    """
    page.write(
        path,
        __name__,
        "report.html",
        title=title,
        e=evaluation,
        verdict=verdict(evaluation),
        rows=_rows(evaluation),
        facts=facts,
        plot=_embedded(plot),
        curves=_embedded(curves) if curves else None,
    )


def _embedded(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode()


def verdict(evaluation: Evaluation) -> str:
    """Say in a sentence or two what the score means."""
    accuracy = evaluation.accuracy
    pictures = "held-out pictures" if evaluation.split in {"val", "test"} else "pictures"
    wrong = evaluation.n - round(accuracy.value * accuracy.n)
    if wrong == 0:
        text = f"All {evaluation.n:,} {pictures} are named rightly."
    else:
        text = f"{evaluation.n - wrong:,} of {evaluation.n:,} {pictures} are named rightly"
        one_in = round(evaluation.n / wrong)
        text += f": about one mistake in {one_in:,}." if one_in > 1 else "."
    text += (
        f" On more such pictures the accuracy would lie between {100 * accuracy.low:.1f} and "
        f"{100 * accuracy.high:.1f} %, with 95 % confidence."
    )
    if evaluation.guesses:
        text += " That cannot be told from guessing."
    worst = min(_rows(evaluation), key=lambda row: row["recall"])
    if wrong and worst["recall"] < accuracy.value - 0.05:
        text += f" Weakest class: {worst['name']}, found in {100 * worst['recall']:.0f} % of cases."
    return text


def _rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the classes that the data has, worst F1 first."""
    rows = [{"name": n, **v} for n, v in evaluation.per_class.items() if v["support"]]
    return sorted(rows, key=lambda row: row["f1"])
