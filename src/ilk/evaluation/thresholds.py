"""Thresholds: from which probability on a model's answers are accepted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ilk.errors import DataError, OutputError, UsageError
from ilk.evaluation.abstention import Threshold, threshold_for_coverage, threshold_for_precision
from ilk.inference import Classifier, softmax
from ilk.models.bundle import Bundle
from ilk.text import escaped


def choose_threshold(
    classifier: Classifier,
    *,
    target_precision: float | None = None,
    target_coverage: float | None = None,
) -> Threshold:
    """Choose from which probability on answers are accepted.

    By pictures that were held out when the model was trained, and on which no score was reported:
    the model remembers what it makes of them.

    Parameters
    ----------
    classifier : Classifier
    target_precision : float, optional
        Accepted answers shall be right at least as often, with 95 % confidence.
    target_coverage : float, optional
        At least this share of the pictures shall be answered.

    Returns
    -------
    Threshold
        With the precision and coverage that it has on the held-out pictures.

    Raises
    ------
    UsageError
        Not exactly one target is given, or it is no share.
    DataError
        No pictures were held out, or too few to show such a precision.
    """
    if (target_precision is None) == (target_coverage is None):
        raise UsageError("Give one of --target-precision and --target-coverage.")
    records = classifier.records
    if not len(records.targets):
        raise DataError(
            f"{classifier.source} has no record of held-out pictures to choose a threshold by. "
            "Train it again, with two pictures of each class at least."
        )
    probabilities = softmax(records.logits, classifier.spec.temperature)
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == records.targets
    if target_precision is not None:
        return threshold_for_precision(sure, right, target_precision)
    assert target_coverage is not None
    return threshold_for_coverage(sure, right, target_coverage)


def with_threshold(classifier: Classifier, threshold: Threshold) -> Classifier:
    """Return the classifier with a threshold."""
    spec = classifier.spec.model_copy(update={"thresholds": {"accept": threshold.value}})
    return Classifier(
        spec, classifier.engine, classifier.source, classifier.records, classifier.exported
    )


def refuse_read_only(path: Path) -> None:
    """Refuse a model that a threshold cannot be written into, before the work begins.

    Raises
    ------
    OutputError
        The file or its folder may not be written.
    """
    file = path.resolve()
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise OutputError(
            f"{escaped(path)} may not be written, so no threshold can be stored in it. Copy it to "
            "where you may write."
        )


def store_threshold(path: Path, threshold: Threshold) -> None:
    """Write a threshold into a model's file, which is replaced as a whole; a link stays a link."""
    file = path.resolve()
    mode = file.stat().st_mode
    bundle = Bundle.load(file)
    spec = bundle.spec.model_copy(update={"thresholds": {"accept": threshold.value}})
    replace(bundle, spec=spec).save(file)
    file.chmod(mode)
