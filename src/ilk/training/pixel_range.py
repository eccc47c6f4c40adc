"""Pixel range: which values of pictures of many bits, and which channels, a model is trained on."""

from __future__ import annotations

import logging
from dataclasses import replace

from ilk.data.catalog import Catalog
from ilk.data.inspection.inspect import Inspection
from ilk.data.ranges import measured_range
from ilk.recipe import Recipe
from ilk.text import pluralize

log = logging.getLogger("ilk")


def with_range(catalog: Catalog, inspection: Inspection, recipe: Recipe) -> Catalog:
    """Return a split catalog with the range of its training pictures, and say which it is.

    Data without splits of its own was inspected with the range of all its pictures.
    """
    pairs = zip(inspection.catalog.pictures, inspection.facts, strict=True)
    deep = {picture.path for picture, facts in pairs if facts.deep}
    if not deep:
        if recipe.range not in {"auto", "full"}:
            log.warning(
                "No picture has more than 8 bits a channel, so --range %s changes nothing here; "
                "the model will apply it to pictures that have.",
                recipe.range,
            )
        return catalog
    train = [p for p in catalog.of("train") if p.path in deep]
    if recipe.range == "auto" and train and not inspection.catalog.of("train"):
        conversion = catalog.conversion
        span = measured_range(train, conversion.channels, recipe.seed, recipe.workers)
        conversion = conversion.model_copy(update={"range": span or conversion.range})
        catalog = replace(catalog, conversion=conversion)
    span = catalog.conversion.range
    have = "has" if len(deep) == 1 else "have"
    what = f"{len(deep):,} of {pluralize(len(inspection.facts), 'picture')} {have} more than 8 bits"
    if span is None:
        log.info("%s: 0 to 65535 become 0 to 255 (--range full)", what)
        return catalog
    source = "measured on the training pictures; --range changes it" * (recipe.range == "auto")
    log.info("%s: %g to %g become 0 to 255 (%s)", what, *span, source or f"--range {recipe.range}")
    return catalog


def say_channels(inspection: Inspection, channels: str | None) -> None:
    """Say how many files have several pages or channels, and which are used."""
    planes = [facts.planes for facts in inspection.facts if facts.planes > 1]
    if not planes:
        return
    have = "has" if len(planes) == 1 else "have"
    files = pluralize(len(planes), "file")
    what = f"{files} {have} several pages or channels (up to {max(planes)})"
    if channels is None:
        log.warning("%s: the first is used; --channels 2 or --channels 0,1,2 uses others", what)
    else:
        log.info("%s: used are --channels %s", what, channels)
