"""Result: the record of an evaluation, and the one function that builds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ilk.arrays import Floats, Mask, Targets
from ilk.data.catalog import LeftOut, Picture, class_indices
from ilk.data.columns import column, default_columns
from ilk.errors import DataError
from ilk.evaluation.abstention import Threshold, at
from ilk.evaluation.confidence import Confidence, confidence
from ilk.evaluation.conformal import SetScores, set_scores
from ilk.evaluation.corruptions import Corruptions
from ilk.evaluation.intervals import Measured, bootstrap, share
from ilk.evaluation.metrics import Confusion, confusion_matrix, f1, mean_f1, mean_recall, recall
from ilk.evaluation.mistakes import Mistakes, find_mistakes
from ilk.evaluation.ood import OodMetrics, ood_metrics
from ilk.evaluation.slices import Slice, all_sliced
from ilk.evaluation.units import Units
from ilk.inference.classifier import softmax
from ilk.inference.records import Records
from ilk.spec import Spec
from ilk.text import join_limited, pluralize


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How well a classifier does on a set of pictures.

    Attributes
    ----------
    model, data, split : str
        What was evaluated on what; ``split`` is None where all pictures were taken.
    scored_on : str
        The same in words: "the test split", "all pictures".
    classes : tuple of str
        The model's classes, K of them.
    pictures : tuple of Picture
        The N pictures scored.
    units : Units or None
        Which of them are copies or of one group; None if all are independent. The ``n`` and the
        interval of each score count units.
    targets : int64 array [N]
    probabilities : float32 array [N, K]
        Calibrated.
    novelty : float32 array [N]
        Out-of-distribution score: 0 is typical, larger is less so. NaN if the model has none.
    confusion : int64 array [K, K]
        Rows are true classes, columns predicted ones.
    accuracy, balanced_accuracy, macro_f1 : Measured
        The last two average over the classes that the data has.
    per_class : dict of str to dict
        Precision, recall, F1 and support of each class.
    most_confused : list of dict
        The most frequent confusions: true class, predicted class, count.
    unknown : dict of str to int
        Labels in the data that the model does not know, with their counts: not scored.
    missing : tuple of str
        Classes of the model that the data lacks.
    left_out : tuple of LeftOut
        Files that could not be scored, with reasons.
    confidence : Confidence
        Calibration, log loss, ROC AUC and other scores of the probabilities.
    mistakes : Mistakes
    sets : tuple of SetScores
        Conformal prediction sets; empty where too few pictures were held out to calibrate them.
    abstention : Threshold or None
        Precision and coverage of the accepted answers, if the model has a threshold.
    ood : OodMetrics or None
        How often pictures are flagged as out of distribution, if the model can tell.
    slices : dict of str to list of Slice
        The accuracy by column, worst value first.
    corruptions : Corruptions or None
        The accuracy on corrupted pictures, if asked for.
    folder : Path or None
        Where the report was written, if it was.
    """

    model: str
    data: str
    split: str | None
    scored_on: str
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    units: Units | None
    targets: Targets
    probabilities: Floats
    novelty: Floats
    confusion: Confusion
    accuracy: Measured
    balanced_accuracy: Measured
    macro_f1: Measured
    per_class: dict[str, dict[str, Any]]
    most_confused: list[dict[str, Any]]
    unknown: Mapping[str, int]
    missing: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    confidence: Confidence
    mistakes: Mistakes
    sets: tuple[SetScores, ...]
    abstention: Threshold | None
    ood: OodMetrics | None
    slices: Mapping[str, list[Slice]]
    corruptions: Corruptions | None
    folder: Path | None

    def __repr__(self) -> str:
        return f"Evaluation({self.accuracy}, {len(self.classes)} classes)"

    @property
    def n(self) -> int:
        """The number of pictures scored."""
        return len(self.pictures)

    @property
    def distinct(self) -> int:
        """The number of independent pictures or groups among them."""
        return self.n if self.units is None else len(self.units)

    @property
    def counted(self) -> str:
        """Both numbers in words: "496 pictures, 63 distinct"."""
        return pluralize(self.n, "picture") if self.units is None else str(self.units)

    @property
    def right(self) -> Mask:
        """Which predictions are correct, ``bool [N]``."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.targets)

    @property
    def guesses(self) -> bool:
        """Whether the score is compatible with guessing."""
        present = len(self.classes) - len(self.missing)
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
            "distinct": self.distinct,
            "most_confused": self.most_confused,
            "unknown_classes": dict(self.unknown),
            "missing_classes": list(self.missing),
            "scored_on": self.scored_on,
            "left_out": [{"path": x.path, "reason": x.reason} for x in self.left_out],
            **self.confidence.to_dict(),
            "prediction_sets": {found.method: found.to_dict() for found in self.sets},
            "abstention": self.abstention.to_dict() if self.abstention else None,
            "unknown_pictures": self.ood.to_dict() if self.ood else None,
            "slices": {name: [s.to_dict() for s in found] for name, found in self.slices.items()},
            "corruptions": self.corruptions.to_dict() if self.corruptions else None,
            **self.mistakes.to_dict(),
        }


def match_labels(
    pictures: Sequence[Picture], classes: tuple[str, ...]
) -> tuple[list[int], dict[str, int]]:
    """Return the indices of the pictures of known classes, and the counts of unknown labels.

    Raises
    ------
    DataError
        No label is one of the model's classes.
    """
    known = set(classes)
    indices = [i for i, p in enumerate(pictures) if p.label in known]
    unknown = Counter(str(p.label) for p in pictures if p.label not in known)
    if not indices:
        raise DataError(
            f"None of the labels ({join_limited(sorted(unknown))}) is a class of the model "
            f"({join_limited(classes)}). Classes are matched by name."
        )
    return indices, dict(sorted(unknown.items()))


def score(
    pictures: Sequence[Picture],
    probabilities: Floats,
    novelty: Floats,
    spec: Spec,
    records: Records,
    *,
    model: str = "",
    data: str = "",
    split: str | None = None,
    scored_on: str = "all pictures",
    unknown: Mapping[str, int] | None = None,
    left_out: Sequence[LeftOut] = (),
    slices: Sequence[str] = (),
    ood_novelty: Floats | None = None,
    corruptions: Corruptions | None = None,
    folder: Path | None = None,
) -> Evaluation:
    """Score the predictions of a model.

    Parameters
    ----------
    pictures : sequence of Picture
        At least one; each label is one of the model's classes: see `match_labels`.
    probabilities : float32 array [N, K]
        Calibrated.
    novelty : float32 array [N]
        NaN where the model has no out-of-distribution score.
    records : Records
        The model's own predictions on its held-out pictures, which calibrate prediction sets.
    slices : sequence of str
        Columns to slice by besides the default ones: see `ilk.data.columns`.
    ood_novelty : float32 array [M], optional
        The same score of out-of-distribution pictures.
    model, data, split, scored_on, unknown, left_out, corruptions, folder
        As in `Evaluation`.
    """
    pictures, classes = tuple(pictures), spec.classes
    targets = class_indices(pictures, classes)
    predicted = probabilities.argmax(axis=1)
    right = predicted == targets
    confusion = confusion_matrix(targets, predicted, len(classes))
    held_out = softmax(records.logits, spec.temperature), records.targets
    accept = spec.thresholds.get("accept")
    units = Units.of(pictures)
    number, effective = len(pictures), None
    if units is not None:
        number = len(units)
        of_class = [np.flatnonzero(targets == k) for k in range(len(classes))]
        effective = np.array([units[mine].effective_number(right[mine]) for mine in of_class])
    names = dict.fromkeys([*default_columns(pictures), *slices])
    return Evaluation(
        model=model,
        data=data,
        split=split,
        scored_on=scored_on,
        classes=classes,
        pictures=pictures,
        targets=targets,
        probabilities=probabilities,
        novelty=novelty,
        units=units,
        confusion=confusion,
        accuracy=share(right, units),
        balanced_accuracy=replace(bootstrap(confusion, mean_recall, effective=effective), n=number),
        macro_f1=replace(bootstrap(confusion, mean_f1, effective=effective), n=number),
        per_class=_per_class(confusion, targets, predicted, classes, units),
        most_confused=_most_confused(confusion, classes),
        unknown=unknown or {},
        missing=tuple(c for c, n in zip(classes, confusion.sum(axis=1), strict=True) if n == 0),
        left_out=tuple(left_out),
        confidence=confidence(probabilities, targets, classes, spec.temperature, units),
        mistakes=find_mistakes(pictures, probabilities, targets, classes),
        sets=tuple(set_scores(probabilities, targets, held_out, classes, units=units)),
        abstention=at(accept, probabilities.max(axis=1), right, units)
        if accept is not None
        else None,
        ood=ood_metrics(novelty, spec.novelty.threshold, ood_novelty, units)
        if spec.novelty
        else None,
        slices=all_sliced({name: column(pictures, name) for name in names}, right, units),
        corruptions=corruptions,
        folder=folder,
    )


def _per_class(
    confusion: Confusion,
    targets: Targets,
    predicted: Targets,
    classes: tuple[str, ...],
    units: Units | None,
) -> dict[str, dict[str, Any]]:
    matrix = confusion.astype(np.float64)
    recalls, precisions, f1s = recall(matrix), recall(matrix.T), f1(matrix)
    support = confusion.sum(axis=1)

    def ends(k: int, among: Targets) -> list[float]:
        chosen = among == k
        found = share((targets == predicted)[chosen], units[chosen] if units else None)
        return [found.low, found.high]

    return {
        name: {
            "precision": float(precisions[k]),
            "recall": float(recalls[k]),
            "f1": float(f1s[k]),
            "support": int(support[k]),
            "precision_interval": ends(k, predicted),
            "recall_interval": ends(k, targets),
        }
        for k, name in enumerate(classes)
    }


def _most_confused(
    confusion: Confusion, classes: tuple[str, ...], limit: int = 10
) -> list[dict[str, Any]]:
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:limit]
    pairs = (np.unravel_index(i, mistakes.shape) for i in order)
    return [
        {"true": classes[t], "predicted": classes[p], "count": int(mistakes[t, p])}
        for t, p in pairs
        if mistakes[t, p]
    ]
