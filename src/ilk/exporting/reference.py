"""Original: the model that is exported, and what it makes of pictures to verify by."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats
from ilk.engines.files import kind_of
from ilk.errors import UsageError
from ilk.exporting.job import Job
from ilk.exporting.pictures import Pictures, pictures_for
from ilk.inference import Classifier, Records, model_file, softmax
from ilk.models.bundle import Bundle
from ilk.text import escaped

BATCH = 32
log = logging.getLogger("ilk")


@dataclass(frozen=True, eq=False)
class Original:
    """The model that is exported, run by PyTorch in float32 on the CPU.

    Attributes
    ----------
    path : Path
    bundle : Bundle
    pictures : Pictures
    classifier : Classifier
    logits : float32 array [N, K]
        What it makes of ``pictures``.
    features : float32 array [N, D]
    max_drop : float or None
        See `Job`.
    """

    path: Path
    bundle: Bundle
    pictures: Pictures
    classifier: Classifier
    logits: Floats
    features: Floats
    max_drop: float | None = None

    @classmethod
    def open(
        cls,
        model: Path,
        data: Any = None,
        split: str | None = None,
        workers: int | None = None,
        max_drop: float | None = None,
    ) -> Original:
        """Read a model, choose pictures, and run it on them.

        Raises
        ------
        UsageError
            It is no trained model.
        """
        from ilk.engines.pytorch import PyTorchEngine

        path = model_file(model)
        if kind_of(path) is not None:
            raise UsageError(
                f"{escaped(path)} was exported already; export the model.safetensors of its run."
            )
        bundle = Bundle.load(path)
        if not bundle.spec.classes:
            raise UsageError(f"{escaped(path)} is a bare backbone without classes; train it first.")
        log.info("Reading pictures, and running the model on them in PyTorch")
        pictures = pictures_for(bundle.spec, bundle.seen, path, data, split, workers)
        engine = PyTorchEngine(bundle, "cpu", "fp32")
        classifier = Classifier(bundle.spec, engine, str(path), Records.of(bundle))
        pixels = pictures.pixels
        parts = [engine.run(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
        features, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(path, bundle, pictures, classifier, logits, features, max_drop)

    @cached_property
    def job(self) -> Job:
        """What is to be exported; what several formats begin with is made once."""
        return Job(self.bundle, self.pictures.calibrating, self.max_drop)

    @property
    def probabilities(self) -> Floats:
        """Calibrated, ``float32 [N, K]``."""
        return softmax(self.logits, self.bundle.spec.temperature)

    def unknown(self, features: Floats, logits: Floats) -> NDArray[np.bool_] | None:
        """Say which pictures count as unknown, ``bool [N]``, by these outputs; None if it can't."""
        novelty = self.classifier.records.novelty
        if novelty is None:
            return None
        return novelty.scores(features, logits) > novelty.spec.threshold
