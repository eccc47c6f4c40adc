"""Report: one self-contained HTML page that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ilk import page
from ilk.evaluation.metrics import Evaluation
from ilk.evaluation.mistakes import Mistake
from ilk.evaluation.report.advice import advice
from ilk.evaluation.thumbnails import Thumbnails
from ilk.text import pluralize

# What keeps the page below 5 MB, however many pictures were scored: about 100 thumbnails of 7 kB.
PAIRS, EXAMPLES = 6, 4  # most confused pairs of classes, and pictures of each
WORST = 12
SUSPECTS = 24
SLICES = 12  # of each column
LONGEST = 60  # characters of a name


@dataclass(frozen=True)
class Group:
    """Pictures of one class that were taken for another."""

    title: str
    figures: tuple[page.Figure, ...]
    more: int


def write(
    path: Path,
    evaluation: Evaluation,
    *,
    title: str,
    facts: dict[str, str],
    plots: Mapping[str, Path],
    overlays: Mapping[str, str] | None = None,
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
    plots : mapping of str to Path
        PNG files that are put into the page: ``confusion``, ``calibration``, ``curves``, and
        ``corruptions``; those that are there.
    overlays : mapping of str to str, optional
        By the path of a picture: where the model looked, as a data URI.
    """
    with Thumbnails() as thumbnails:
        found = evaluation.mistakes
        shows_pairs = found is not None and len(found.all) > WORST  # else the worst are all
        gallery = _Gallery(evaluation, thumbnails, overlays or {})
        page.write(
            path,
            __name__,
            "report.html",
            title=title,
            e=evaluation,
            verdict=verdict(evaluation),
            advice=advice(evaluation),
            rows=_rows(evaluation),
            pairs=gallery.pairs() if shows_pairs else [],
            worst=gallery.worst(),
            suspects=gallery.suspects(),
            explained=bool(overlays),
            slices={name: found[:SLICES] for name, found in evaluation.slices.items()},
            facts=facts,
            plots={name: _embedded(file) for name, file in plots.items() if file.is_file()},
        )


def _embedded(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode()


class _Gallery:
    """Lays mistakes out as pictures."""

    def __init__(
        self, evaluation: Evaluation, thumbnails: Thumbnails, overlays: Mapping[str, str]
    ) -> None:
        self._evaluation = evaluation
        self._mistakes = evaluation.mistakes
        self._thumbnails = thumbnails
        self._overlays = overlays

    def pairs(self) -> list[Group]:
        """Return the most confused pairs of classes, with the surest mistakes of each."""
        groups = []
        for pair in self._evaluation.most_confused[:PAIRS] if self._mistakes else ():
            found = self._mistakes.of_pair(pair["true"], pair["predicted"])  # type: ignore[union-attr]
            title = (
                f"{pluralize(pair['count'], 'picture')} of {short(pair['true'])} taken for "
                f"{short(pair['predicted'])}"
            )
            figures = self._figures(found[:EXAMPLES])
            groups.append(Group(title, figures, max(0, pair["count"] - len(figures))))
        return groups

    def worst(self) -> tuple[page.Figure, ...]:
        """Return the surest mistakes, as the model saw them if that is known."""
        found = self._mistakes.all[:WORST] if self._mistakes else ()
        return self._figures(found, self._overlays)

    def suspects(self) -> tuple[page.Figure, ...]:
        """Return pictures whose label may be wrong, if they are not all among the worst."""
        found = self._mistakes.suspects if self._mistakes else ()
        worst = self._mistakes.all[:WORST] if self._mistakes else ()
        return self._figures(found[:SUSPECTS]) if set(found) - set(worst) else ()

    def _figures(
        self, mistakes: Sequence[Mistake], overlays: Mapping[str, str] | None = None
    ) -> tuple[page.Figure, ...]:
        self._thumbnails.prepare(m.picture for m in mistakes)
        root = f"{self._evaluation.data}/"
        return tuple(
            page.Figure(
                short(m.picture.path.removeprefix(root)),
                (
                    f"{short(m.predicted)} {100 * m.probability:.0f} %",
                    f"labelled {short(m.label)} {100 * m.of_label:.0f} %",
                    *(["wrong label?"] if m.suspect else []),
                ),
                (overlays or {}).get(m.picture.path) or self._thumbnails.of(m.picture.path),
            )
            for m in mistakes
        )


def short(text: str) -> str:
    """Return a text fit to be shown, its middle left out if it is very long."""
    return page.short(text, LONGEST)


def verdict(evaluation: Evaluation) -> str:
    """Say in a sentence or two what the score means."""
    accuracy = evaluation.accuracy
    pictures = "held-out picture" if evaluation.split in {"val", "test"} else "picture"
    wrong = evaluation.n - round(accuracy.value * accuracy.n)
    if wrong == 0:
        text = f"All {pluralize(evaluation.n, pictures)} are named rightly."
    else:
        text = f"{evaluation.n - wrong:,} of {pluralize(evaluation.n, pictures)} are named rightly"
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
        name, share = short(worst["name"]), 100 * worst["recall"]
        text += f" Weakest class: {name}, found in {share:.0f} % of cases."
    return text + _on_probabilities(evaluation)


def _on_probabilities(evaluation: Evaluation) -> str:
    """Say whether the probabilities can be believed."""
    if evaluation.confidence is None:
        return ""
    error = evaluation.confidence.after.error
    return (
        f" Its probabilities are off by {100 * error.value:.1f} points on average "
        f"({100 * error.low:.1f} to {100 * error.high:.1f})."
    )


def _rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the classes that the data has, worst F1 first."""
    confidence = evaluation.confidence
    precision = confidence.average_precision if confidence else {}
    area = confidence.roc_auc if confidence else {}
    rows = [
        {"name": n, "average_precision": precision.get(n), "roc_auc": area.get(n), **v}
        for n, v in evaluation.per_class.items()
        if v["support"]
    ]
    return sorted(rows, key=lambda row: row["f1"])
