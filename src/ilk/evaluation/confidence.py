"""Confidence: what a classifier's probabilities are worth, beside its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ilk.arrays import Reals, Targets
from ilk.evaluation.abstention import RiskCoverage, risk_coverage
from ilk.evaluation.calibration import Reliability, brier_scores, log_losses, reliability
from ilk.evaluation.intervals import Measured, mean, wilson

TOP = (2, 3, 5)


@dataclass(frozen=True, eq=False)
class Confidence:
    """Scores of probabilities.

    Attributes
    ----------
    log_loss, brier : Measured
        Mean -log p of the true class, in nats; mean squared distance from certainty (Brier 1950).
    top : mapping of int to Measured
        How often the true class is among the k most probable ones, for some k.
    average_precision, roc_auc : mapping of str to float
        Of each class against the rest; classes that all or none of the pictures have are left out.
    temperature : float
        What the logits were divided by.
    before, after : Reliability
        Without, and with that.
    risk_coverage : RiskCoverage
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
        """Return what stands in ``metrics.json``."""
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
    probabilities: Reals, targets: Targets, classes: tuple[str, ...], temperature: float = 1.0
) -> Confidence:
    """Score probabilities.

    Parameters
    ----------
    probabilities : float array [N, K]
        Calibrated with ``temperature``.
    targets : int64 array [N]
    classes : tuple of str
    temperature : float
    """
    precision, area = _by_class(probabilities, targets, classes)
    return Confidence(
        log_loss=mean(log_losses(probabilities, targets)),
        brier=mean(brier_scores(probabilities, targets)),
        top=_top(probabilities, targets),
        average_precision=precision,
        roc_auc=area,
        temperature=temperature,
        before=reliability(reheated(probabilities, temperature), targets),
        after=reliability(probabilities, targets),
        risk_coverage=risk_coverage(
            probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
        ),
    )


def reheated(probabilities: Reals, temperature: float) -> Reals:
    """Return what the probabilities ``[N, K]`` were before logits were divided by a temperature.

    Logits are known from probabilities but for a constant, which softmax does not see. What
    underflowed counts as the smallest number that did not.
    """
    if temperature == 1:
        return probabilities
    smallest = np.finfo(np.float32).tiny
    logits = np.log(np.maximum(probabilities.astype(np.float64), smallest)) * temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Reals = powers / powers.sum(axis=1, keepdims=True)
    return result


def _top(probabilities: Reals, targets: Targets) -> dict[int, Measured]:
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(TOP)]
    hits = order == targets[:, None]
    return {
        k: wilson(int(hits[:, :k].sum()), len(targets)) for k in TOP if k < probabilities.shape[1]
    }


def _by_class(
    probabilities: Reals, targets: Targets, classes: tuple[str, ...]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return average precision and the area under the ROC curve of each class against the rest."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    precision: dict[str, float] = {}
    area: dict[str, float] = {}
    for k, name in enumerate(classes):
        mine = targets == k
        if mine.any() and not mine.all():
            precision[name] = float(average_precision_score(mine, probabilities[:, k]))
            area[name] = float(roc_auc_score(mine, probabilities[:, k]))
    return precision, area
