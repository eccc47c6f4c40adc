"""Metrics: each is defined once, on arrays, for training and evaluation alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Indices, Reals, Targets

Confusion = NDArray[np.int64]
Matrix = NDArray[np.float64]
SMALLEST = 1e-12  # a probability that underflowed still has a log


def accuracy(targets: Targets, predicted: Indices) -> float:
    """Return the share of correct predictions; both are class indices ``int [N]``."""
    return float((predicted == targets).mean())


def macro_f1(targets: Targets, predicted: Indices) -> float:
    """Return the mean F1 over the classes that occur in ``targets``; both are ``int [N]``."""
    classes = int(max(targets.max(), predicted.max())) + 1
    return float(mean_f1(confusion_matrix(targets, predicted, classes).astype(np.float64)))


def log_loss(targets: Targets, probabilities: Reals) -> float:
    """Return the mean of -log p of the true class, in nats; see `log_losses`."""
    return float(log_losses(targets, probabilities).mean())


def log_losses(targets: Targets, probabilities: Reals) -> Reals:
    """Return -log p of the true class, in nats, ``float64 [N]``; p counts as at least 1e-12.

    Parameters
    ----------
    targets : int64 array [N]
    probabilities : float array [N, K]
    """
    of_truth = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    result: Reals = -np.log(np.maximum(of_truth, SMALLEST))
    return result


def brier_scores(targets: Targets, probabilities: Reals) -> Reals:
    """Return the squared distance from the one-hot target, ``float64 [N]``, 0 to 2 (Brier 1950)."""
    distance = probabilities.astype(np.float64)
    distance[np.arange(len(targets)), targets] -= 1
    result: Reals = (distance**2).sum(axis=1)
    return result


# --- of a confusion matrix ------------------------------------------------------------------------


def confusion_matrix(targets: Targets, predicted: Indices, classes: int) -> Confusion:
    """Return counts ``int64 [K, K]``: rows are true classes, columns predicted ones."""
    counts = np.bincount(targets * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def mean_recall(confusion: Matrix) -> Matrix:
    """Return the balanced accuracy: the mean recall over the classes that occur."""
    return _mean_over_present(recall(confusion), confusion)


def mean_f1(confusion: Matrix) -> Matrix:
    """Return the macro F1: the mean F1 over the classes that occur."""
    return _mean_over_present(f1(confusion), confusion)


def recall(confusion: Matrix) -> Matrix:
    """Return the recall of each class, 0 where it does not occur; of the transpose, precision."""
    result: Matrix = _hits(confusion) / np.maximum(confusion.sum(axis=-1), 1)
    return result


def f1(confusion: Matrix) -> Matrix:
    """Return 2 TP / (2 TP + FP + FN) of each class, 0 where that is 0 / 0."""
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    result: Matrix = 2 * _hits(confusion) / np.maximum(total, 1)
    return result


def _hits(confusion: Matrix) -> Matrix:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _mean_over_present(values: Matrix, confusion: Matrix) -> Matrix:
    present = confusion.sum(axis=-1) > 0
    result: Matrix = (values * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
    return result
