"""Inference: from pictures to features, or to the predictions of a Classifier."""

from __future__ import annotations

from ilk.inference.backbone import run_backbone
from ilk.inference.classifier import (
    Classifier,
    Records,
    SplitLookup,
    as_pictures,
    fitting,
    load,
    model_file,
    softmax,
)
from ilk.inference.features import Extracted, extract
from ilk.inference.predictions import Prediction, Predictions, gathered

__all__ = [
    "Classifier",
    "Extracted",
    "Prediction",
    "Predictions",
    "Records",
    "SplitLookup",
    "as_pictures",
    "extract",
    "fitting",
    "gathered",
    "load",
    "model_file",
    "run_backbone",
    "softmax",
]
