"""Prepare data: open it, read every picture once, warn of what is wrong, and assign splits."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ilk.data.catalog import Catalog
from ilk.data.class_names import settled
from ilk.data.groups import with_groups
from ilk.data.inspection.cleared import read_cleared
from ilk.data.inspection.copies import count_redundant, with_copies
from ilk.data.inspection.inspect import inspect
from ilk.data.inspection.near import near_pairs
from ilk.data.sources import open_catalog
from ilk.data.split import checked, ensure_splits
from ilk.errors import DataError, UsageError
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.spec import SPLITS, channels_of
from ilk.text import escaped, join_limited, pluralize
from ilk.training.leakage import without_leaks
from ilk.training.pixel_range import say_channels, with_range

log = logging.getLogger("ilk")
FEW_PICTURES = 5  # of a class


def prepare_data(
    data: Any, recipe: Recipe, changes: Mapping[str, Any], progress: Progress = silent
) -> Catalog:
    """Open the data, read every picture once, and assign splits; copies and groups share a split.

    Raises
    ------
    DataError
        Too many files cannot be read, there are no labels, a class is too small to split, or more
        than 1 % of a split depend on pictures in another of the data's own splits.
    UsageError
        ``changes`` ask for a share that cannot be held out, as the data has splits of its own.
    """
    catalog = settled(open_catalog(data, recipe.columns).labelled(), recipe.merge_alike)
    inspection = inspect(
        catalog,
        recipe.workers,
        progress,
        pixel_range=recipe.range,
        channels=channels_of(recipe.channels),
    )
    inspection.catalog.refuse_unreadable(recipe.max_unreadable)
    say_channels(inspection, recipe.channels)
    _refuse_unused_shares(inspection.catalog, recipe, changes)
    cleared = read_cleared(recipe.not_copies, {p.absolute for p in inspection.catalog.pictures})
    pairs = near_pairs(inspection, recipe.workers, progress, cleared)
    catalog = with_copies(with_groups(inspection.catalog, recipe.group_by), pairs)
    catalog = without_leaks(catalog, recipe.allow_leakage)
    split = ensure_splits(
        catalog,
        val_share=recipe.val_share,
        test_share=recipe.test_share,
        seed=recipe.seed,
    )
    return with_range(split, inspection, recipe)


def data_warnings(catalog: Catalog) -> list[str]:
    """Return what the cheap checks find wrong with a digested catalog, a line each."""
    labels: dict[str, set[str]] = defaultdict(set)
    for picture in catalog.pictures:
        labels[picture.digest].add(picture.label or "")
    conflicting = sum(len(names) > 1 for names in labels.values())
    few = [f"{name} ({n})" for name, n in sorted(catalog.counts().items()) if n < FEW_PICTURES]
    copies = count_redundant(catalog)
    warnings = []
    if conflicting:
        verb = "has" if conflicting == 1 else "have"
        warnings.append(
            f"{pluralize(conflicting, 'picture')} {verb} more than one label "
            "('ilk check' lists them)"
        )
    if few:
        warnings.append(
            f"Very few pictures of {join_limited(few)}: expect poor results for these classes"
        )
    if copies:
        what = "is a copy or near copy" if copies == 1 else "are copies or near copies"
        warnings.append(f"{pluralize(copies, 'picture')} {what} of others ('ilk check' lists them)")
    return warnings


def drop_unreadable(catalog: Catalog, errors: Mapping[int, str], limit: float) -> Catalog:
    """Return the catalog without the pictures that could not be decoded, given by index.

    Raises
    ------
    DataError
        They are more than ``limit``, as a share, or leave a class without training pictures.
    """
    rest = catalog.without({catalog.pictures[i].path: reason for i, reason in errors.items()})
    rest.refuse_unreadable(limit)
    lost = [label for label in catalog.classes if label not in rest.classes]
    if lost:
        first = next(x for x in rest.left_out if x.label in lost)
        raise DataError(
            f"None of the pictures of the class {join_limited(lost)} can be decoded; the first, "
            f"{escaped(first.path)}, {first.reason}. Repair them, or remove the class."
        )
    return checked(rest)


def _refuse_unused_shares(catalog: Catalog, recipe: Recipe, changes: Mapping[str, Any]) -> None:
    """Refuse shares that were asked for but cannot be held out, as the data has its own splits."""
    if len(catalog.splits) <= 1:
        return
    # The loop holds out a share of train to choose by, unless there is a val split beside test.
    holds_out_val = recipe.uses_loop and catalog.splits != SPLITS
    for key in ("val_share", "test_share"):
        if key in changes and not (key == "val_share" and holds_out_val):
            raise UsageError(
                f"--{key.replace('_', '-')} does not apply: {catalog.source} has splits of its own "
                f"({', '.join(catalog.splits)})."
            )
