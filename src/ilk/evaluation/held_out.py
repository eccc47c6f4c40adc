"""Choosing: which pictures a model is scored on; never those that it learned from, unasked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from ilk.data.catalog import Catalog, Picture
from ilk.data.split import evaluation_split
from ilk.errors import DataError, UsageError
from ilk.inference import Seen
from ilk.spec import SPLITS

log = logging.getLogger("ilk")


def evaluation_pictures(
    catalog: Catalog, seen: Seen, split: str | None, workers: int | None
) -> tuple[Catalog, str | None, str]:
    """Return the pictures to score, the name of their split (None: several), and both in words."""
    if split not in {None, "all", *SPLITS}:
        raise UsageError(f"No split '{split}'; give one of train, val, test, all.")
    if split == "all":
        _warn_of_learned(catalog.digested(workers).pictures, seen)
        return catalog, None, "all pictures"
    splits = catalog.splits
    if splits in {(), ("train",)}:  # which a training deals out
        catalog = catalog.digested(workers)
        pictures, chosen = _not_learned(catalog, seen, split)
    else:
        chosen = split or evaluation_split(catalog) or "train"
        catalog = replace(catalog, pictures=catalog.of(chosen)).digested(workers)
        pictures = catalog.pictures
    if not pictures:
        raise DataError(
            f"{catalog.source} has no pictures of the split '{chosen}'; its own splits: "
            f"{', '.join(splits) or 'none'}. Give another --split, or --split all."
        )
    _warn_of_learned(pictures, seen)
    gone = tuple(x for x in catalog.left_out if x.split in {chosen, None})
    words = f"the {chosen} split"
    if chosen is None:
        words = "all pictures"
        if len(pictures) < len(catalog):
            words = f"the {len(pictures):,} of {len(catalog):,} that were not in the training"
    return replace(catalog, pictures=pictures, left_out=gone), chosen, words


def _warn_of_learned(pictures: Sequence[Picture], seen: Seen) -> None:
    learned = sum(seen(p.digest) == "train" for p in pictures)
    if learned:
        log.warning(
            "%s of these %s pictures were in the training: the score flatters the model.",
            f"{learned:,}", f"{len(pictures):,}"
        )  # fmt: skip


def _not_learned(
    catalog: Catalog, seen: Seen, split: str | None
) -> tuple[tuple[Picture, ...], str | None]:
    """Return the pictures that a training held out or never saw, and their split if it is one.

    If it learned from all of them, they are what there is.
    """
    known = [seen(p.digest) for p in catalog.pictures]
    strangers = known.count(None)
    wanted: set[str | None]
    if split:
        wanted = {split}
    elif strangers:
        # Beside a test split, val was chosen by.
        wanted = {None, "test"} if "test" in known else {None, "val", "test"}
        learned = known.count("train")
        if learned:
            log.warning("Left out %s pictures that were in the training.", f"{learned:,}")
    else:
        wanted = {next((name for name in ("test", "val") if name in known), "train")}
    pictures = tuple(p for p, name in zip(catalog.pictures, known, strict=True) if name in wanted)
    return pictures, split or (None if strangers else wanted.pop())
