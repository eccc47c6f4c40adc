"""Compare: which of two models is better on the same pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

from ilk.data.groups import with_groups
from ilk.data.inspection.copies import find_copies
from ilk.errors import DataError, UsageError
from ilk.evaluation.comparison import PairwiseComparison, compare_evaluations
from ilk.evaluation.evaluate import Runner, labelled_for, trained_groups
from ilk.evaluation.held_out import evaluation_pictures
from ilk.inference.classifier import Classifier, load
from ilk.inference.records import SplitLookup
from ilk.library_warnings import quiet_libraries
from ilk.progress import ProgressOption, progress_of
from ilk.spec import SPLITS
from ilk.text import join_limited


@quiet_libraries()
def compare(
    a: Classifier | str | PathLike[str],
    b: Classifier | str | PathLike[str],
    data: Any,
    *,
    split: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    group_by: str | None = None,
    max_unreadable: float = 0.05,
    batch: int = 32,
    workers: int | None = None,
    progress: ProgressOption = None,
) -> PairwiseComparison:
    """Score two classifiers on the same pictures, and test which is better.

    Parameters
    ----------
    a, b : Classifier, str or Path
        Two models of the same classes.
    data : str, Path, Catalog, or tuple (images, labels)
        Labelled pictures; see `ilk.open_catalog`.
    split : {"train", "val", "test", "all"}, optional
        Which pictures; by default those that were held out from both trainings.
    columns, group_by, max_unreadable, batch, workers, progress
        As for `ilk.evaluate`.

    Returns
    -------
    PairwiseComparison
        Its ``str`` is the verdict in a sentence.

    Raises
    ------
    UsageError
        The two do not have the same classes.
    DataError
        No picture was held out from both.
    """
    first, second = (m if isinstance(m, Classifier) else load(m) for m in (a, b))
    _refuse_other_classes(first, second)
    split_of = _split_in_either(first, second)
    catalog, chosen, words = evaluation_pictures(
        labelled_for(first, data, columns), split_of, split, workers
    )
    if split is None:
        pictures = tuple(p for p in catalog.pictures if split_of(p.digest) != "train")
        if not pictures:
            raise DataError(
                f"Each picture of {catalog.source} was in the training of one of the two. Give "
                "pictures that are new to both, or --split all."
            )
        if len(pictures) < len(catalog.pictures):
            words = f"{len(pictures):,} pictures of {words} that are new to both"
        catalog = replace(catalog, pictures=pictures)
    catalog = with_groups(catalog, group_by or trained_groups(first, catalog))
    catalog = find_copies(catalog, workers, progress_of(progress))
    return compare_evaluations(
        *(
            Runner(model, batch, workers, progress_of(progress)).score(
                catalog, split=chosen, scored_on=words, max_unreadable=max_unreadable
            )
            for model in (first, second)
        )
    )


def _split_in_either(a: Classifier, b: Classifier) -> SplitLookup:
    """Return a lookup of the split that a picture had in either training; train takes priority."""

    def split_of(digest: str) -> str | None:
        splits = {a.records.split_of(digest), b.records.split_of(digest)}
        return next((name for name in SPLITS if name in splits), None)

    return split_of


def _refuse_other_classes(a: Classifier, b: Classifier) -> None:
    only = {"A": set(a.classes) - set(b.classes), "B": set(b.classes) - set(a.classes)}
    parts = [
        f"only {name} knows {join_limited(sorted(classes))}"
        for name, classes in only.items()
        if classes
    ]
    if parts:
        raise UsageError(
            f"The two models do not have the same classes: {'; '.join(parts)}. Compare models of "
            "the same classes."
        )
