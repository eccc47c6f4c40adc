"""Confidence: scores of a classifier's probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilk.arrays import Reals, Targets
from ilk.evaluation.abstention import RiskCoverage, risk_coverage
from ilk.evaluation.calibration import Reliability, reliability
from ilk.evaluation.intervals import Measured, mean, share
from ilk.evaluation.metrics import brier_scores, log_losses
from ilk.evaluation.units import Units

TOP = (2, 3, 5)


@dataclass(frozen=True, eq=False)
class Confidence:
    """Scores of a classifier's probabilities.

    Attributes
    ----------
    log_loss, brier : Measured
        Mean -log p of the true class, in nats; mean squared distance from certainty (Brier 1950).
    top : mapping of int to Measured
        Top-k accuracy.
    average_precision, roc_auc : mapping of str to float
        One-vs-rest; classes that all or none of the pictures belong to are left out.
    temperature : float
        What the logits were divided by.
    before, after : Reliability
        Without and with temperature scaling.
    """

    log_loss: Measured
    brier: Measured
    top: Mapping[int, Measured]
    average_precision: Mapping[str, float]
    roc_auc: Mapping[str, float]
    temperature: float
    before: Reliability
    after: Reliability
    risk_coverage: RiskCoverage

    def to_dict(self) -> dict[str, Any]:
        """Return the entries in ``metrics.json``."""
        return {
            "log_loss": self.log_loss.to_dict(),
            "brier": self.brier.to_dict(),
            "top_k": {str(k): found.to_dict() for k, found in self.top.items()},
            "average_precision": dict(self.average_precision),
            "roc_auc": dict(self.roc_auc),
            "calibration": {
                "temperature": self.temperature,
                "before": self.before.to_dict(),
                "after": self.after.to_dict(),
            },
            "risk_coverage": self.risk_coverage.to_dict(),
        }


def confidence(
    probabilities: Reals,
    targets: Targets,
    classes: tuple[str, ...],
    temperature: float = 1.0,
    units: Units | None = None,
) -> Confidence:
    """Score the probabilities of a classifier.

    Parameters
    ----------
    probabilities : float array [N, K]
        Calibrated with ``temperature``.
    targets : int64 array [N]
    units : Units, optional
        Which pictures are not independent.
    """
    precision, area = _by_class(probabilities, targets, classes)
    return Confidence(
        log_loss=mean(log_losses(targets, probabilities), units=units),
        brier=mean(brier_scores(targets, probabilities), units=units),
        top=_top(probabilities, targets, units),
        average_precision=precision,
        roc_auc=area,
        temperature=temperature,
        before=reliability(uncalibrated(probabilities, temperature), targets, units=units),
        after=reliability(probabilities, targets, units=units),
        risk_coverage=risk_coverage(
            probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
        ),
    )


def uncalibrated(probabilities: Reals, temperature: float) -> Reals:
    """Undo temperature scaling: return the probabilities ``[N, K]`` at temperature 1.

    Log probabilities equal logits up to a constant, to which softmax is invariant. Probabilities
    that underflowed count as the smallest positive float32.
    """
    if temperature == 1:
        return probabilities
    smallest = np.finfo(np.float32).tiny
    logits = np.log(np.maximum(probabilities.astype(np.float64), smallest)) * temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Reals = powers / powers.sum(axis=1, keepdims=True)
    return result


def _top(probabilities: Reals, targets: Targets, units: Units | None) -> dict[int, Measured]:
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(TOP)]
    hits = order == targets[:, None]
    classes = probabilities.shape[1]
    return {k: share(hits[:, :k].any(axis=1), units) for k in TOP if k < classes}


def _by_class(
    probabilities: Reals, targets: Targets, classes: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the one-vs-rest average precision and ROC AUC of each class."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    precision: dict[str, float] = {}
    area: dict[str, float] = {}
    for k, name in enumerate(classes):
        mine = targets == k
        if mine.any() and not mine.all():
            precision[name] = float(average_precision_score(mine, probabilities[:, k]))
            area[name] = float(roc_auc_score(mine, probabilities[:, k]))
    return precision, area
