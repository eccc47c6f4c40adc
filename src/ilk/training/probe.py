"""Probe: run the frozen backbone over every picture once, then solve the head exactly."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

import numpy as np

from ilk.arrays import Floats, Indices
from ilk.checking.findings.groups import suspected_groups
from ilk.data.catalog import Catalog, Picture, class_indices
from ilk.data.split import evaluation_split, subsample
from ilk.engines import Options
from ilk.engines.base import Precision
from ilk.inference.backbone import run_backbone
from ilk.models.backbones import describe
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.spec import Preprocess
from ilk.training.head import Head, solve
from ilk.training.prepare_data import drop_unreadable
from ilk.training.result import HeadFacts, Outputs, TrainingFacts, TrainingResult
from ilk.training.starting_model import head_rows, starting_model

log = logging.getLogger("ilk")


def train_probe(catalog: Catalog, recipe: Recipe, progress: Progress = silent) -> TrainingResult:
    """Train a head on frozen features.

    Parameters
    ----------
    catalog : Catalog
        Digested, every picture with a label and a split.

    Raises
    ------
    DataError
        Too many pictures cannot be decoded.
    """
    pictures = catalog.pictures
    preprocess = describe(recipe.model).preprocess(recipe.imgsz, recipe.resize, catalog.conversion)
    with ThreadPoolExecutor(1) as background:
        background.submit(_import_solver)
        extracted, backbone, engine = run_backbone(
            pictures,
            recipe.model,
            preprocess,
            weights=recipe.weights,
            options=Options(recipe.device, recipe.engine, cast(Precision, recipe.precision)),
            batch=recipe.batch,
            workers=recipe.workers,
            progress=progress,
        )

    catalog = drop_unreadable(catalog, extracted.errors, recipe.max_unreadable)
    train, val, evaluated = (
        np.array([i for i, p in enumerate(pictures) if split and p.split == split
                  and i not in extracted.errors], np.int64)
        for split in ("train", "val", evaluation_split(catalog))
    )  # fmt: skip
    learned = [pictures[i] for i in train]
    with progress("fitting the head", 0):
        warnings = _group_warnings(learned, extracted.features[train], catalog)
        head = _solve(learned, extracted.features[train], catalog.classes, recipe)
    bundle = _with_head(backbone, head, catalog.classes, preprocess)

    def outputs(indices: Indices, logits: Floats | None = None) -> Outputs:
        features = extracted.features[indices]
        if logits is None:
            logits = bundle.logits(features)
        return Outputs(tuple(pictures[i] for i in indices), features, logits)

    # Without a val split beside the evaluation split, the out-of-fold logits of train are held out.
    has_val = len(val) and evaluation_split(catalog) != "val"
    log_losses = {f"{strength:g}": loss for strength, loss in head.scores.items()}
    facts = HeadFacts(head.strength, log_losses, extracted.computed)
    return TrainingResult(
        bundle,
        catalog,
        outputs(evaluated),
        outputs(val) if has_val else outputs(train[head.indices], head.logits),
        outputs(subsample(train, recipe.seed)),
        TrainingFacts(engine.name, head=facts, warnings=warnings),
    )


def _group_warnings(
    pictures: Sequence[Picture], features: Floats, catalog: Catalog
) -> tuple[str, ...]:
    """Warn if pictures seem to belong together, and the score profits from it."""
    targets = class_indices(pictures, catalog.classes)
    found = suspected_groups(pictures, features, targets, len(catalog.classes))
    if found is None:
        return ()
    log.warning("%s", found)
    return (str(found),)


def _import_solver() -> None:
    """Import scikit-learn in the background: it takes over a second."""
    import sklearn.linear_model
    import sklearn.model_selection  # noqa: F401


def _solve(
    pictures: Sequence[Picture], features: Floats, classes: tuple[str, ...], recipe: Recipe
) -> Head:
    """Solve the head on pictures and their features ``[N, D]``."""
    return solve(
        features,
        class_indices(pictures, classes),
        balanced=recipe.class_weights == "balanced",
        strength=recipe.regularisation,
        copies=[p.distinct for p in pictures],
        groups=[p.origin for p in pictures],
        seed=recipe.seed,
        start=head_rows(start, classes) if (start := starting_model(recipe)) else None,
    )


def _with_head(
    backbone: Bundle, head: Head, classes: tuple[str, ...], preprocess: Preprocess
) -> Bundle:
    spec = backbone.spec.model_copy(update={"classes": classes, "preprocess": preprocess})
    return replace(
        backbone,
        spec=spec,
        tensors={**backbone.tensors, HEAD_WEIGHT: head.weight, HEAD_BIAS: head.bias},
    )
