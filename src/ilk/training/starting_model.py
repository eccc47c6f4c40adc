"""Starting model: what a training takes from a model that ilk trained before (``--weights``)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ilk.arrays import Floats, Mask
from ilk.data.catalog import Catalog
from ilk.data.split import evaluation_split
from ilk.errors import ModelError, UsageError
from ilk.formats import format_of
from ilk.inference.classifier import model_file
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle, is_bundle
from ilk.recipe import Recipe
from ilk.text import escaped, join_limited, pluralize


def settings_of(weights: Path, recipe: Recipe, given: Collection[str]) -> dict[str, Any]:
    """Return the fields of the recipe that follow from the weights to start from.

    Of a model of ilk these are its file, its backbone and, unless given, the size of its input and
    how pictures are resized to it. Of a file of a backbone's weights, nothing but the file.

    Parameters
    ----------
    weights : Path
        A run folder, a ``model.safetensors``, or a file of a backbone's weights.
    recipe : Recipe
    given : collection of str
        The fields of the recipe that the user gave.

    Raises
    ------
    UsageError
        It is an exported file, or of another architecture than the one that was given.
    ModelError
        It is a folder without a model, or damaged.
    """
    file = model_file(weights).absolute()  # a run may be resumed from another directory
    form = format_of(file)
    if form is not None:
        raise UsageError(
            f"--weights {escaped(weights)} is an exported file ({form.name}): it can predict, but "
            "training cannot start from it. Give the model.safetensors that it was exported from, "
            "or the run folder that holds it."
        )
    if file.is_dir():
        raise ModelError(
            f"--weights {escaped(weights)} is a folder without a model.safetensors. Give a run "
            "folder, a model.safetensors, or a file of a backbone's weights."
        )
    if not is_bundle(file):
        return {"weights": file}
    spec = Bundle.load(file).spec
    if "model" in given and recipe.model != spec.backbone.name:
        raise UsageError(
            f"--weights {escaped(weights)} is a {spec.backbone.name}, which cannot become the "
            f"{recipe.model} of --model. Drop --model to continue with {spec.backbone.name}, or "
            "--weights to start from the pretrained weights."
        )
    found = {"imgsz": spec.preprocess.imgsz, "resize": spec.preprocess.resize}
    followed = {field: value for field, value in found.items() if field not in given}
    return {"weights": file, "model": spec.backbone.name, **followed}


def starting_model(recipe: Recipe) -> Bundle | None:
    """Return the model of ilk that a recipe starts from, if it does."""
    if recipe.weights is None or not is_bundle(recipe.weights):
        return None
    return Bundle.load(recipe.weights)


def describe_start(model: Bundle, weights: Path, classes: Sequence[str]) -> str:
    """Say in a line what is taken from a model."""
    spec = model.spec
    new = [label for label in classes if label not in spec.classes]
    kept = len(classes) - len(new)
    rows = f"head rows for {kept} of {len(classes):,} classes"
    if not kept:
        rows += ": no name of a class is the same"
    elif new:
        rows += f" (new: {join_limited(new, 3)})"
    head = rows if spec.classes else "it has no head"
    return f"Starting from {escaped(weights)}: backbone {spec.backbone.name}, {head}"


def warnings_of_start(model: Bundle, weights: Path, recipe: Recipe, catalog: Catalog) -> list[str]:
    """Return a warning if the model has learned from pictures that will be scored.

    A head that is solved anew on a backbone that was not trained knows nothing of them.
    """
    before = model.spec.provenance.get("recipe")
    if recipe.mode == "probe" and isinstance(before, dict) and before.get("mode") == "probe":
        return []
    scored = catalog.of(evaluation_split(catalog) or "")
    learned = sum(model.split_of(p.digest) == "train" for p in scored)
    if not learned:
        return []
    return [
        f"{learned:,} of the {pluralize(len(scored), 'picture')} that are scored were in the "
        f"training of {escaped(weights)}: the scores may be too high"
    ]


class HeadRows(NamedTuple):
    """A head's weights ``[K, D]`` and biases ``[K]``, and which classes were known, ``[K]``."""

    weight: Floats
    bias: Floats
    known: Mask


def head_rows(model: Bundle, classes: Sequence[str]) -> HeadRows | None:
    """Return a model's head for these classes, matched by name.

    The rows of new classes are the mean of the others. None if it knows none of them.
    """
    place = {label: k for k, label in enumerate(model.spec.classes)}
    known = np.array([label in place for label in classes])
    if not known.any():
        return None
    rows = [place[label] for label in classes if label in place]
    filled = []
    for name in (HEAD_WEIGHT, HEAD_BIAS):
        values = model.tensors[name][rows]
        full = np.repeat(values.mean(axis=0, keepdims=True), len(classes), axis=0)
        full[known] = values
        filled.append(full)
    return HeadRows(filled[0], filled[1], known)
