"""Held-out: which pictures a model is scored on; by default none that it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from ilk.data.catalog import Catalog, Picture
from ilk.data.split import evaluation_split
from ilk.errors import DataError, UsageError
from ilk.inference.records import SplitLookup
from ilk.spec import SPLITS

log = logging.getLogger("ilk")


def evaluation_pictures(
    catalog: Catalog, split_of: SplitLookup, split: str | None, workers: int | None
) -> tuple[Catalog, str | None, str]:
    """Return the pictures to score, the name of their split (None: several), and both in words.

    Parameters
    ----------
    split_of : callable
        Maps a picture's digest to its split in the training, or None.
    split : {"train", "val", "test", "all"}, optional
        What was asked for.
    workers : int, optional
        Threads that read files.

    Raises
    ------
    UsageError
        There is no split of that name.
    DataError
        The data has no pictures of that split.
    """
    if split not in {None, "all", *SPLITS}:
        raise UsageError(f"No split '{split}'; give one of train, val, test, all.")
    if split == "all":
        catalog = catalog.digested(workers)
        _warn_of_training_pictures(catalog.pictures, split_of)
        return catalog, None, "all pictures"
    splits = catalog.splits
    if splits in {(), ("train",)}:  # which ilk split itself for the training
        catalog = catalog.digested(workers)
        pictures, chosen = _held_out(catalog, split_of, split)
    else:
        chosen = split or evaluation_split(catalog) or "train"
        catalog = replace(catalog, pictures=catalog.of(chosen)).digested(workers)
        pictures = catalog.pictures
    if not pictures:
        raise DataError(
            f"{catalog.source} has no pictures of the split '{chosen}'; its own splits: "
            f"{', '.join(splits) or 'none'}. Give another --split, or --split all."
        )
    _warn_of_training_pictures(pictures, split_of)
    left_out = tuple(x for x in catalog.left_out if x.split in {chosen, None})
    words = f"the {chosen} split"
    if chosen is None:
        words = "all pictures"
        if len(pictures) < len(catalog):
            words = f"the {len(pictures):,} of {len(catalog):,} that were not in the training"
    return replace(catalog, pictures=pictures, left_out=left_out), chosen, words


def _warn_of_training_pictures(pictures: Sequence[Picture], split_of: SplitLookup) -> None:
    number = sum(split_of(p.digest) == "train" for p in pictures)
    if number:
        log.warning(
            "The model was trained on %s of these %s pictures: the score is optimistic.",
            f"{number:,}", f"{len(pictures):,}"
        )  # fmt: skip


def _held_out(
    catalog: Catalog, split_of: SplitLookup, split: str | None
) -> tuple[tuple[Picture, ...], str | None]:
    """Return the pictures that the model was not trained on, and their split if it is only one.

    If it was trained on all of them, return all.
    """
    splits = [split_of(p.digest) for p in catalog.pictures]
    new = splits.count(None)
    wanted: set[str | None]
    if split:
        wanted = {split}
    elif new:
        # With a test split, val was used to choose the model.
        wanted = {None, "test"} if "test" in splits else {None, "val", "test"}
        if "train" in splits:
            log.warning(
                "Left out %s pictures that were in the training.", f"{splits.count('train'):,}"
            )
    else:
        wanted = {next((name for name in ("test", "val") if name in splits), "train")}
    pictures = tuple(p for p, name in zip(catalog.pictures, splits, strict=True) if name in wanted)
    return pictures, split or (None if new else wanted.pop())
