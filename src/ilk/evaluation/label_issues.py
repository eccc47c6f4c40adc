"""Label issues: which labels are likely wrong, by confident learning."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats

CONTRADICTED = -0.3  # of a margin: another class is about twice as likely, 0.65 to 0.35
Z = 1.96  # of a 95 % interval


class Suspicion(NamedTuple):
    """Which labels are likely wrong, ``bool [N]``, and how much speaks for each, ``float32 [N]``.

    The score of a label is its probability less that of the likeliest other class: from -1, surely
    wrong, to 1, surely right. It is NaN where nothing is known.
    """

    suspects: NDArray[np.bool_]
    scores: Floats

    @property
    def ranking(self) -> NDArray[np.intp]:
        """Return all rows, the most suspicious first; those of which nothing is known last."""
        return np.argsort(self.scores, kind="stable")


def suspicion(
    probabilities: Floats, targets: NDArray[np.int64], contradicted: float = CONTRADICTED
) -> Suspicion:
    """Say which labels are likely wrong, by confident learning.

    Parameters
    ----------
    probabilities : float32 array [N, K]
        Out of fold: see `Evidence`. A row of NaN says nothing.
    targets : int64 array [N]
        The classes given, -1 of pictures without a label.
    contradicted : float
        The margin below which a label is suspect whatever is estimated.

    Notes
    -----
    "Confident learning: estimating uncertainty in dataset labels" (Northcutt et al. 2021), by
    cleanlab, its authors' library. A picture that is as likely of another class as pictures of that
    class usually are counts as one of its; so it is estimated how many labels of each class are
    wrong, and for which class. Suspects are the least likely labels of each class, so many as are
    wrong, as long as they are also, for the class they are taken for, among those of the largest
    margin (the paper's "C+NR"). Scores are its margins.

    An estimate knows nothing of single mistakes among labels that are nearly all right, so labels
    that are plainly contradicted are suspect too. Models that do no better than guessing contradict
    nobody.
    """
    suspects = np.zeros(len(targets), bool)
    scores = np.full(len(targets), np.nan, np.float32)
    rows, known, given = _known(probabilities, targets)
    if known.shape[1] > 1:
        from cleanlab.filter import find_label_issues

        scores[rows] = margins(known, given)
        if beats_guessing(probabilities, targets):
            issues = find_label_issues(given, known, filter_by="both", n_jobs=1)
            suspects[rows] = issues | (scores[rows] < contradicted)
    return Suspicion(suspects, scores)


def beats_guessing(probabilities: Floats, targets: NDArray[np.int64]) -> bool:
    """Say whether the models that give such probabilities tell the classes at all.

    It takes what `suspicion` takes.
    """
    _, known, given = _known(probabilities, targets)
    if known.shape[1] < 2:
        return False
    counts = np.bincount(given)
    told = known.argmax(axis=1) == given
    return adjusted_accuracy_at_least(np.bincount(given, told) / counts, counts) > 0


def _known(
    probabilities: Floats, targets: NDArray[np.int64]
) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
    """Return the rows of which something is known, their probabilities, and their classes.

    Classes without a row are left out, and the others numbered anew.
    """
    rows = np.flatnonzero((targets >= 0) & np.isfinite(probabilities).all(axis=1))
    present, given = np.unique(targets[rows], return_inverse=True)
    known = probabilities[np.ix_(rows, present)]
    return rows, known / known.sum(axis=1, keepdims=True), given


def margins(probabilities: Floats, targets: NDArray[np.int64]) -> Floats:
    """Return the probability of each label less that of the likeliest other class."""
    rows = np.arange(len(targets))
    others = probabilities.copy()
    others[rows, targets] = -np.inf
    result: Floats = probabilities[rows, targets] - others.max(axis=1)
    return result


def adjusted_accuracy_at_least(recalls: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the lower end of the 95 % interval of adjusted balanced accuracy.

    That is balanced accuracy, moved and stretched so that guessing has 0 and certainty 1 (as
    scikit-learn's ``balanced_accuracy_score(adjusted=True)``). Its variance is that of the mean of
    the classes' recalls, each with half a picture told and half a picture not told added, for a
    recall of 1 in ten pictures is not certain.
    """
    number = len(recalls)
    likely = (recalls * counts + 0.5) / (counts + 1)
    error = np.sqrt((likely * (1 - likely) / counts).sum()) / number
    chance = 1 / number
    return float((recalls.mean() - Z * error - chance) / (1 - chance))
