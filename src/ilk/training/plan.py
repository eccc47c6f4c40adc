"""Plan: check, before the work begins, that a recipe fits the data, the network and the machine."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ilk.data.catalog import Catalog
from ilk.data.split import roles
from ilk.errors import UsageError
from ilk.recipe import Recipe
from ilk.runtime import Progress, pick_device, silent
from ilk.training.cpu.precision import Precision, pick_precision
from ilk.training.distributed import SINGLE_PROCESS, World
from ilk.training.initial_weights import check_parts

log = logging.getLogger("ilk")


@dataclass(frozen=True)
class Plan:
    """What the training loop trains, and where.

    Attributes
    ----------
    recipe : Recipe
        With a batch size that the training pictures fill.
    catalog : Catalog
        Digested, every picture with a label and a split.
    folder : Path
        The run's folder.
    precision : Precision
        And the device.
    resume : bool
        Whether to continue from the newest checkpoint in the folder.
    world : World
        The processes that train together.
    """

    recipe: Recipe
    catalog: Catalog
    folder: Path
    precision: Precision
    resume: bool = False
    world: World = SINGLE_PROCESS
    progress: Progress = silent

    @property
    def environment(self) -> dict[str, Any]:
        """What the resulting bits depend on, apart from the recipe and the pictures."""
        return {
            "processes": self.world.size,
            "device": self.precision.device.type,
            "precision": self.precision.name,
            "threads": torch.get_num_threads(),
        }


def prepare(
    recipe: Recipe,
    catalog: Catalog,
    folder: Path,
    changes: Collection[str] = (),
    resume: bool = False,
    world: World = SINGLE_PROCESS,
    progress: Progress = silent,
) -> Plan:
    """Check that a recipe fits, and return the plan.

    Parameters
    ----------
    recipe, catalog, folder, resume, world, progress
        See `Plan`.
    changes : collection of str
        The fields of the recipe that the user gave explicitly.

    Raises
    ------
    UsageError
        It does not fit.
    """
    precision = pick_precision(recipe.precision, pick_device(recipe.device))
    check_parts(recipe)
    role = roles(catalog, recipe.val_share, recipe.seed)
    if recipe.patience and "val" not in role:
        raise UsageError("--patience needs validation pictures; give --val-share 0.1, say.")
    pictures = role.count("train")
    recipe = _with_fitting_batch(recipe, pictures, changes, world)
    if world.size > 1 and recipe.batch < 2 * world.size:
        raise UsageError(
            f"With a batch of {recipe.batch} of {pictures:,} training pictures, some of the "
            f"{world.size} processes would get no picture. Start fewer, or give a larger --batch."
        )
    return Plan(recipe, catalog, folder, precision, resume, world, progress)


def _with_fitting_batch(
    recipe: Recipe, pictures: int, changes: Collection[str], world: World
) -> Recipe:
    """Return the recipe with a batch size that the training pictures fill.

    Raises
    ------
    UsageError
        The batch is larger than the training set, and the user asked for it.
    """
    if recipe.batch * recipe.accumulate <= pictures:
        return recipe
    if "batch" in changes or recipe.accumulate > 1:
        times = f" times --accumulate {recipe.accumulate}" if recipe.accumulate > 1 else ""
        raise UsageError(
            f"--batch {recipe.batch}{times} is more than the {pictures:,} training pictures; "
            "give a smaller one."
        )
    batch = max(1, pictures // world.size) * world.size
    log.info(
        "The batch size is reduced from %d to %d: there are only %d training pictures",
        recipe.batch, batch, pictures,
    )  # fmt: skip
    return recipe.model_copy(update={"batch": batch})
