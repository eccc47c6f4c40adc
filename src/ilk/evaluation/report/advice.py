"""Advice: what to do next, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from ilk.evaluation.abstention import right_in_a_row
from ilk.evaluation.result import Evaluation
from ilk.text import escaped, pluralize

SMALL_SAMPLE = 100  # pictures: their interval is some ten points wide
FREQUENT = 3  # times the same confusion
TARGET_PRECISIONS = (0.99, 0.95)
LARGE_ERROR = 0.05  # calibration error above which probabilities mislead
MANY_FLAGGED = 0.1  # share of pictures flagged as out of distribution


def advice(evaluation: Evaluation) -> Iterator[str]:
    """Yield what to do next, most urgent first."""
    if evaluation.guesses:
        yield (
            "Check the labels (ilk check): nothing shows that the model does better than guessing."
        )
    suspects = evaluation.mistakes.suspects
    if suspects:
        yield (
            f"Look at the {pluralize(len(suspects), 'picture')} below whose label may be wrong: "
            "each wrong label counts as a mistake of the model."
        )
    if evaluation.distinct < SMALL_SAMPLE:
        grouped = evaluation.units is not None and evaluation.units.grouped
        what = "groups" if grouped else "pictures"
        yield (
            f"Hold out more {what}: with {evaluation.distinct}, the accuracy could be anywhere "
            "between "
            f"{100 * evaluation.accuracy.low:.0f} and {100 * evaluation.accuracy.high:.0f} %."
        )
    worst = next((p for p in evaluation.most_confused if p["count"] >= FREQUENT), None)
    if worst:
        yield (
            f"Collect more pictures of {escaped(worst['true'])} like those mistaken for "
            f"{escaped(worst['predicted'])} ({worst['count']:,}): this is the most frequent "
            "confusion."
        )
    if evaluation.missing:
        yield f"Add pictures of {', '.join(map(escaped, evaluation.missing))} to the test data."
    error = evaluation.confidence.after.error
    if error.low > LARGE_ERROR:
        yield (
            f"Do not rely on the probabilities: they are off by {100 * error.value:.0f} points on "
            "average. Are these pictures like those the model was trained on?"
        )
    flagged = evaluation.ood.false_positive_rate if evaluation.ood else None
    if flagged and flagged.low > MANY_FLAGGED:
        yield (
            f"{100 * flagged.value:.0f} % of these pictures are unlike the training data: add "
            "pictures of their kind to it."
        )
    held_out = evaluation.sets[0].held_out if evaluation.sets else 0
    target = next((t for t in TARGET_PRECISIONS if held_out > 2 * right_in_a_row(t)), None)
    if target and evaluation.abstention is None and evaluation.accuracy.value < target:
        yield (
            "If a mistake is worse than no answer, set a threshold: ilk evaluate MODEL DATA "
            f"--target-precision {target:g}."
        )
