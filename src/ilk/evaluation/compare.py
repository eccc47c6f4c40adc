"""Compare: say which of two models is better on the same pictures."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import Any

from ilk.data.sources import open_catalog
from ilk.errors import DataError, UsageError
from ilk.evaluation.comparison import Duel, duel
from ilk.evaluation.evaluate import evaluate
from ilk.evaluation.held_out import evaluation_pictures
from ilk.inference import Classifier, Seen
from ilk.inference.loading import load
from ilk.runtime import Progress, silent
from ilk.spec import SPLITS
from ilk.text import join_limited


def compare(
    a: Classifier | str | PathLike[str],
    b: Classifier | str | PathLike[str],
    data: Any,
    *,
    split: str | None = None,
    max_unreadable: float = 0.05,
    batch: int = 32,
    workers: int | None = None,
    progress: Progress = silent,
) -> Duel:
    """Score two classifiers on the same pictures, and say which is better.

    Parameters
    ----------
    a, b : Classifier, str or Path
    data : str, Path, Catalog, or tuple (images, labels)
    split : {"train", "val", "test", "all"}, optional
        Which pictures; by default those that were held out from both.
    max_unreadable, batch, workers, progress
        As for `evaluate`.

    Raises
    ------
    UsageError
        The two do not have the same classes.
    DataError
        No picture was held out from both.
    """
    first, second = (m if isinstance(m, Classifier) else load(m) for m in (a, b))
    _refuse_other_classes(first, second)
    seen = _seen_by(first, second)
    chosen, _, words = evaluation_pictures(open_catalog(data), seen, split, workers)
    if split is None:
        pictures = tuple(p for p in chosen.pictures if seen(p.digest) != "train")
        if not pictures:
            raise DataError(
                f"One of the two has learned from each picture of {chosen.source}. Give pictures "
                "that neither has seen, or --split all."
            )
        if len(pictures) < len(chosen.pictures):
            words = f"{len(pictures):,} pictures of {words} that neither has learned from"
        chosen = replace(chosen, pictures=pictures)
    scores = [
        evaluate(
            model,
            chosen,
            split="all",
            max_unreadable=max_unreadable,
            batch=batch,
            workers=workers,
            progress=progress,
        )
        for model in (first, second)
    ]
    return duel(*(replace(score, scored_on=words) for score in scores))


def _seen_by(a: Classifier, b: Classifier) -> Seen:
    """Tell the split that a picture was in, of either training; train counts most."""

    def seen(digest: str) -> str | None:
        splits = {a.records.seen(digest), b.records.seen(digest)}
        return next((name for name in SPLITS if name in splits), None)

    return seen


def _refuse_other_classes(a: Classifier, b: Classifier) -> None:
    only_a, only_b = (
        sorted(set(a.classes) - set(b.classes)),
        sorted(set(b.classes) - set(a.classes)),
    )
    parts = [
        f"only {name} knows {join_limited(classes)}"
        for name, classes in (("A", only_a), ("B", only_b))
        if classes
    ]
    if parts:
        raise UsageError(
            f"The two models do not have the same classes: {'; '.join(parts)}. Compare models of "
            "the same classes."
        )
