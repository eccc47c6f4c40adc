"""Evaluations of pictures that exist by name only."""

from __future__ import annotations

import numpy as np
import pytest

from ilk.data.catalog import Picture
from ilk.evaluation.result import match_labels, score
from ilk.inference.records import Records
from ilk.spec import Backbone, Preprocess, Spec


@pytest.fixture
def evaluated():
    """Score predictions, given as class indices or as probabilities, against labels."""

    def call(labels, predicted, classes, *, pictures=None, **context):
        predicted = np.asarray(predicted)
        if predicted.ndim == 1:
            predicted = np.eye(len(classes), dtype=np.float32)[predicted]
        pictures = pictures or [Picture(f"{i:04d}.png", k) for i, k in enumerate(labels)]
        kept, unknown = match_labels(pictures, classes)
        spec = Spec(
            backbone=Backbone(name="resnet18", features=2, mean=(0, 0, 0), std=(1, 1, 1)),
            preprocess=Preprocess(imgsz=8),
            classes=classes,
        )
        return score(
            [pictures[i] for i in kept],
            predicted[kept],
            np.full(len(kept), np.nan, np.float32),
            spec,
            Records.none(len(classes)),
            unknown=unknown,
            **context,
        )

    return call
