"""Check: say what is wrong with the pictures."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from ilk import recipes
from ilk.arrays import Floats
from ilk.checking.findings import Findings
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.find import NEED_NETWORK, find_all
from ilk.checking.out_of_fold import out_of_fold
from ilk.data.inspection.copies import grouped
from ilk.data.inspection.inspect import Inspection, inspect
from ilk.data.inspection.near import near_pairs
from ilk.data.sources import open_catalog
from ilk.errors import EngineError, WeightsError
from ilk.evaluation.label_issues import beats_guessing
from ilk.inference import run_backbone
from ilk.models.backbones import describe
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent

log = logging.getLogger("ilk")
MOST_PROBABILITIES = 200_000_000  # float32, of which several copies are held


def check(
    data: Any,
    *,
    quick: bool = False,
    model: str | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Findings:
    """Read every picture, run a backbone over them, and say what is wrong with the data.

    The features are kept in the cache: a training with the same backbone right after it does not
    compute them again.

    Parameters
    ----------
    data : str, Path, Catalog, or tuple (images, labels)
    quick : bool
        Look for what needs no backbone only: leave out labels and outliers.
    model : str, optional
        Backbone whose features are looked at; default: that of ``ilk train``.
    workers : int, optional
        Decoding threads; default one a core.
    progress : Progress
        Shows how far the work has come; default: nothing. See `ilk.runtime.silent`.

    Raises
    ------
    DataError
        There are no pictures.
    """
    recipe = recipes.load("probe", workers=workers, **({"model": model} if model else {}))
    describe(recipe.model)  # a name that nobody knows is refused before the work begins
    inspection = inspect(open_catalog(data), workers, progress)
    features, reason = None, "--quick"
    if not quick:
        inspection, features, reason = _with_features(inspection, recipe, progress)
    pairs = near_pairs(inspection, features, workers, progress)
    catalog = grouped(inspection.catalog, pairs)
    evidence = Evidence(replace(inspection, catalog=catalog), features)
    if features is None:
        return find_all(evidence, pairs, dict.fromkeys(NEED_NETWORK, reason) if reason else {})
    probabilities, reason = _out_of_fold_probabilities(evidence)
    evidence = replace(evidence, probabilities=probabilities)
    return find_all(evidence, pairs, {"label.suspect": reason} if reason else {})


def _with_features(
    inspection: Inspection, recipe: Recipe, progress: Progress
) -> tuple[Inspection, Floats | None, str]:
    """Return what can be decoded, its features, and why there are none if so."""
    pictures = inspection.catalog.pictures
    if not pictures:
        return inspection, None, ""
    try:
        extracted, _, _ = run_backbone(pictures, recipe, progress)
    except (WeightsError, EngineError) as error:
        log.warning("%s", error)
        return inspection, None, f"{recipe.model} cannot be run here"
    lost = {pictures[i].path: why for i, why in extracted.errors.items()}
    good = [i for i in range(len(pictures)) if i not in extracted.errors]
    features = extracted.features[good] if lost else extracted.features
    return inspection.without(lost), features, ""


def _out_of_fold_probabilities(evidence: Evidence) -> tuple[Floats | None, str]:
    """Return probabilities by a model that has seen neither a picture nor a copy, or why not."""
    assert evidence.features is not None
    classes = len(evidence.catalog.classes)
    if len(evidence.features) * classes > MOST_PROBABILITIES:
        return None, f"{classes:,} classes and so many pictures take too much memory"
    probabilities = out_of_fold(
        evidence.features,
        evidence.targets,
        classes,
        groups=[p.origin for p in evidence.catalog.pictures],
    )
    if probabilities is None:
        return None, "too few pictures of the classes"
    if not beats_guessing(probabilities, evidence.targets):
        return None, "a model tells the classes no better than guessing"
    return probabilities, ""
