"""Examples: the pictures that a training learns from and chooses by, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ilk.arrays import Indices, Pixels, Targets
from ilk.data.catalog import Catalog, class_indices
from ilk.data.split import evaluation_split, roles
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.spec import Preprocess
from ilk.training.distributed import SINGLE_PROCESS, World
from ilk.training.pixels import Cache, PixelSource, open_pixels, pick_cache
from ilk.training.prepare_data import drop_unreadable
from ilk.training.randomness import numpy_generator


class Batch(NamedTuple):
    """The pictures of one training step, as far as they could be decoded.

    Attributes
    ----------
    pixels : uint8 array [N, H, W, 3]
    indices : int64 array [N]
    targets : int64 array [N]
    total : int
        Pictures of the step in all processes, undecodable ones included.
    """

    pixels: Pixels
    indices: Indices
    targets: Targets
    total: int


@dataclass(frozen=True)
class Examples:
    """Pixels and classes of all pictures, and which pictures serve which purpose.

    Attributes
    ----------
    targets : int64 array [N]
        The class of each picture.
    train : int64 array
        Indices to learn from.
    val : int64 array
        Indices to choose the best epoch by; if empty, the last epoch is kept.
    evaluated : int64 array
        Indices that scores are reported on, in the catalog's order.
    """

    catalog: Catalog
    source: PixelSource
    targets: Targets
    train: Indices
    val: Indices
    evaluated: Indices
    classes: tuple[str, ...]

    def epoch_batches(self, recipe: Recipe, epoch: int) -> list[Indices]:
        """Divide the training pictures into the steps of an epoch.

        It is a function of the recipe's seed and the epoch alone. The steps are of equal size: in a
        last batch of few pictures each would count for many, and batch norms would estimate poorly.
        44 pictures make two batches of 22, not of 32 and 12.
        """
        rng = numpy_generator(recipe.seed, "order", epoch)
        if recipe.sampling == "balanced":  # with replacement, every class equally often
            classes = self.targets[self.train]
            weights = 1 / np.bincount(classes)[classes]
            order = rng.choice(self.train, len(self.train), p=weights / weights.sum())
        else:
            order = rng.permutation(self.train)
        steps = steps_in_epoch(len(order), recipe.batch * recipe.accumulate)
        return np.array_split(order, steps)

    def load(self, batches: Sequence[Indices], world: World = SINGLE_PROCESS) -> Iterator[Batch]:
        """Yield this process's share of each batch."""
        loaded = self.source.batches([world.shard(indices) for indices in batches])
        for indices, (pixels, read) in zip(batches, loaded, strict=True):
            yield Batch(pixels, read, self.targets[read], len(indices))

    def readable_catalog(self, limit: float, world: World = SINGLE_PROCESS) -> Catalog:
        """Return the catalog without the pictures known so far not to be decodable.

        Pictures that are not cached are known only once some process has read each of them.

        Raises
        ------
        DataError
            There are too many; see `ilk.training.prepare_data.drop_unreadable`.
        """
        return drop_unreadable(self.catalog, world.all_gather(self.source.errors), limit)


def steps_in_epoch(pictures: int, batch: int) -> int:
    """Return how many batches an epoch takes."""
    return max(1, -(-pictures // batch))


def read_examples(
    catalog: Catalog,
    preprocess: Preprocess,
    recipe: Recipe,
    progress: Progress = silent,
    world: World = SINGLE_PROCESS,
) -> Examples:
    """Decode the pictures of a digested catalog, and divide them by purpose.

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
    role = roles(catalog, recipe.val_share, recipe.seed)
    split = evaluation_split(catalog)
    examples = Examples(
        catalog,
        source,
        class_indices(catalog.pictures, catalog.classes),
        train=_indices(i for i, part in enumerate(role) if part == "train"),
        val=_indices(i for i, part in enumerate(role) if part == "val"),
        evaluated=_indices(i for i, p in enumerate(catalog.pictures) if split and p.split == split),
        classes=catalog.classes,
    )
    examples.readable_catalog(recipe.max_unreadable)
    return examples


def _cache(pictures: int, preprocess: Preprocess, recipe: Recipe, world: World) -> Cache:
    """Choose where pixels are cached: the same in all processes, whatever each finds free."""
    if recipe.cache != "auto":
        return recipe.cache
    return world.broadcast(lambda: pick_cache(pictures, preprocess.imgsz, world.local_size))


def _indices(values: Iterable[int]) -> Indices:
    return np.fromiter(values, np.int64)
