"""Check: say what is wrong with the pictures."""

from __future__ import annotations

import logging
from typing import Any

from ilk import recipes
from ilk.data.checks import Findings
from ilk.data.checks.evidence import Evidence
from ilk.data.checks.find import find_all
from ilk.data.inspection import Inspection, inspect
from ilk.data.near import near_pairs
from ilk.data.sources import open_catalog
from ilk.errors import EngineError, WeightsError
from ilk.inference import run_backbone
from ilk.recipe import Recipe
from ilk.runtime import Progress, silent
from ilk.training.out_of_fold import out_of_fold

log = logging.getLogger("ilk")


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
    inspection = inspect(open_catalog(data), workers, progress)
    if quick:
        evidence, missing = Evidence(inspection), "--quick"
    else:
        recipe = recipes.load("probe", workers=workers, **({"model": model} if model else {}))
        evidence, missing = _with_features(inspection, recipe, progress)
    pairs = near_pairs(evidence.inspection, evidence.features, workers, progress)
    return find_all(evidence, pairs, missing)


def _with_features(
    inspection: Inspection, recipe: Recipe, progress: Progress
) -> tuple[Evidence, str]:
    """Return the evidence with features and probabilities, and why there are none, if so."""
    pictures = inspection.catalog.pictures
    if not pictures:
        return Evidence(inspection), ""
    try:
        extracted, _, _ = run_backbone(pictures, recipe, progress)
    except (WeightsError, EngineError) as error:
        log.warning("%s", error)
        return Evidence(inspection), f"{recipe.model} cannot be run here"
    lost = {pictures[i].path: why for i, why in extracted.errors.items()}
    good = [i for i in range(len(pictures)) if i not in extracted.errors]
    evidence = Evidence(inspection.without(lost), extracted.features[good])
    with progress("doubting labels", len(good)) as tick:
        probabilities = out_of_fold(
            extracted.features[good],
            evidence.targets,
            len(evidence.catalog.classes),
            groups=[p.digest for p in evidence.catalog.pictures],
        )
        tick(len(good))
    return Evidence(evidence.inspection, evidence.features, probabilities), ""
