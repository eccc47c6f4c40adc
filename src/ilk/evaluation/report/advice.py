"""Advice: what to do next, in a sentence each, as an evaluation suggests it."""

from __future__ import annotations

from collections.abc import Iterator

from ilk.evaluation.abstention import right_in_a_row
from ilk.evaluation.metrics import Evaluation
from ilk.text import escaped, pluralize

FEW = 100  # pictures: their interval is some ten points wide
OFTEN = 3  # of a mistake, from which on it is a habit
TARGETS = (0.99, 0.95)  # precisions that a threshold may be chosen for
OFF = 0.05  # calibration error from which on probabilities mislead


def advice(evaluation: Evaluation) -> list[str]:
    """Return what to do next, the most urgent first."""
    return list(_advice(evaluation))


def _advice(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.guesses:
        yield (
            "Look whether the labels fit the pictures (ilk check): nothing shows that the model "
            "does better than guessing."
        )
    suspects = evaluation.mistakes.suspects if evaluation.mistakes else ()
    if suspects:
        yield (
            f"Look at the {pluralize(len(suspects), 'picture')} below whose label may be wrong: "
            "each wrong label counts as a mistake of the model."
        )
    if evaluation.n < FEW:
        yield (
            f"Hold out more pictures: {evaluation.n} leave the accuracy open between "
            f"{100 * evaluation.accuracy.low:.0f} and {100 * evaluation.accuracy.high:.0f} %."
        )
    worst = next((p for p in evaluation.most_confused if p["count"] >= OFTEN), None)
    if worst:
        yield (
            f"Collect pictures of {escaped(worst['true'])} like those taken for "
            f"{escaped(worst['predicted'])} ({worst['count']:,}): it is the most frequent mistake."
        )
    if evaluation.missing:
        yield f"Add pictures of {', '.join(map(escaped, evaluation.missing))} to what is scored."
    confidence = evaluation.confidence
    if confidence and confidence.after.error.low > OFF:
        yield (
            f"Do not take probabilities at their word here: they are off by "
            f"{100 * confidence.after.error.value:.0f} points on average. Are these pictures like "
            "those it was trained on?"
        )
    if evaluation.alarms and evaluation.alarms.false.low > 2 * OFF:
        yield (
            f"{100 * evaluation.alarms.false.value:.0f} % of these pictures look unlike all that "
            "was learned: train on some of their kind."
        )
    held_out = evaluation.sets[0].held_out if evaluation.sets else 0
    target = next((t for t in TARGETS if held_out > 2 * right_in_a_row(t)), None)
    if target and evaluation.abstention is None and evaluation.accuracy.value < target:
        yield (
            "Where a mistake costs more than no answer, choose a threshold: ilk evaluate MODEL "
            f"DATA --target-precision {target:g}."
        )
