"""Scoring: how good a network is on the validation pictures that a training chooses by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ilk.arrays import Floats, Targets
from ilk.evaluation.metrics import accuracy, log_loss, macro_f1
from ilk.inference.classifier import softmax

FEW_VAL = 30  # validation pictures; with fewer, a single picture decides
UNEQUAL = 1.5  # ratio of the largest class to the smallest from which classes count as unequal


@dataclass(frozen=True)
class Scores:
    """Scores on n pictures; loss is the mean cross-entropy in nats."""

    loss: float
    accuracy: float
    macro_f1: float
    n: int

    def better_than(self, other: Scores, metric: str) -> bool:
        """Compare by a metric, and by loss where that is equal."""
        return self._key(metric) > other._key(metric)

    def text(self, metric: str) -> str:
        """Return a metric with its name, as people write it."""
        name = {"macro_f1": "macro F1", "loss": "log loss"}.get(metric, metric)
        return f"{name} {self.value(metric)}"

    def value(self, metric: str) -> str:
        """Return a metric as people write it: accuracy and F1 in percent."""
        value = float(getattr(self, metric))
        return f"{value:.4f}" if metric == "loss" else f"{100 * value:.2f} %"

    def _key(self, metric: str) -> tuple[float, float]:
        first = -self.loss if metric == "loss" else getattr(self, metric)
        return float(first), -self.loss


def chosen_metric(metric: str, targets: Targets) -> str:
    """Resolve ``auto``: macro_f1 where the classes are unequal, else accuracy."""
    if metric != "auto":
        return metric
    counts = np.bincount(targets)
    return "macro_f1" if counts.max() > UNEQUAL * max(1, counts.min()) else "accuracy"


def scores_of(logits: Floats, targets: Targets) -> Scores:
    """Score logits ``float32 [N, K]`` against classes ``int64 [N]``."""
    predicted = logits.argmax(axis=1)
    with np.errstate(invalid="ignore"):  # of a training that diverged: the loss will be NaN
        probabilities = softmax(logits)
    return Scores(
        loss=log_loss(targets, probabilities),
        accuracy=accuracy(targets, predicted),
        macro_f1=macro_f1(targets, predicted),
        n=len(targets),
    )
