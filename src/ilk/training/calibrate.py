"""Calibrate: fit a trained model's temperature and its novelty detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ilk.data.catalog import class_indices
from ilk.data.split import subsample
from ilk.evaluation.calibration import fit_temperature
from ilk.inference import novelty
from ilk.inference.hellinger import hellinger
from ilk.models.bundle import KNOWN_FEATURES, Bundle
from ilk.training.result import TrainingResult

MOST = 400_000  # numbers kept of the held-out logits: 1.6 MB


def calibrated(result: TrainingResult) -> Bundle:
    """Return the trained model with its temperature, and with records of held-out pictures.

    Everything is fitted on pictures that the model did not learn from and that no score is
    reported on. If none were held out, the model is returned unchanged.
    """
    bundle, held_out, known = result.bundle, result.held_out, result.train_sample
    if not held_out.pictures:
        return bundle
    targets = class_indices(held_out.pictures, bundle.spec.classes)
    detector = novelty.fit(
        known.features,
        [p.origin for p in known.pictures],
        held_out.features,
        [p.origin for p in held_out.pictures],
        held_out.logits,
    )
    temperature = fit_temperature(held_out.logits, targets)
    spec = bundle.spec.model_copy(update={"temperature": temperature, "novelty": detector})
    if detector:
        tensors = {**bundle.tensors, KNOWN_FEATURES: hellinger(known.features).astype(np.float16)}
        bundle = replace(bundle, tensors=tensors)
    kept = subsample(np.arange(len(targets)), seed=0, most=max(1, MOST // len(spec.classes)))
    return replace(bundle, spec=spec).with_held_out(held_out.logits[kept], targets[kept])
