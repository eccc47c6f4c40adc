"""Acceptance: what a model must pass before it is served."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from ilk.data.catalog import Catalog
from ilk.data.stream import Stream
from ilk.errors import ModelError, UsageError
from ilk.folder import digest_of
from ilk.inference.classifier import Classifier
from ilk.text import escaped


def digest_if_readable(file: Path) -> str:
    """Return the SHA-256 of a model's file; '' if it cannot be read."""
    try:
        return digest_of(file)
    except OSError:
        return ""


def refuse_changed(file: Path, digest: str) -> None:
    """Raise if a file is no longer the one that had this digest before it was loaded.

    Raises
    ------
    ModelError
    """
    if not digest or digest_if_readable(file) != digest:
        raise ModelError(
            f"{escaped(file)} changed while it was loaded; load it again once it is complete."
        )


def refuse_other_classes(name: str, classes: tuple[str, ...], classifier: Classifier) -> None:
    """Raise if a model would replace one with other classes, which clients do not expect.

    Raises
    ------
    ModelError
    """
    if classifier.classes != classes:
        raise ModelError(
            f"{escaped(classifier.source)} has other classes than '{name}', which it would "
            "replace; serve it under another name."
        )


def warm_up(classifier: Classifier, batch: int) -> float:
    """Run one black picture and a full batch; return the seconds that a full batch takes."""
    side = classifier.spec.preprocess.imgsz
    classifier.predict_batch(np.zeros((1, side, side, 3), np.uint8))
    many = np.zeros((batch, side, side, 3), np.uint8)
    classifier.predict_batch(many)
    began = time.perf_counter()
    classifier.predict_batch(many)
    return time.perf_counter() - began


def refuse_wrong(classifier: Classifier, golden: Catalog, batch: int) -> None:
    """Raise for a model that gets a golden picture wrong.

    Raises
    ------
    ModelError
    UsageError
        None of the golden pictures has a label and can be read.
    """
    pictures = [p for p in golden.pictures if p.label is not None]
    wrong: list[str] = []
    read = 0
    with Stream(pictures, classifier.spec.preprocess, batch=batch) as batches:
        for part in batches:
            labels = classifier.predict_batch(part.pixels).labels if part.indices else []
            for index, label in zip(part.indices, labels, strict=True):
                picture = pictures[index]
                if label != picture.label:
                    wrong.append(f"{escaped(picture.path)} is {picture.label}, not {label}")
            read += len(part.indices)
    if not read:
        raise UsageError("--golden has no labelled picture that can be read.")
    if wrong:
        raise ModelError(
            f"{escaped(classifier.source)} is not served: it gets {len(wrong)} of {read} "
            f"golden pictures wrong ({'; '.join(wrong[:3])})."
        )
