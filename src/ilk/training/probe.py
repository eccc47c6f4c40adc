"""Probe: run the frozen backbone over every picture once, then solve the head exactly."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import cast

import numpy as np

from ilk.data.catalog import Catalog, Picture
from ilk.data.split import evaluation_split
from ilk.engines import Engine, Options, is_prepared, open_backbone
from ilk.engines.base import Floats, Precision
from ilk.engines.prepare import ended_on_error
from ilk.inference import extract
from ilk.models.backbones import describe
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.training.head import Head, solve
from ilk.training.trained import Trained, less_unreadable

log = logging.getLogger("ilk")


def train_probe(catalog: Catalog, recipe: Recipe, progress: Progress = silent) -> Trained:
    """Train a head on frozen features.

    Parameters
    ----------
    catalog : Catalog
        Digested, every picture with a label and a split.
    recipe : Recipe
    progress : Progress
        Shows how far the work has come.

    Raises
    ------
    DataError
        Too many pictures cannot be decoded.
    """
    preprocess = describe(recipe.model).preprocess(recipe.imgsz, recipe.resize)
    pictures = catalog.pictures
    with ThreadPoolExecutor(2) as background, ended_on_error():
        opening = _open(background, recipe)
        background.submit(_import_solver)
        extracted = extract(
            pictures,
            opening,
            preprocess,
            batch=recipe.batch,
            workers=recipe.workers,
            progress=progress,
        )
        backbone, engine = opening.result()

    catalog = less_unreadable(catalog, extracted.errors, recipe.max_unreadable)
    train = _rows(pictures, extracted.errors, "train")
    head = _solve([pictures[i] for i in train], extracted.features[train], catalog.classes, recipe)
    bundle = _with_head(backbone, head, catalog.classes)
    held_out = _rows(pictures, extracted.errors, evaluation_split(catalog))
    return Trained(
        bundle,
        catalog,
        bundle.logits(extracted.features[held_out]),
        {
            "engine": engine.name,
            "regularisation": head.strength,
            "cross_validation_log_loss": {f"{s:g}": v for s, v in head.scores.items()},
            "features_computed": extracted.computed,
        },
    )


def _open(background: ThreadPoolExecutor, recipe: Recipe) -> Future[tuple[Bundle, Engine]]:
    """Begin to make the backbone ready; wait for it only if that takes no more than a moment."""
    preprocess = describe(recipe.model).preprocess(recipe.imgsz, recipe.resize)
    options = Options(recipe.device, recipe.engine, cast(Precision, recipe.precision))
    arguments = (recipe.model, recipe.weights, preprocess, options)
    quick = is_prepared(*arguments)
    if not quick:
        log.info("Preparing %s for this machine (once)", recipe.model)
    opening = background.submit(open_backbone, *arguments)
    if quick:
        wait([opening])
    return opening


def _import_solver() -> None:
    """Import scikit-learn, which takes over a second, while others work."""
    import sklearn.linear_model
    import sklearn.model_selection  # noqa: F401


def _solve(
    pictures: Sequence[Picture], features: Floats, classes: tuple[str, ...], recipe: Recipe
) -> Head:
    """Solve the head on pictures and their features, row by row."""
    index = {label: k for k, label in enumerate(classes)}
    return solve(
        features,
        np.array([index[str(p.label)] for p in pictures]),
        balanced=recipe.class_weights == "balanced",
        strength=recipe.regularisation,
        seed=recipe.seed,
    )


def _rows(pictures: Sequence[Picture], errors: dict[int, str], split: str | None) -> list[int]:
    return [i for i, p in enumerate(pictures) if split and p.split == split and i not in errors]


def _with_head(backbone: Bundle, head: Head, classes: tuple[str, ...]) -> Bundle:
    spec = backbone.spec.model_copy(update={"classes": classes})
    return replace(
        backbone,
        spec=spec,
        tensors={**backbone.tensors, HEAD_WEIGHT: head.weight, HEAD_BIAS: head.bias},
    )
