"""Dealing: data is opened and looked at, and each picture gets a split, before a training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ilk.data.catalog import Catalog, LeftOut
from ilk.data.inspection.copies import grouped, leaks
from ilk.data.inspection.inspect import inspect
from ilk.data.inspection.near import near_pairs
from ilk.data.sources import open_catalog
from ilk.data.split import ensure_splits
from ilk.errors import DataError, UsageError
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.spec import SPLITS
from ilk.text import escaped

log = logging.getLogger("ilk")


def dealt(
    data: Any, recipe: Recipe, changes: Mapping[str, Any], progress: Progress = silent
) -> Catalog:
    """Open the data, look at every picture, and give each a split; copies share one.

    Raises
    ------
    DataError
        Too many files cannot be read, the pictures cannot be dealt out, or some lie in more than
        one of the data's own splits.
    UsageError
        A flag in ``changes`` asks for a share where nothing is dealt out.
    """
    inspection = inspect(_labelled(open_catalog(data)), recipe.workers, progress)
    inspection.catalog.refuse_unreadable(recipe.max_unreadable)
    _refuse_idle_shares(inspection.catalog, recipe, changes)
    pairs = near_pairs(inspection, workers=recipe.workers, progress=progress)
    catalog = grouped(inspection.catalog, pairs)
    if len(catalog.splits) > 1:
        _refuse_leakage(catalog, recipe)
    return ensure_splits(
        catalog,
        val_share=recipe.val_share,
        test_share=recipe.test_share,
        seed=recipe.seed,
    )


def _labelled(catalog: Catalog) -> Catalog:
    """Leave pictures without a label out: nothing can be learned from them."""
    bare = [p for p in catalog.pictures if p.label is None]
    if not bare:
        return catalog
    gone = (LeftOut(p.path, "has no label", None, p.split, False, "file.unlabelled") for p in bare)
    return replace(
        catalog,
        pictures=tuple(p for p in catalog.pictures if p.label is not None),
        left_out=(*catalog.left_out, *gone),
    )


def _refuse_leakage(catalog: Catalog, recipe: Recipe) -> None:
    found = leaks(catalog)
    if not found:
        return
    one, *others = found[0]
    other = next(p for p in others if p.split != one.split)
    near = " nearly" * (one.digest != other.digest)
    several = len(found) > 1
    what = (
        f"{len(found):,} picture{'s' * several} of {catalog.source} lie{'s' * (not several)} in "
        f"more than one split{', the first' * several}: {escaped(one.path)} in {one.split} "
        f"is{near} the same as {escaped(other.path)} in {other.split}"
    )
    if recipe.allow_leakage:
        log.warning("%s. The score flatters the model.", what)
        return
    raise DataError(
        f"{what}. A score would be worth nothing. 'ilk check' names them all, and its --quarantine "
        "DIR --kinds leakage moves the copies away; --allow-leakage trains all the same."
    )


def _refuse_idle_shares(catalog: Catalog, recipe: Recipe, changes: Mapping[str, Any]) -> None:
    """Refuse shares asked for by name where the data's own splits leave nothing to deal out."""
    if len(catalog.splits) <= 1:
        return
    # The loop holds a share of train out to choose by, unless there is a val split beside test.
    chooses = recipe.mode != "probe" and catalog.splits != SPLITS
    for key in ("val_share", "test_share"):
        if key in changes and not (key == "val_share" and chooses):
            raise UsageError(
                f"--{key.replace('_', '-')} does not apply: {catalog.source} has splits of its own "
                f"({', '.join(catalog.splits)})."
            )
