"""Explain: show which parts of pictures a prediction is based on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilk.data.catalog import Picture
from ilk.data.inputs import pictures_of
from ilk.data.stream import Stream
from ilk.errors import UsageError
from ilk.evaluation.mistakes import MAX_IN_REPORT
from ilk.evaluation.result import Evaluation
from ilk.evaluation.thumbnails import as_data_uri
from ilk.folder import readable_errors
from ilk.inference.classifier import Classifier
from ilk.inference.explain import Explainer, overlay
from ilk.library_warnings import quiet_libraries
from ilk.models.bundle import Bundle
from ilk.progress import ProgressOption, progress_of
from ilk.spec import Preprocess
from ilk.text import join_limited

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 8


@quiet_libraries()
def explain(
    classifier: Classifier,
    pictures: Any,
    labels: Sequence[str],
    *,
    workers: int | None = None,
) -> Iterator[tuple[int, Image]]:
    """Return pictures with a heat map of the regions that support a label.

    Parameters
    ----------
    classifier : Classifier
        Loaded from a ``model.safetensors``.
    pictures : path, folder, array, PIL image, bytes, or a list of them
        As for `Classifier.predict`.
    labels : sequence of str
        The class to explain for each picture.
    workers : int, optional
        The number of decoding threads; default: one per core.

    Returns
    -------
    iterator of (int, PIL.Image.Image)
        The index of each picture, and the picture as the network sees it with the heat map on it.
        Unreadable pictures are skipped.

    Raises
    ------
    UsageError
        A label is not a class of the model, or there is not one for each picture.

    Notes
    -----
    By Grad-CAM or, where a network has no feature map, SmoothGrad: see `ilk.inference.explain`.
    """
    found = pictures_of(pictures)
    if isinstance(labels, str) or len(labels) != len(found):
        raise UsageError(f"Give a list of {len(found):,} labels, one for each picture.")
    index = {name: k for k, name in enumerate(classifier.classes)}
    other = sorted({str(label) for label in labels if label not in index})
    if other:
        raise UsageError(
            f"The model has no class {join_limited(other)}; it has "
            f"{join_limited(classifier.classes)}."
        )
    bundle = Bundle.load(classifier.weights_file())
    targets = [index[label] for label in labels]
    return _explained(Explainer(bundle), found, targets, classifier.spec.preprocess, workers)


def _explained(
    explainer: Explainer,
    pictures: Sequence[Picture],
    targets: Sequence[int],
    preprocess: Preprocess,
    workers: int | None,
) -> Iterator[tuple[int, Image]]:
    with Stream(pictures, preprocess, batch=BATCH, workers=workers) as stream:
        for chunk in stream:
            if not chunk.indices:
                continue
            heatmaps = explainer.heatmaps(chunk.pixels, [targets[i] for i in chunk.indices])
            for i, pixels, heatmap in zip(chunk.indices, chunk.pixels, heatmaps, strict=True):
                yield i, overlay(pixels, heatmap)


@quiet_libraries()
def save_explanations(
    classifier: Classifier,
    pictures: Any,
    labels: Sequence[str],
    folder: str | PathLike[str],
    *,
    workers: int | None = None,
    progress: ProgressOption = None,
) -> list[Path]:
    """Write what `explain` returns to a folder, as ``NAME-LABEL.jpg``.

    Parameters
    ----------
    classifier, pictures, labels, workers
        As for `explain`.
    folder : str or Path
        Made if it does not exist.
    progress : bool or Progress, optional
        Whether to show progress on stderr. Default: bars, in terminals and notebooks only. True:
        elsewhere lines, every few seconds.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    pictures, folder = pictures_of(pictures), Path(folder)
    with readable_errors(folder, "--explain"):
        folder.mkdir(parents=True, exist_ok=True)
    written: dict[Path, None] = {}  # in order
    with progress_of(progress)("explaining", len(pictures)) as tick:
        for i, image in explain(classifier, pictures, labels, workers=workers):
            label = "".join(c if c.isalnum() or c in "._-" else "_" for c in labels[i])
            stem, number = f"{Path(pictures[i].path).stem}-{label}", 1
            while (file := folder / f"{stem}{f'-{number}' * (number > 1)}.jpg") in written:
                number += 1
            with readable_errors(folder, "--explain"):
                image.save(file, quality=90)
            written[file] = None
            tick(1)
    return list(written)


def explained_mistakes(
    classifier: Classifier, evaluation: Evaluation, workers: int | None = None
) -> dict[str, str]:
    """Return the most confident mistakes, by path, with heat maps, as data URIs."""
    found = evaluation.mistakes.all[:MAX_IN_REPORT]
    if classifier.exported or not found:
        return {}
    pictures = [m.picture for m in found]
    images = explain(classifier, pictures, [m.predicted for m in found], workers=workers)
    return {pictures[i].path: as_data_uri(image) for i, image in images}
