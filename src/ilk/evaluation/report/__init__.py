"""Report: one self-contained HTML page that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ilk import page
from ilk.evaluation.mistakes import MAX_IN_REPORT, Mistake
from ilk.evaluation.report.advice import advice
from ilk.evaluation.result import Evaluation
from ilk.evaluation.thumbnails import Thumbnails
from ilk.spec import PLAIN, Conversion
from ilk.text import pluralize

# Limits that keep the page below 5 MB: about 100 thumbnails of 7 kB.
MAX_PAIRS, MAX_EXAMPLES = 6, 4  # confused pairs of classes, and pictures of each
MAX_SUSPECTS = 24
MAX_SLICES = 12  # of each column
LONGEST_NAME = 60  # characters
short = partial(page.short, longest=LONGEST_NAME)


@dataclass(frozen=True)
class Group:
    """Pictures of one class that were mistaken for another."""

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
    conversion: Conversion = PLAIN,
) -> None:
    """Write the report of an evaluation.

    Parameters
    ----------
    path : Path
        Where the page goes.
    facts : dict
        The table at the end: data, backbone, versions.
    plots : mapping of str to Path
        PNG files to embed: ``confusion``, ``calibration``, ``curves`` and ``corruptions``; those
        that do not exist are skipped.
    overlays : mapping of str to str, optional
        Pictures with heat maps as data URIs, by the path of the picture.
    conversion : Conversion
        How the model reads pictures of many bits or channels.
    """
    with Thumbnails(conversion) as thumbnails:
        gallery = _Gallery(evaluation, thumbnails, overlays or {})
        page.write(
            path,
            __name__,
            "report.html",
            title=title,
            e=evaluation,
            verdict=verdict(evaluation),
            advice=list(advice(evaluation)),
            rows=_rows(evaluation),
            pairs=gallery.pairs(),
            mistakes=gallery.mistakes(),
            suspects=gallery.suspects(),
            explained=bool(overlays),
            slices={name: found[:MAX_SLICES] for name, found in evaluation.slices.items()},
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
        self._found = evaluation.mistakes
        self._thumbnails = thumbnails
        self._overlays = overlays

    def pairs(self) -> list[Group]:
        """Return the most confused pairs of classes, unless `mistakes` shows all pictures."""
        if len(self._found.all) <= MAX_IN_REPORT:
            return []
        groups = []
        for pair in self._evaluation.most_confused[:MAX_PAIRS]:
            found = self._found.of_pair(pair["true"], pair["predicted"])
            title = (
                f"{pluralize(pair['count'], 'picture')} of {short(pair['true'])} mistaken for "
                f"{short(pair['predicted'])}"
            )
            figures = self._figures(found[:MAX_EXAMPLES])
            groups.append(Group(title, figures, pair["count"] - len(figures)))
        return groups

    def mistakes(self) -> tuple[page.Figure, ...]:
        """Return the most confident mistakes, with heat maps where there are any."""
        return self._figures(self._found.all[:MAX_IN_REPORT], self._overlays)

    def suspects(self) -> tuple[page.Figure, ...]:
        """Return pictures whose label may be wrong, unless `mistakes` shows them all."""
        found = self._found.suspects
        rest = set(found) - set(self._found.all[:MAX_IN_REPORT])
        return self._figures(found[:MAX_SUSPECTS]) if rest else ()

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


def verdict(evaluation: Evaluation) -> str:
    """Return what the score means, in a few sentences."""
    accuracy = evaluation.accuracy
    pictures = "held-out picture" if evaluation.split in {"val", "test"} else "picture"
    wrong = evaluation.n - round(accuracy.value * evaluation.n)
    if wrong == 0:
        text = f"All {pluralize(evaluation.n, pictures)} are classified correctly."
    else:
        right = f"{evaluation.n - wrong:,} of {pluralize(evaluation.n, pictures)}"
        text = f"{right} are classified correctly"
        one_in = round(evaluation.n / wrong)
        text += f": about one mistake in {one_in:,}." if one_in > 1 else "."
    text += (
        f" The 95 % confidence interval of the accuracy is {100 * accuracy.low:.1f} to "
        f"{100 * accuracy.high:.1f} %."
    )
    if evaluation.units is not None:
        text += f" It counts independent pictures: these are {evaluation.counted}."
    if evaluation.guesses:
        text += " The model may be no better than guessing."
    worst = min(_rows(evaluation), key=lambda row: row["recall"])
    if wrong and worst["recall"] < accuracy.value - 0.05:
        name, share = short(worst["name"]), 100 * worst["recall"]
        text += f" Weakest class: {name}, with a recall of {share:.0f} %."
    error = evaluation.confidence.after.error
    return text + (
        f" Its probabilities are off by {100 * error.value:.1f} points on average "
        f"({100 * error.low:.1f} to {100 * error.high:.1f})."
    )


def _rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the classes that the data has, worst F1 first."""
    precision, area = evaluation.confidence.average_precision, evaluation.confidence.roc_auc
    rows = [
        {"name": n, "average_precision": precision.get(n), "roc_auc": area.get(n), **v}
        for n, v in evaluation.per_class.items()
        if v["support"]
    ]
    return sorted(rows, key=lambda row: row["f1"])
