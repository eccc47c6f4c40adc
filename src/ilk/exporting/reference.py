"""The reference: the model that is exported, and its outputs for the pictures to verify on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ilk.arrays import Floats, Mask
from ilk.errors import UsageError
from ilk.exporting.pictures import Pictures, pictures_for
from ilk.formats import format_of
from ilk.formats.graphs import ExportJob
from ilk.formats.options import ExportOptions
from ilk.inference.classifier import Classifier, model_file, softmax
from ilk.inference.records import Records
from ilk.models.bundle import Bundle
from ilk.text import escaped

BATCH = 32
log = logging.getLogger("ilk")


@dataclass(frozen=True, eq=False)
class ReferenceModel:
    """The model that is exported, run by PyTorch in float32 on the CPU.

    Attributes
    ----------
    logits : float32 array [N, K]
        Its outputs for ``pictures``.
    features : float32 array [N, D]
    max_drop : float or None
        See `ExportJob`.
    options : ExportOptions
        With an ``imgsz``, bundle, pictures and outputs are of that size.
    """

    path: Path
    bundle: Bundle
    pictures: Pictures
    classifier: Classifier
    logits: Floats
    features: Floats
    max_drop: float | None = None
    options: ExportOptions = field(default_factory=ExportOptions)

    @classmethod
    def open(
        cls,
        model: Path,
        data: Any = None,
        split: str | None = None,
        workers: int | None = None,
        max_drop: float | None = None,
        options: ExportOptions | None = None,
    ) -> ReferenceModel:
        """Read a model, choose pictures, and run it on them.

        Raises
        ------
        UsageError
            It is no trained model, or its backbone cannot take the size that is asked for.
        """
        from ilk.engines.pytorch import PyTorchEngine

        path = model_file(model)
        if format_of(path) is not None:
            raise UsageError(
                f"{escaped(path)} was exported already; export the model.safetensors of its run."
            )
        bundle = Bundle.load(path)
        if not bundle.spec.classes:
            raise UsageError(f"{escaped(path)} is a bare backbone without classes; train it first.")
        options = options or ExportOptions()
        if options.imgsz:
            bundle = _resized(bundle, options.imgsz)
        log.info("Reading pictures and running the model on them in PyTorch")
        pictures = pictures_for(bundle.spec, bundle.split_of, path, data, split, workers)
        engine = PyTorchEngine(bundle, "cpu", "fp32")
        classifier = Classifier(bundle.spec, engine, str(path), Records.of(bundle))
        pixels = pictures.pixels
        parts = [engine.run(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
        features, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
        return cls(path, bundle, pictures, classifier, logits, features, max_drop, options)

    @cached_property
    def job(self) -> ExportJob:
        """The conversion; formats share the graphs that it caches."""
        return ExportJob(self.bundle, self.pictures.calibration, self.max_drop, self.options)

    @property
    def probabilities(self) -> Floats:
        """Calibrated, ``float32 [N, K]``."""
        return softmax(self.logits, self.bundle.spec.temperature)

    def unknown(self, features: Floats, logits: Floats) -> Mask | None:
        """Say which pictures are out-of-distribution by these outputs, ``bool [N]``.

        None if the model has no detector.
        """
        novelty = self.classifier.records.novelty
        if novelty is None:
            return None
        return novelty.scores(features, logits) > novelty.spec.threshold


def _resized(bundle: Bundle, imgsz: int) -> Bundle:
    """Return a model that takes pictures of another size.

    Raises
    ------
    UsageError
        Its backbone cannot.
    """
    from ilk.models.backbones import check_size

    spec = bundle.spec
    check_size(spec.backbone.name, imgsz)
    preprocess = spec.preprocess.model_copy(update={"imgsz": imgsz})
    return replace(bundle, spec=spec.model_copy(update={"preprocess": preprocess}))
