"""Evaluate: score a trained model on labelled pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.data.catalog import Picture
from ilk.data.sources import open_catalog
from ilk.data.stream import decoded
from ilk.errors import DataError, UsageError
from ilk.evaluation.columns import column, refuse_unknown_columns, worth_showing
from ilk.evaluation.corruptions import Corruptions, under_corruptions
from ilk.evaluation.held_out import evaluation_pictures
from ilk.evaluation.metrics import Evaluation
from ilk.evaluation.scored import scored
from ilk.evaluation.slices import all_sliced
from ilk.evaluation.unknown import Alarms, alarms
from ilk.inference import Classifier, as_pictures, gathered
from ilk.inference.loading import load
from ilk.runtime import Progress, silent
from ilk.text import escaped


def evaluate(
    model: Classifier | str | PathLike[str],
    data: Any,
    *,
    split: str | None = None,
    slices: Sequence[str] = (),
    unknown: Any = None,
    corruptions: int = 0,
    max_unreadable: float = 0.05,
    batch: int = 32,
    workers: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Score a classifier on labelled pictures; classes are matched by name.

    Parameters
    ----------
    model : Classifier, str or Path
    data : str, Path, Catalog, or tuple (images, labels)
    split : {"train", "val", "test", "all"}, optional
        Which pictures. By default those that were held out: the test split, else val. Of data
        without splits of its own, those that the training did not learn from, known by content.
    slices : sequence of str
        Columns to take the accuracy apart by: of the table, or size, shape, format, camera, day,
        folder. A table's columns of up to 20 values are taken unasked.
    unknown : folder or data, optional
        Pictures of something else entirely, to see whether the model tells them. A folder may hold
        them as it likes.
    corruptions : int
        How many of the pictures to corrupt in 15 ways, at 5 severities each; 0: none.
    max_unreadable : float
        Stop if more than this share of files cannot be read.
    batch, workers : int
        Pictures in a batch, and decoding threads.
    progress : Progress
        Shows how far the work has come; default: nothing. See `ilk.runtime.silent`.

    Raises
    ------
    DataError
        The data has no such split, or no class that the model knows.
    """
    classifier = model if isinstance(model, Classifier) else load(model)
    strangers = () if unknown is None else _strangers(classifier, unknown)
    if corruptions < 0:
        raise UsageError(f"corruptions = {corruptions}: give a number of pictures, or 0 for none.")
    catalog = open_catalog(data)
    refuse_unknown_columns(catalog.pictures, slices)
    catalog, chosen, scored_on = evaluation_pictures(
        catalog, classifier.records.seen, split, workers
    )
    with progress("scoring pictures", len(catalog)) as tick:
        parts = []
        for part in classifier.stream(catalog.pictures, batch=batch, workers=workers):
            parts.append(part)
            tick(len(part))
    predictions = gathered(parts, classifier.classes)
    rest = catalog.without({predictions.paths[i]: why for i, why in predictions.errors.items()})
    rest.refuse_unreadable(max_unreadable)
    kept = [i for i in range(len(predictions)) if i not in predictions.errors]
    evaluation = scored(
        rest.pictures,
        predictions.probabilities[kept],
        predictions.novelty[kept],
        classifier.spec,
        classifier.records,
        model=classifier.source,
        data=catalog.source,
        split=chosen,
        scored_on=scored_on,
        left_out=rest.left_out,
    )
    assert evaluation is not None  # else there was nothing to read, which is refused above
    if unknown is not None:
        alarms = _alarms(classifier, evaluation, strangers, batch, workers, progress)
        evaluation = replace(evaluation, alarms=alarms)
    if corruptions:
        found = _corrupted(classifier, evaluation, corruptions, batch, workers, progress)
        evaluation = replace(evaluation, corruptions=found)
    names = dict.fromkeys([*worth_showing(evaluation.pictures), *slices])
    columns = {name: column(evaluation.pictures, name) for name in names}
    return replace(evaluation, slices=all_sliced(columns, evaluation.right))


def _strangers(classifier: Classifier, unknown: Any) -> Sequence[Picture]:
    """Return pictures of something else: those of a folder, at any depth, or of other data."""
    if classifier.spec.novelty is None:
        raise UsageError(
            f"{classifier.source} cannot tell unknown pictures: too few were held out when it was "
            "trained. Train it again, with more pictures."
        )
    is_folder = isinstance(unknown, str | PathLike) and Path(unknown).is_dir()
    found = as_pictures(unknown) if is_folder else open_catalog(unknown).pictures
    if not found:
        raise DataError(f"There are no pictures in {escaped(str(unknown))}, given as --unknown.")
    return found


def _alarms(
    classifier: Classifier,
    evaluation: Evaluation,
    strange: Sequence[Picture],
    batch: int,
    workers: int | None,
    progress: Progress,
) -> Alarms:
    """See whether strange pictures are told from those of the classes."""
    assert classifier.spec.novelty is not None
    parts = []
    with progress("looking at strange pictures", len(strange)) as tick:
        for part in classifier.stream(strange, batch=batch, workers=workers):
            parts.append(part.novelty[[i for i in range(len(part)) if i not in part.errors]])
            tick(len(part))
    novelty = np.concatenate(parts)
    if not len(novelty):
        raise DataError("None of the pictures given as --unknown can be read.")
    return alarms(evaluation.novelty, classifier.spec.novelty.threshold, novelty)


def _corrupted(
    classifier: Classifier,
    evaluation: Evaluation,
    number: int,
    batch: int,
    workers: int | None,
    progress: Progress,
) -> Corruptions:
    """Score a sample of the pictures under each corruption."""
    order = np.random.default_rng(0).permutation(len(evaluation.pictures))[:number]
    pictures = [evaluation.pictures[i] for i in order]
    pixels, readable = decoded(pictures, classifier.spec.preprocess, workers=workers)
    rows = order[readable]

    def logits_of(some: Pixels) -> Floats:
        lots = [some[i : i + batch] for i in range(0, len(some), batch)]
        return np.concatenate([classifier.engine.run(lot).logits for lot in lots])

    return under_corruptions(logits_of, pixels, evaluation.targets[rows], progress)
