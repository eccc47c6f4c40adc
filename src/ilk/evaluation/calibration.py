"""Calibration: whether predictions made with 90 % are right nine times in ten; temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Reals, Targets
from ilk.evaluation.intervals import Measured, around, resamples
from ilk.evaluation.units import Units

BINS = 15
PRIOR_STD = 0.5  # of the log temperature
LOWEST, HIGHEST = 0.05, 20.0  # bounds of the temperature


def fit_temperature(logits: Reals, targets: Targets) -> float:
    """Return the temperature that calibrates probabilities: the one with the lowest log loss.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2), by L-BFGS on the log of
    the temperature. A weak log-normal prior around 1 (a factor of 1.6 either way is one standard
    deviation) keeps a few correct predictions from pushing probabilities to certainty.

    Parameters
    ----------
    logits : float array [N, K]
        Of held-out pictures that no score is reported on.
    targets : int64 array [N]

    Returns
    -------
    float
        Within 0.05 to 20; 1 if there is no picture.
    """
    from scipy.optimize import minimize

    if not len(targets):
        return 1.0
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    right = logits[np.arange(len(targets)), targets]

    def loss(log_temperature: Reals) -> tuple[float, Reals]:
        (x,) = log_temperature
        inverse = np.exp(-x)
        powers = np.exp(logits * inverse)
        total = powers.sum(axis=1)
        mean = (powers * logits).sum(axis=1) / total  # the expected logit
        value = (np.log(total) - right * inverse).sum() + (x / PRIOR_STD) ** 2 / 2
        slope = ((right - mean) * inverse).sum() + x / PRIOR_STD**2
        return float(value / len(targets)), np.array([float(slope / len(targets))])

    bounds = [(np.log(LOWEST), np.log(HIGHEST))]
    found = minimize(loss, np.zeros(1), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(np.exp(found.x[0]))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Accuracy by confidence, in bins.

    Attributes
    ----------
    edges : float array [B + 1]
    confidence, accuracy : float array [B]
        Means within each bin; NaN where it is empty.
    counts : int64 array [B]
    error : Measured
        The expected calibration error with a 95 % bootstrap interval.
    """

    edges: Reals
    confidence: Reals
    accuracy: Reals
    counts: NDArray[np.int64]
    error: Measured

    def to_dict(self) -> dict[str, Any]:
        """Return the entry in ``metrics.json``, without empty bins."""
        return {
            "expected_calibration_error": self.error.to_dict(),
            "bins": [
                {
                    "from": float(self.edges[b]),
                    "to": float(self.edges[b + 1]),
                    "confidence": float(self.confidence[b]),
                    "accuracy": float(self.accuracy[b]),
                    "n": int(self.counts[b]),
                }
                for b in np.flatnonzero(self.counts)
            ],
        }


def reliability(
    probabilities: Reals,
    targets: Targets,
    *,
    bins: int = BINS,
    seed: int = 0,
    units: Units | None = None,
) -> Reliability:
    """Measure calibration in bins of equal width by the confidence of predictions.

    The expected calibration error is the mean gap between accuracy and confidence, weighted by bin
    size (Naeini et al. 2015; Guo et al. 2017, equation 3). Sampling noise in small bins raises it
    even for calibrated probabilities, so on few pictures it is biased upwards.

    Parameters
    ----------
    probabilities : float array [N, K]
    targets : int64 array [N]
    seed : int
        Seed of the bootstrap.
    units : Units, optional
        Which pictures are not independent.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == targets).astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(of, minlength=bins)
    sums = np.bincount(of, confidence, bins), np.bincount(of, right, bins)
    with np.errstate(invalid="ignore"):
        mean_confidence, accuracy = sums[0] / counts, sums[1] / counts
    return Reliability(
        edges, mean_confidence, accuracy, counts, _error(confidence, right, of, bins, seed, units)
    )


def _error(
    confidence: Reals, right: Reals, of: Targets, bins: int, seed: int, units: Units | None
) -> Measured:
    """Return the expected calibration error with its interval by a bootstrap over units."""
    number = len(confidence)
    if not number:
        return Measured(float("nan"), 0.0, 1.0, 0)
    gap = right - confidence
    value = float(np.abs(np.bincount(of, gap, bins)).sum() / number)
    found = [
        np.abs(np.bincount(of, gap * weights, bins)).sum() / number
        for weights in resamples(number, seed, units=units)
    ]
    distinct = number if units is None else len(units)
    return around(value, found, distinct)  # resampling adds noise that biases the error upwards
