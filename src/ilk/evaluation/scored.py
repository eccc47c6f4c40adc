"""Scored: pictures and what a model makes of them, as an Evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ilk.arrays import Floats
from ilk.data.catalog import Picture
from ilk.evaluation.abstention import at
from ilk.evaluation.confidence import confidence
from ilk.evaluation.metrics import Evaluation, score
from ilk.evaluation.mistakes import find_mistakes
from ilk.evaluation.sets import set_scores
from ilk.evaluation.unknown import alarms
from ilk.inference import Records, softmax
from ilk.spec import Spec


def scored(
    pictures: Sequence[Picture],
    probabilities: Floats,
    novelty: Floats,
    spec: Spec,
    records: Records,
    **context: Any,
) -> Evaluation | None:
    """Score pictures by their calibrated probabilities; None if there are no pictures.

    Parameters
    ----------
    pictures : sequence of Picture
        With labels; those whose label the model does not know are counted, not scored.
    probabilities : float32 array [N, K]
    novelty : float32 array [N]
        NaN where the model cannot tell.
    spec : Spec
    records : Records
        Of the model: what it makes of pictures that were held out from it.
    **context
        Fields of the Evaluation that say what was scored.

    Raises
    ------
    DataError
        No label is one of the model's classes.
    """
    if not pictures:
        return None
    classes = spec.classes
    labels = [p.label or "" for p in pictures]
    whole = score(labels, probabilities.argmax(axis=1), classes)
    index = {name: k for k, name in enumerate(classes)}
    rows = np.array([i for i, label in enumerate(labels) if label in index])
    known = tuple(pictures[i] for i in rows)
    targets = np.array([index[labels[i]] for i in rows], np.int64)
    probabilities, novelty = probabilities[rows], novelty[rows]
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    held_out = softmax(records.logits, spec.temperature), records.targets
    return replace(
        whole,
        pictures=known,
        targets=targets,
        probabilities=probabilities,
        novelty=novelty,
        confidence=confidence(probabilities, targets, classes, spec.temperature),
        mistakes=find_mistakes(known, probabilities, targets, classes),
        sets=tuple(set_scores(probabilities, targets, held_out, classes)),
        abstention=at(spec.thresholds["accept"], sure, right)
        if "accept" in spec.thresholds
        else None,
        alarms=alarms(novelty, spec.novelty.threshold) if spec.novelty else None,
        **context,
    )
