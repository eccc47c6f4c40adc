"""Combine: several sources of data as one catalog."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.text import escaped, join_limited, pluralize

log = logging.getLogger("ilk")


def combined(catalogs: Sequence[Catalog]) -> Catalog:
    """Return one catalog of several; of a file in more than one, the last says the label.

    What a table leaves out by its column ``left_out`` is left out of the sources before it. If only
    some pictures have a split, the others are for training.
    """
    if len(catalogs) == 1:
        return catalogs[0]
    pictures: dict[str, Picture] = {}
    left_out: dict[str, LeftOut] = {}
    for number, catalog in enumerate(catalogs, 1):
        corrected = []
        for picture in _named_apart(catalog, number):
            before = pictures.get(picture.absolute, picture)
            corrected += [picture.path] if before.label != picture.label else []
            pictures[picture.absolute] = replace(
                picture,
                split=picture.split or before.split,
                columns={**before.columns, **picture.columns},
            )
            left_out.pop(picture.path, None)
        for gone in catalog.left_out:
            left_out[gone.path] = gone
            if not gone.unreadable and not gone.kind:
                pictures.pop(Picture(gone.path).absolute, None)
        if corrected:
            log.warning(
                "%s corrects the label of %s: %s",
                escaped(catalog.source), pluralize(len(corrected), "picture"),
                join_limited(corrected),
            )  # fmt: skip
    source = " + ".join(catalog.source for catalog in catalogs)
    return _with_splits(Catalog(tuple(pictures.values()), tuple(left_out.values()), source))


def _named_apart(catalog: Catalog, number: int) -> Iterator[Picture]:
    """Yield the pictures; those in memory, which have no place, under names of their own."""
    for picture in catalog.pictures:
        in_memory = picture.content is not None and number > 1
        yield replace(picture, path=f"{number}/{picture.path}") if in_memory else picture


def _with_splits(catalog: Catalog) -> Catalog:
    bare = sum(p.split is None for p in catalog.pictures)
    if bare in {0, len(catalog)}:
        return catalog
    log.warning("%s without a split: trained on", pluralize(bare, "picture"))
    pictures = (p if p.split else replace(p, split="train") for p in catalog.pictures)
    return replace(catalog, pictures=tuple(pictures))
