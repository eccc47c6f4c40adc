"""Label issues: which labels are likely wrong, by confident learning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats, Indices, Mask, Targets
from ilk.evaluation.intervals import Z95

CONTRADICTED = -0.3  # a margin: another class is about twice as likely, 0.65 to 0.35


class LabelIssues(NamedTuple):
    """Which labels are likely wrong, ``bool [N]``, and the margin of each, ``float32 [N]``.

    The margin is the probability of the label minus that of the likeliest other class: from -1,
    certainly wrong, to 1, certainly right. It is NaN without probabilities.
    """

    suspects: Mask
    margins: Floats

    @property
    def ranking(self) -> Indices:
        """All indices, most suspicious first; labels without a margin last."""
        return np.argsort(self.margins, kind="stable")


def label_issues(
    probabilities: Floats, targets: Targets, contradicted: float = CONTRADICTED
) -> LabelIssues:
    """Find labels that are likely wrong, by confident learning.

    Parameters
    ----------
    probabilities : float32 array [N, K]
        From a model that was not trained on the picture. Rows may be NaN.
    targets : int64 array [N]
        The given labels as class indices, -1 for pictures without one.
    contradicted : float
        The margin below which a label is suspect whatever confident learning estimates.

    Notes
    -----
    "Confident learning: estimating uncertainty in dataset labels" (Northcutt et al. 2021), by
    cleanlab, its authors' library. A picture whose probability of another class is at least the
    average of that class's own pictures counts as one of them; this estimates how many labels of
    each class are wrong, and what they should be. Suspects are the labels selected both by lowest
    probability and by largest margin (the paper's "C+NR").

    The estimate misses single errors among labels that are nearly all right, so labels that are
    clearly contradicted are suspect too. Predictions no better than guessing yield no suspects.
    """
    suspects = np.zeros(len(targets), bool)
    found = np.full(len(targets), np.nan, np.float32)
    indices, known, given = _known(probabilities, targets)
    if known.shape[1] > 1:
        from cleanlab.filter import find_label_issues

        found[indices] = margins(known, given)
        if beats_guessing(probabilities, targets):
            issues = find_label_issues(given, known, filter_by="both", n_jobs=1)
            suspects[indices] = issues | (found[indices] < contradicted)
    return LabelIssues(suspects, found)


def beats_guessing(probabilities: Floats, targets: Targets) -> bool:
    """Return whether predictions are better than chance; arguments as for `label_issues`."""
    _, known, given = _known(probabilities, targets)
    if known.shape[1] < 2:
        return False
    counts = np.bincount(given)
    right = known.argmax(axis=1) == given
    return adjusted_accuracy_at_least(np.bincount(given, right) / counts, counts) > 0


def _known(probabilities: Floats, targets: Targets) -> tuple[Indices, Floats, Indices]:
    """Return the indices with a label and probabilities, these probabilities, and the labels.

    Classes that do not occur are dropped and the others renumbered.
    """
    indices = np.flatnonzero((targets >= 0) & np.isfinite(probabilities).all(axis=1))
    present, given = np.unique(targets[indices], return_inverse=True)
    # All of them may have underflowed, if the prediction is a class that does not occur.
    known = np.maximum(probabilities[np.ix_(indices, present)], np.finfo(np.float32).tiny)
    return indices, known / known.sum(axis=1, keepdims=True), given


def margins(probabilities: Floats, targets: Indices) -> Floats:
    """Return the probability of each label minus that of the likeliest other class."""
    every = np.arange(len(targets))
    others = probabilities.copy()
    others[every, targets] = -np.inf
    result: Floats = probabilities[every, targets] - others.max(axis=1)
    return result


def adjusted_accuracy_at_least(recalls: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the lower end of the 95 % interval of adjusted balanced accuracy.

    That is balanced accuracy rescaled so that guessing scores 0 and perfection 1 (scikit-learn's
    ``balanced_accuracy_score(adjusted=True)``). Its variance is that of the mean of the recalls,
    each with half a hit and half a miss added: a recall of 1 on ten pictures is not certain.
    """
    number = len(recalls)
    likely = (recalls * counts + 0.5) / (counts + 1)
    error = np.sqrt((likely * (1 - likely) / counts).sum()) / number
    chance = 1 / number
    return float((recalls.mean() - Z95 * error - chance) / (1 - chance))
