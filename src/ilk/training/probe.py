"""Probe: run the frozen backbone over every picture once, then solve the head exactly."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats
from ilk.data.catalog import Catalog, Picture
from ilk.data.split import evaluation_split, subsample
from ilk.inference import run_backbone
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.training.head import Head, solve
from ilk.training.trained import Answers, Trained, less_unreadable


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
    pictures = catalog.pictures
    with ThreadPoolExecutor(1) as background:
        background.submit(_import_solver)
        extracted, backbone, engine = run_backbone(pictures, recipe, progress)

    catalog = less_unreadable(catalog, extracted.errors, recipe.max_unreadable)
    train, val, reported = (
        np.array([i for i, p in enumerate(pictures) if split and p.split == split
                  and i not in extracted.errors], np.int64)
        for split in ("train", "val", evaluation_split(catalog))
    )  # fmt: skip
    head = _solve([pictures[i] for i in train], extracted.features[train], catalog.classes, recipe)
    bundle = _with_head(backbone, head, catalog.classes)

    def answers(rows: NDArray[np.int64], logits: Floats | None = None) -> Answers:
        features = extracted.features[rows]
        if logits is None:
            logits = bundle.logits(features)
        return Answers(tuple(pictures[i] for i in rows), features, logits)

    # Where val is what scores are reported on, there are the training pictures out of fold.
    apart = len(val) and evaluation_split(catalog) != "val"
    return Trained(
        bundle,
        catalog,
        answers(reported),
        answers(val) if apart else answers(train[head.rows], head.logits),
        answers(subsample(train, recipe.seed)),
        {
            "engine": engine.name,
            "regularisation": head.strength,
            "cross_validation_log_loss": {f"{s:g}": v for s, v in head.scores.items()},
            "features_computed": extracted.computed,
        },
    )


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
        groups=[p.origin for p in pictures],
        seed=recipe.seed,
    )


def _with_head(backbone: Bundle, head: Head, classes: tuple[str, ...]) -> Bundle:
    spec = backbone.spec.model_copy(update={"classes": classes})
    return replace(
        backbone,
        spec=spec,
        tensors={**backbone.tensors, HEAD_WEIGHT: head.weight, HEAD_BIAS: head.bias},
    )
