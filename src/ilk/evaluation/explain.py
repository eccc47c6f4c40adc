"""Explain: show which parts of pictures speak for what a model makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ilk.data.stream import Stream
from ilk.errors import UsageError
from ilk.evaluation.metrics import Evaluation
from ilk.evaluation.report import WORST
from ilk.evaluation.thumbnails import as_data_uri
from ilk.inference import Classifier, as_pictures
from ilk.inference.explain import Explainer, overlay
from ilk.models.bundle import Bundle
from ilk.text import join_limited

if TYPE_CHECKING:
    from PIL.Image import Image

LOT = 8  # pictures


def explained_mistakes(classifier: Classifier, evaluation: Evaluation) -> dict[str, str]:
    """Return the surest mistakes, by path, with what spoke for the answer, as data URIs."""
    if classifier.exported or evaluation.mistakes is None:
        return {}
    found = evaluation.mistakes.all[:WORST]
    pictures = [m.picture for m in found]
    shown = explain(classifier, pictures, [m.predicted for m in found]) if found else ()
    return {pictures[row].path: as_data_uri(image) for row, image in shown}


def explain(
    classifier: Classifier,
    pictures: Any,
    labels: Sequence[str],
    *,
    workers: int | None = None,
) -> Iterator[tuple[int, Image]]:
    """Return pictures with warm colours where they speak most for a label.

    Parameters
    ----------
    classifier : Classifier
        Loaded from a file.
    pictures : path, folder, array, PIL image, bytes, or a list of them
    labels : sequence of str
        Classes of the model: for each picture the one that is to be explained.
    workers : int, optional
        Decoding threads.

    Returns
    -------
    iterator of (int, PIL.Image.Image)
        The row of each picture, and the picture as the network sees it with what speaks for the
        label over it; those that cannot be read are passed over.

    Raises
    ------
    UsageError
        A label is no class of the model, or they are not as many as the pictures.

    Notes
    -----
    By Grad-CAM or, where a network has no feature map, SmoothGrad: see `ilk.inference.explain`.
    """
    found = as_pictures(pictures)
    if isinstance(labels, str) or len(labels) != len(found):
        raise UsageError(f"{len(found):,} pictures take as many labels, in a list.")
    index = {name: k for k, name in enumerate(classifier.classes)}
    strange = sorted({str(label) for label in labels if label not in index})
    if strange:
        raise UsageError(
            f"The model has no class {join_limited(strange)}; it has "
            f"{join_limited(classifier.classes)}."
        )
    bundle = Bundle.load(classifier.weights_file())
    stream = Stream(found, classifier.spec.preprocess, batch=LOT, workers=workers)
    return _explained(Explainer(bundle), stream, [index[label] for label in labels])


def _explained(
    explainer: Explainer, stream: Stream, answers: list[int]
) -> Iterator[tuple[int, Image]]:
    for chunk in stream:
        if not chunk.indices:
            continue
        heat = explainer.heatmaps(chunk.pixels, [answers[i] for i in chunk.indices])
        for row, pixels, warm in zip(chunk.indices, chunk.pixels, heat, strict=True):
            yield row, overlay(pixels, warm)
