"""Backbone: run a pretrained backbone over pictures once, while they are being decoded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import cast

from ilk.data.catalog import Picture
from ilk.engines import Engine, Options, is_prepared, open_backbone
from ilk.engines.base import Precision
from ilk.engines.prepare import Processes, terminated_on_error
from ilk.inference.features import Extracted, extract
from ilk.models.backbones import describe
from ilk.models.bundle import Bundle
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.spec import Preprocess

log = logging.getLogger("ilk")


def run_backbone(
    pictures: Sequence[Picture], recipe: Recipe, progress: Progress = silent
) -> tuple[Extracted, Bundle, Engine]:
    """Return the features of digested pictures, the backbone that made them, and what ran it.

    Raises
    ------
    WeightsError
        The backbone's weights cannot be had.
    """
    preprocess = describe(recipe.model).preprocess(recipe.imgsz, recipe.resize)
    with ThreadPoolExecutor(1) as background, terminated_on_error() as processes:
        opening = _open(background, recipe, preprocess, processes)
        extracted = extract(
            pictures,
            opening,
            preprocess,
            batch=recipe.batch,
            workers=recipe.workers,
            progress=progress,
        )
        return extracted, *opening.result()


def _open(
    background: ThreadPoolExecutor,
    recipe: Recipe,
    preprocess: Preprocess,
    processes: Processes,
) -> Future[tuple[Bundle, Engine]]:
    """Start preparing the backbone; wait for it only if it is in the cache."""
    options = Options(recipe.device, recipe.engine, cast(Precision, recipe.precision))
    arguments = (recipe.model, recipe.weights, preprocess, options)
    quick = is_prepared(*arguments)
    if not quick:
        log.info("Preparing %s for this machine (once)", recipe.model)
    opening = background.submit(open_backbone, *arguments, processes)
    if quick:
        wait([opening])
    return opening
