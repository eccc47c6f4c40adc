"""Evaluate: score a trained model on labelled pictures, and write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ilk.arrays import Floats, Pixels
from ilk.data.catalog import Catalog, Picture, class_indices
from ilk.data.class_names import matched
from ilk.data.columns import refuse_unknown_columns
from ilk.data.groups import groups_any, with_groups
from ilk.data.inputs import pictures_of
from ilk.data.inspection.copies import find_copies
from ilk.data.limits import pixel_limit
from ilk.data.sources import open_catalog
from ilk.data.stream import decoded
from ilk.errors import DataError, UsageError
from ilk.evaluation.corruptions import Corruptions, score_corrupted
from ilk.evaluation.explain import explained_mistakes
from ilk.evaluation.held_out import evaluation_pictures
from ilk.evaluation.result import Evaluation, match_labels, score
from ilk.evaluation.thresholds import (
    choose_threshold,
    refuse_read_only,
    store_threshold,
    with_threshold,
)
from ilk.evaluation.writing import write_evaluation
from ilk.folder import new_folder
from ilk.inference.classifier import Classifier, load
from ilk.inference.predictions import Predictions, concatenate
from ilk.library_warnings import quiet_libraries
from ilk.progress import ProgressOption, progress_of
from ilk.runtime import Progress
from ilk.text import escaped


@quiet_libraries()
def evaluate(
    model: Classifier | str | PathLike[str],
    data: Any,
    *,
    split: str | None = None,
    slices: Sequence[str] = (),
    columns: Mapping[str, str] | str | None = None,
    group_by: str | None = None,
    unknown: Any = None,
    corruptions: int = 0,
    target_precision: float | None = None,
    target_coverage: float | None = None,
    runs: str | PathLike[str] | None = None,
    name: str | None = None,
    exist_ok: bool = False,
    explain: bool = True,
    max_unreadable: float = 0.05,
    max_pixels: int | None = None,
    batch: int = 32,
    workers: int | None = None,
    progress: ProgressOption = None,
) -> Evaluation:
    """Score a classifier on labelled pictures; classes are matched by name.

    Parameters
    ----------
    model : Classifier, str or Path
        A loaded model, its file, or its run folder.
    data : str, Path, Catalog, or tuple (images, labels)
        Labelled pictures; see `ilk.open_catalog`.
    split : {"train", "val", "test", "all"}, optional
        Which pictures. By default those that were held out from the training: the test split, else
        val. For data without splits, those that the model was not trained on, known by content.
    slices : sequence of str
        Columns to slice the accuracy by: of the table, or size, shape, format, camera, day,
        folder. Columns of a table with up to 20 values are always used.
    columns : mapping or str, optional
        What a table calls its columns: see `ilk.open_catalog`.
    group_by : str, optional
        What pictures have in common that are not independent, as for `ilk.train`, so that
        intervals count groups. Default: as in the training, where the data has it.
    unknown : folder or data, optional
        Out-of-distribution pictures, to measure how well the model detects them. A folder may have
        any structure.
    corruptions : int
        How many of the pictures to score also under 15 corruptions at 5 severities.
    target_precision, target_coverage : float, optional
        Choose a threshold as `ilk.choose_threshold` does, use it, and store it in the model's file
        as `ilk.store_threshold` does.
    runs : str or Path, optional
        The folder that holds the runs. If given, ``metrics.json``, ``report.html``,
        ``predictions.csv`` and plots are written to a new folder in it.
    name : str, optional
        The name of that folder; default ``evaluate``, ``evaluate-2``, …
    exist_ok : bool
        Whether to replace what an existing run of that name holds.
    explain : bool
        Whether the report shows Grad-CAM overlays on the most confident mistakes.
    max_unreadable : float
        The largest share of files that may be unreadable.
    max_pixels : int, optional
        The most pixels of a picture; larger ones are not read.
    batch, workers : int
        The batch size, and the number of decoding threads.
    progress : bool or Progress, optional
        Whether to show progress on stderr. Default: bars, in terminals and notebooks only. True:
        elsewhere lines, every few seconds.

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        The data has no such split, no labels, or no class that the model knows.
    UsageError
        A split, a column or a combination of options is not valid.
    OutputError
        The folder exists already or cannot be written.
    """
    if corruptions < 0:
        raise UsageError(f"corruptions = {corruptions}: give a number of pictures, or 0 for none.")
    if runs is None and name is not None:
        raise UsageError(f"name = '{escaped(name)}' does not apply without runs.")
    if runs is None and exist_ok:
        raise UsageError("exist_ok does not apply without runs.")
    shown = progress_of(progress)
    classifier = model if isinstance(model, Classifier) else load(model)
    place = new_folder(Path(runs), name, exist_ok, "evaluate") if runs is not None else None
    with pixel_limit(max_pixels), place or nullcontext() as folder:
        threshold = None
        if target_precision is not None or target_coverage is not None:
            threshold = choose_threshold(
                classifier, target_precision=target_precision, target_coverage=target_coverage
            )
            refuse_read_only(classifier.weights_file())
            classifier = with_threshold(classifier, threshold)
        ood_pictures = () if unknown is None else _ood_pictures(classifier, unknown)
        catalog = labelled_for(classifier, data, columns)
        refuse_unknown_columns(catalog.pictures, slices)
        catalog, chosen, words = evaluation_pictures(
            catalog, classifier.records.split_of, split, workers
        )
        catalog = with_groups(catalog, group_by or trained_groups(classifier, catalog))
        catalog = find_copies(catalog, workers, shown)
        evaluation = Runner(classifier, batch, workers, shown).score(
            catalog,
            split=chosen,
            scored_on=words,
            max_unreadable=max_unreadable,
            slices=slices,
            ood_pictures=ood_pictures,
            corruptions=corruptions,
            folder=folder,
        )
        if folder is not None:
            overlays = explained_mistakes(classifier, evaluation, workers) if explain else {}
            write_evaluation(folder, evaluation, classifier, overlays)
        if threshold is not None:
            store_threshold(classifier.weights_file(), threshold)
    return evaluation


def labelled_for(
    classifier: Classifier, data: Any, columns: Mapping[str, str] | str | None
) -> Catalog:
    """Open labelled data; class names that hardly differ match if they were merged in training."""
    catalog = open_catalog(data, columns).labelled()
    merged = classifier.spec.provenance.get("recipe", {}).get("merge_alike")
    return matched(catalog, classifier.classes) if merged else catalog


def trained_groups(classifier: Classifier, catalog: Catalog) -> str | None:
    """Return what the training grouped pictures by, if the catalog has it too."""
    by = classifier.spec.provenance.get("recipe", {}).get("group_by")
    return by if by and groups_any(catalog.pictures, by) else None


def _ood_pictures(classifier: Classifier, unknown: Any) -> Sequence[Picture]:
    """Return out-of-distribution pictures: of a folder, at any depth, or of other data."""
    if classifier.spec.novelty is None:
        raise UsageError(
            f"{classifier.source} cannot detect unknown pictures: too few were held out from its "
            "training. Train it again with more pictures."
        )
    is_folder = isinstance(unknown, str | PathLike) and Path(unknown).is_dir()
    found = pictures_of(unknown) if is_folder else open_catalog(unknown).pictures
    if not found:
        raise DataError(f"There are no pictures in {escaped(str(unknown))}, given as --unknown.")
    return found


@dataclass(frozen=True)
class Runner:
    """A classifier and how to run it."""

    classifier: Classifier
    batch: int
    workers: int | None
    progress: Progress

    def score(
        self,
        catalog: Catalog,
        *,
        split: str | None,
        scored_on: str,
        max_unreadable: float,
        slices: Sequence[str] = (),
        ood_pictures: Sequence[Picture] = (),
        corruptions: int = 0,
        folder: Path | None = None,
    ) -> Evaluation:
        """Score all pictures of a catalog that can be read and whose class is known."""
        classifier = self.classifier
        predictions = self._predict(catalog.pictures, "scoring pictures")
        errors = predictions.errors
        rest = catalog.without({predictions.paths[i]: why for i, why in errors.items()})
        rest.refuse_unreadable(max_unreadable)
        readable = np.array([i for i in range(len(predictions)) if i not in errors])
        indices, unknown = match_labels(rest.pictures, classifier.classes)
        pictures = [rest.pictures[i] for i in indices]
        return score(
            pictures,
            predictions.probabilities[readable[indices]],
            predictions.novelty[readable[indices]],
            classifier.spec,
            classifier.records,
            model=classifier.source,
            data=catalog.source,
            split=split,
            scored_on=scored_on,
            unknown=unknown,
            left_out=rest.left_out,
            slices=slices,
            ood_novelty=self._novelty(ood_pictures) if ood_pictures else None,
            corruptions=self._corrupted(pictures, corruptions) if corruptions else None,
            folder=folder,
        )

    def _predict(self, pictures: Sequence[Picture], what: str) -> Predictions:
        parts = []
        with self.progress(what, len(pictures)) as tick:
            for part in self.classifier.stream(pictures, batch=self.batch, workers=self.workers):
                parts.append(part)
                tick(len(part))
        return concatenate(parts, self.classifier.classes)

    def _novelty(self, pictures: Sequence[Picture]) -> Floats:
        found = self._predict(pictures, "scoring unknown pictures").novelty
        readable: Floats = found[~np.isnan(found)]
        if not len(readable):
            raise DataError("None of the pictures given as --unknown can be read.")
        return readable

    def _corrupted(self, pictures: Sequence[Picture], number: int) -> Corruptions:
        """Score a random sample of the pictures under each corruption."""
        classifier = self.classifier
        order = np.random.default_rng(0).permutation(len(pictures))[:number]
        sample = [pictures[i] for i in order]
        pixels, kept = decoded(sample, classifier.spec.preprocess, workers=self.workers)
        targets = class_indices([sample[i] for i in kept], classifier.classes)

        def logits_of(changed: Pixels) -> Floats:
            starts = range(0, len(changed), self.batch)
            batches = (changed[start : start + self.batch] for start in starts)
            return np.concatenate([classifier.engine.run(pixels).logits for pixels in batches])

        return score_corrupted(logits_of, pixels, targets, self.progress)
