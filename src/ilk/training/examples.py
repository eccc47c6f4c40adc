"""Examples: the pictures that a training learns from and chooses by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ilk.arrays import Indices, Targets
from ilk.data.catalog import Catalog
from ilk.data.split import evaluation_split, roles
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.spec import Preprocess
from ilk.training.distributed import ALONE, World
from ilk.training.order import deal
from ilk.training.pixels import Cache, PixelSource, open_pixels, pick_cache
from ilk.training.trained import less_unreadable


@dataclass(frozen=True)
class Examples:
    """Pictures, pixels and classes by row, and which rows are for what.

    Attributes
    ----------
    catalog : Catalog
    source : PixelSource
    targets : int64 array [N]
        The class of each picture.
    train : int64 array
        Indices to learn from.
    val : int64 array
        Indices to choose by; none means that the last epoch is kept.
    reported : int64 array
        Indices that scores are reported on, in the catalog's order.
    classes : tuple of str
    """

    catalog: Catalog
    source: PixelSource
    targets: Targets
    train: Indices
    val: Indices
    reported: Indices
    classes: tuple[str, ...]

    def lots(self, recipe: Recipe, epoch: int) -> list[Indices]:
        """Return the rows of each step of an epoch."""
        return deal(
            self.train,
            self.targets,
            batch=recipe.batch * recipe.accumulate,
            sampling=recipe.sampling,
            seed=recipe.seed,
            epoch=epoch,
        )

    def less_unreadable(self, limit: float, world: World = ALONE) -> Catalog:
        """Return the catalog less the pictures that could not be decoded, as far as is known.

        Pictures that are not kept are known only once each has been read, in some process.

        Raises
        ------
        DataError
            They are too many; see `ilk.training.trained.less_unreadable`.
        """
        return less_unreadable(self.catalog, world.merged(self.source.errors), limit)


def read_examples(
    catalog: Catalog,
    preprocess: Preprocess,
    recipe: Recipe,
    progress: Progress = silent,
    world: World = ALONE,
) -> Examples:
    """Decode the pictures of a digested catalog, and deal them out.

    Raises
    ------
    DataError
        Too many pictures cannot be decoded.
    """
    source = open_pixels(
        catalog.pictures,
        preprocess,
        cache=_cache(len(catalog), preprocess, recipe, world),
        workers=recipe.workers,
        progress=progress,
    )
    index = {label: k for k, label in enumerate(catalog.classes)}
    role = roles(catalog, recipe.val_share, recipe.seed)
    split = evaluation_split(catalog)
    examples = Examples(
        catalog,
        source,
        np.array([index[str(p.label)] for p in catalog.pictures]),
        train=_rows(i for i, part in enumerate(role) if part == "train"),
        val=_rows(i for i, part in enumerate(role) if part == "val"),
        reported=_rows(i for i, p in enumerate(catalog.pictures) if split and p.split == split),
        classes=catalog.classes,
    )
    examples.less_unreadable(recipe.max_unreadable)
    return examples


def _cache(pictures: int, preprocess: Preprocess, recipe: Recipe, world: World) -> Cache:
    """Return where pixels are kept: in all processes alike, though each sees other room free."""
    if recipe.cache != "auto":
        return recipe.cache
    return world.share(pick_cache(pictures, preprocess.imgsz, world.local_size))


def _rows(rows: Iterable[int]) -> Indices:
    return np.fromiter(rows, np.int64)
