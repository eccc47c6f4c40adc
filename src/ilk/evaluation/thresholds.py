"""Thresholds: the lowest probability at which a model's answers are accepted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ilk.errors import DataError, OutputError, UsageError
from ilk.evaluation.abstention import Threshold, threshold_for_coverage, threshold_for_precision
from ilk.inference.classifier import Classifier, softmax
from ilk.models.bundle import Bundle
from ilk.text import escaped


def choose_threshold(
    classifier: Classifier,
    *,
    target_precision: float | None = None,
    target_coverage: float | None = None,
) -> Threshold:
    """Choose the lowest probability at which answers are accepted.

    It is chosen on held-out pictures of the training on which no score is reported; the model file
    holds its predictions on them. Give exactly one target.

    Parameters
    ----------
    classifier : Classifier
        A model with such predictions; see `ilk.load`.
    target_precision : float, optional
        The precision that accepted answers should have, with 95 % confidence.
    target_coverage : float, optional
        The share of pictures that should be accepted.

    Returns
    -------
    Threshold
        With its precision and coverage on the held-out pictures.

    Raises
    ------
    UsageError
        Not exactly one target is given, or it is not between 0 and 1.
    DataError
        No pictures were held out, or too few to show such a precision.
    """
    if (target_precision is None) == (target_coverage is None):
        raise UsageError("Give one of --target-precision and --target-coverage.")
    records = classifier.records
    if not len(records.targets):
        raise DataError(
            f"{classifier.source} has no record of held-out pictures to choose a threshold "
            "on. Train it again, with at least two pictures of each class."
        )
    probabilities = softmax(records.logits, classifier.spec.temperature)
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == records.targets
    if target_precision is not None:
        return threshold_for_precision(confidence, right, target_precision)
    assert target_coverage is not None
    return threshold_for_coverage(confidence, right, target_coverage)


def with_threshold(classifier: Classifier, threshold: Threshold) -> Classifier:
    """Return the classifier with a threshold; the original is not changed.

    Parameters
    ----------
    classifier : Classifier
    threshold : Threshold
        See `ilk.choose_threshold`.

    Returns
    -------
    Classifier
    """
    spec = classifier.spec.model_copy(update={"thresholds": {"accept": threshold.value}})
    return Classifier(
        spec,
        classifier.engine,
        classifier.source,
        classifier.records,
        classifier.exported,
        classifier.origin,
    )


def refuse_read_only(path: Path) -> None:
    """Refuse a model file that cannot be written to, before the work begins.

    Raises
    ------
    OutputError
        The file or its folder is read-only.
    """
    file = path.resolve()
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise OutputError(
            f"{escaped(path)} is read-only, so no threshold can be stored in it. Use a copy in a "
            "folder that you can write to."
        )


def store_threshold(path: str | os.PathLike[str], threshold: Threshold) -> None:
    """Write a threshold into a model's file, which is replaced atomically; a link stays a link.

    Parameters
    ----------
    path : str or Path
        A ``model.safetensors``.
    threshold : Threshold
        See `ilk.choose_threshold`.

    Raises
    ------
    OutputError
        The file or its folder is read-only.
    """
    refuse_read_only(Path(path))
    file = Path(path).resolve()
    mode = file.stat().st_mode
    bundle = Bundle.load(file)
    spec = bundle.spec.model_copy(update={"thresholds": {"accept": threshold.value}})
    replace(bundle, spec=spec).save(file)
    file.chmod(mode)
