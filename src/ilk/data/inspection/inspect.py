"""Inspection: read every file once; record its header, its digest and the picture's statistics."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ilk.arrays import Floats
from ilk.data.cache import CachedRows, FeatureCache
from ilk.data.catalog import Catalog, LeftOut, Picture, digest_of
from ilk.data.inspection.facts import Facts, facts_of
from ilk.data.inspection.statistics import STATISTICS, WIDTH, statistics_of
from ilk.data.inspection.truncation import ends_early
from ilk.errors import DecodeError
from ilk.runtime import Progress, cores, silent

VERSION = 3
PART = 64  # pictures: what a thread takes at a time


@dataclass(frozen=True)
class Inspection:
    """Facts and statistics of the pictures of a catalog, one row each.

    Attributes
    ----------
    catalog : Catalog
        With digests; unreadable files are left out, each with the kind of its problem.
    facts : tuple of Facts
    statistics : float32 array [N, len(STATISTICS)]
        See `ilk.data.inspection.statistics`.
    sketches : float32 array [N, 63]
        The lowest frequencies of the luma but for the mean (its discrete cosine transform), of unit
        length: their inner product is the correlation of two blurred pictures. Zero if blank.
    """

    catalog: Catalog
    facts: tuple[Facts, ...]
    statistics: Floats
    sketches: Floats

    def statistic(self, name: str) -> Floats:
        """Return one column of ``statistics``: ``brightness``, say."""
        column: Floats = self.statistics[:, STATISTICS.index(name)]
        return column

    def without(self, reasons: Mapping[str, str]) -> Inspection:
        """Return the inspection less some pictures, given as path: reason."""
        if not reasons:
            return self
        kept = [i for i, p in enumerate(self.catalog.pictures) if p.path not in reasons]
        return Inspection(
            self.catalog.without(reasons),
            tuple(self.facts[i] for i in kept),
            self.statistics[kept],
            self.sketches[kept],
        )


def inspect(
    catalog: Catalog, workers: int | None = None, progress: Progress = silent
) -> Inspection:
    """Read every file of a catalog once: hash it, read its header, decode it, compute statistics.

    Pictures whose statistics are cached are not decoded.
    """
    cache = FeatureCache(f"statistics-{VERSION}")
    cached = cache.index(WIDTH)
    new: dict[str, Floats] = {}  # copies further on are not decoded again
    pictures: list[Picture] = []
    gone: list[LeftOut] = []
    facts: list[Facts] = []
    rows = np.empty((len(catalog), WIDTH), np.float32)
    work = [catalog.pictures[i : i + PART] for i in range(0, len(catalog), PART)]
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(workers or cores(), thread_name_prefix="ilk-inspect") as pool,
        progress("reading files", len(catalog)) as tick,
        cache.collecting() as collect,
    ):
        # What Pillow warns about is reported as a finding, or is harmless.
        warnings.filterwarnings("ignore", module="PIL")
        for part in pool.map(lambda part: [_inspected(p, cached, new) for p in part], work):
            tick(len(part))
            for result in part:
                if isinstance(result, LeftOut):
                    gone.append(result)
                    continue
                picture, fact, row = result
                rows[len(pictures)] = row
                pictures.append(picture)
                facts.append(fact)
                if picture.digest not in new and cached.get(picture.digest) is None:
                    new[picture.digest] = row
                    collect([picture.digest], row[None])
    return Inspection(
        replace(catalog, pictures=tuple(pictures), left_out=(*catalog.left_out, *gone)),
        tuple(facts),
        rows[: len(pictures), : len(STATISTICS)],
        rows[: len(pictures), len(STATISTICS) :],
    )


def _inspected(
    picture: Picture, cached: CachedRows, new: Mapping[str, Floats]
) -> tuple[Picture, Facts, Floats] | LeftOut:
    try:
        modified = 0 if picture.content is not None else Path(picture.path).stat().st_mtime_ns
        content = picture.read()
        digest = digest_of(content)
    except (OSError, ValueError) as error:
        reason = f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        return _left_out(picture, reason, "file.unreadable")
    try:
        facts = facts_of(content, modified)
        row = new.get(digest)
        row = cached.get(digest) if row is None else row
        row = statistics_of(content) if row is None else row
    except DecodeError as error:
        if isinstance(content, bytes) and content and ends_early(content):
            return _left_out(picture, "ends too early: the rest is missing", "file.truncated")
        return _left_out(picture, str(error), error.kind)
    return replace(picture, digest=digest), facts, row


def _left_out(picture: Picture, reason: str, kind: str) -> LeftOut:
    return LeftOut(
        picture.path, reason, picture.label, picture.split, kind=kind, columns=picture.columns
    )
