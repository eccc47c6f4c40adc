"""Metrics: one set of definitions, all of them functions of the confusion matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.data.catalog import LeftOut, Picture
from ilk.errors import DataError
from ilk.evaluation.abstention import Threshold
from ilk.evaluation.confidence import Confidence
from ilk.evaluation.corruptions import Corruptions
from ilk.evaluation.intervals import Confusion, Measured, bootstrap, wilson
from ilk.evaluation.mistakes import Mistakes
from ilk.evaluation.sets import SetScores
from ilk.evaluation.slices import Slice
from ilk.evaluation.unknown import Alarms
from ilk.text import join_limited

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What a classifier's answers on a set of pictures are worth.

    Attributes
    ----------
    classes : tuple of str
        The model's classes.
    confusion : int array [K, K]
        Rows are true classes, columns predicted ones.
    unknown : dict
        Labels in the data that the model does not know, with their counts: not scored.
    missing : tuple of str
        Classes of the model that the data lacks: not in the averages over classes.
    model, data, split : str
        What was evaluated on what; ``split`` is None where all pictures were taken.
    scored_on : str
        The same in words: "the test split", "all pictures".
    left_out : tuple of LeftOut
        Files that could not be scored, with reasons.
    pictures, targets, probabilities, novelty
        What was scored, row by row: Pictures, classes ``int64 [N]``, calibrated probabilities
        ``float32 [N, K]``, and how unlike all that was learned each is, ``float32 [N]``.
    confidence : Confidence or None
        What the probabilities are worth.
    mistakes : Mistakes or None
    sets : tuple of SetScores
        Sets of classes that hold the true one as often as promised.
    abstention : Threshold or None
        What the model's threshold brings: the answers that are accepted.
    alarms : Alarms or None
        How often pictures are called unknown.
    slices : mapping of str to list of Slice
        The accuracy by what pictures have in common.
    corruptions : Corruptions or None
        The accuracy on corrupted pictures.
    """

    classes: tuple[str, ...]
    confusion: Confusion
    accuracy: Measured
    balanced_accuracy: Measured
    macro_f1: Measured
    per_class: dict[str, dict[str, Any]]
    most_confused: list[dict[str, Any]]
    unknown: dict[str, int]
    missing: tuple[str, ...]
    model: str = ""
    data: str = ""
    split: str | None = None
    scored_on: str = "all pictures"
    left_out: tuple[LeftOut, ...] = ()
    pictures: tuple[Picture, ...] = ()
    targets: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    probabilities: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    novelty: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    confidence: Confidence | None = None
    mistakes: Mistakes | None = None
    sets: tuple[SetScores, ...] = ()
    abstention: Threshold | None = None
    alarms: Alarms | None = None
    slices: Mapping[str, list[Slice]] = field(default_factory=dict)
    corruptions: Corruptions | None = None

    def __repr__(self) -> str:
        return f"Evaluation({self.accuracy}, {len(self.classes)} classes)"

    @property
    def n(self) -> int:
        """The number of pictures scored."""
        return int(self.confusion.sum())

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which of the pictures are named rightly, ``bool [N]``."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.targets)

    @property
    def guesses(self) -> bool:
        """Whether the score is no better than what guessing could give, as far as can be seen."""
        present = int((self.confusion.sum(axis=1) > 0).sum())
        return present > 1 and self.balanced_accuracy.low <= 1 / present

    def to_dict(self) -> dict[str, Any]:
        """Return the record that ``ilk evaluate --json`` prints."""
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "n": self.n,
            "classes": list(self.classes),
            "accuracy": self.accuracy.to_dict(),
            "balanced_accuracy": self.balanced_accuracy.to_dict(),
            "macro_f1": self.macro_f1.to_dict(),
            "per_class": self.per_class,
            "confusion": self.confusion.tolist(),
            "most_confused": self.most_confused,
            "unknown_classes": self.unknown,
            "missing_classes": list(self.missing),
            "scored_on": self.scored_on,
            "left_out": [{"path": x.path, "reason": x.reason} for x in self.left_out],
            **(self.confidence.to_dict() if self.confidence else {}),
            "prediction_sets": {found.method: found.to_dict() for found in self.sets},
            "abstention": self.abstention.to_dict() if self.abstention else None,
            "unknown_pictures": self.alarms.to_dict() if self.alarms else None,
            "slices": {name: [s.to_dict() for s in found] for name, found in self.slices.items()},
            "corruptions": self.corruptions.to_dict() if self.corruptions else None,
            **(self.mistakes.to_dict() if self.mistakes else {}),
        }


def score(
    labels: Sequence[str], predicted: NDArray[np.int64], classes: tuple[str, ...]
) -> Evaluation:
    """Score predictions by name.

    Parameters
    ----------
    labels : sequence of str
        The true label of each picture; one the model does not know is counted, not scored.
    predicted : int array [N]
        Indices into ``classes``.
    classes : tuple of str
        The model's classes.

    Raises
    ------
    DataError
        No label is one of the model's classes.
    """
    index = {name: k for k, name in enumerate(classes)}
    unknown = Counter(label for label in labels if label not in index)
    rows = [i for i, label in enumerate(labels) if label in index]
    if not rows:
        raise DataError(
            f"None of the labels ({join_limited(sorted(unknown))}) is a class of the model "
            f"({join_limited(classes)}). Classes are matched by name."
        )
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    truth = np.array([index[labels[i]] for i in rows])
    np.add.at(confusion, (truth, predicted[rows]), 1)
    support = confusion.sum(axis=1)
    return Evaluation(
        classes=classes,
        confusion=confusion,
        accuracy=wilson(int(np.trace(confusion)), len(rows)),
        balanced_accuracy=bootstrap(confusion, balanced_accuracy),
        macro_f1=bootstrap(confusion, macro_f1),
        per_class=_per_class(confusion, classes),
        most_confused=_most_confused(confusion, classes),
        unknown=dict(sorted(unknown.items())),
        missing=tuple(c for c, n in zip(classes, support, strict=True) if n == 0),
    )


def balanced_accuracy(confusion: Matrix) -> Matrix:
    """Return the mean recall over the classes that the data has."""
    recall, support = _recall(confusion)
    return _mean_over_present(recall, support)


def macro_f1(confusion: Matrix) -> Matrix:
    """Return the mean F1 over the classes that the data has."""
    _, support = _recall(confusion)
    return _mean_over_present(_f1(confusion), support)


def _recall(confusion: Matrix) -> tuple[Matrix, Matrix]:
    support = confusion.sum(axis=-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits / np.maximum(support, 1), support


def _f1(confusion: Matrix) -> Matrix:
    """Return 2 TP / (2 TP + FP + FN) of each class, 0 where that is 0 / 0."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    result: Matrix = 2 * hits / np.maximum(total, 1)
    return result


def _mean_over_present(values: Matrix, support: Matrix) -> Matrix:
    present = support > 0
    result: Matrix = (values * present).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)
    return result


def _per_class(confusion: Confusion, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    matrix = confusion.astype(np.float64)
    recall, support = _recall(matrix)
    precision, _ = _recall(matrix.T)
    f1 = _f1(matrix)
    return {
        name: {
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "support": int(support[k]),
            "precision_interval": _ends(wilson(int(confusion[k, k]), int(confusion[:, k].sum()))),
            "recall_interval": _ends(wilson(int(confusion[k, k]), int(support[k]))),
        }
        for k, name in enumerate(classes)
    }


def _ends(measured: Measured) -> list[float]:
    return [measured.low, measured.high]


def _most_confused(
    confusion: Confusion, classes: tuple[str, ...], limit: int = 10
) -> list[dict[str, Any]]:
    """Return the most frequent mistakes as true class, predicted class and count."""
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:limit]
    pairs = (np.unravel_index(i, mistakes.shape) for i in order)
    return [
        {"true": classes[t], "predicted": classes[p], "count": int(mistakes[t, p])}
        for t, p in pairs
        if mistakes[t, p]
    ]
