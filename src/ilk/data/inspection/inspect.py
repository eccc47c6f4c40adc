"""Inspection: read every file once; record its header, its digest and the picture's statistics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ilk.arrays import Floats
from ilk.data.cache import CachedRows, FeatureCache
from ilk.data.catalog import Catalog, LeftOut, Picture, digest_of
from ilk.data.inspection.facts import Facts, facts_of
from ilk.data.inspection.statistics import STATISTICS, WIDTH, statistics_of
from ilk.data.inspection.truncation import ends_early
from ilk.data.limits import Threads
from ilk.data.ranges import measured_range
from ilk.errors import DecodeError
from ilk.runtime import Progress, cores, silent
from ilk.spec import Conversion, range_of

VERSION = 3
PART = 64  # pictures: what a thread takes at a time
_Result: TypeAlias = "tuple[Picture, Facts, Floats] | LeftOut"


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
    catalog: Catalog,
    workers: int | None = None,
    progress: Progress = silent,
    *,
    pixel_range: str | Sequence[float] = "auto",
    channels: tuple[int, ...] | None = None,
) -> Inspection:
    """Read every file of a catalog once: hash it, read its header, decode it, compute statistics.

    Pictures whose statistics are cached are not decoded. Those of more than 8 bits a channel come
    last, once the range of their values is known.

    Parameters
    ----------
    catalog : Catalog
    workers : int, optional
        Threads; default one a core.
    progress : Progress
        Shows how many files were read.
    pixel_range : str or pair of numbers
        The range of values of pictures of more than 8 bits: ``auto`` measures it, on the training
        pictures if the data has splits; see `ilk.spec.range_of`.
    channels : tuple of int, optional
        Which channels of files with several are used.
    """
    given = range_of(pixel_range)
    results: list[_Result | None] = [None] * len(catalog)
    conversion = Conversion(channels=channels)
    with (
        warnings.catch_warnings(),
        Threads(workers or cores(), thread_name_prefix="ilk-inspect") as pool,
        progress("reading files", len(catalog)) as tick,
    ):
        # What Pillow warns about is reported as a finding, or is harmless.
        warnings.filterwarnings("ignore", module="PIL|pydicom|pillow_heif|pillow_jxl")
        every = range(len(catalog))
        deep = _inspect_some(every, catalog, conversion, results, pool, tick, defers=True)
        if deep:
            pictures = [catalog.pictures[i] for i in deep]
            span = given
            if pixel_range == "auto":
                train = [p for p in pictures if p.split == "train"]
                span = measured_range(train or pictures, channels, workers=workers)
            given = span
            conversion = Conversion(range=span, channels=channels)
            _inspect_some(deep, catalog, conversion, results, pool, tick)
    gone = [result for result in results if isinstance(result, LeftOut)]
    kept = [result for result in results if isinstance(result, tuple)]
    rows = np.stack([row for *_, row in kept]) if kept else np.empty((0, WIDTH), np.float32)
    facts = tuple(fact for _, fact, _ in kept)
    return Inspection(
        replace(
            catalog,
            pictures=tuple(picture for picture, *_ in kept),
            left_out=(*catalog.left_out, *gone),
            conversion=Conversion(range=given, channels=channels),
            formats=tuple(sorted({fact.format for fact in facts if fact.format})),
        ),
        facts,
        rows[:, : len(STATISTICS)],
        rows[:, len(STATISTICS) :],
    )


def _inspect_some(
    indices: Sequence[int],
    catalog: Catalog,
    conversion: Conversion,
    results: list[_Result | None],
    pool: ThreadPoolExecutor,
    tick: Callable[[int], object],
    defers: bool = False,
) -> list[int]:
    """Fill in the results of some pictures; return those whose range of values is to be known."""
    name = "-".join(part for part in (f"statistics-{VERSION}", conversion.key) if part)
    cache = FeatureCache(name)
    cached = cache.index(WIDTH)
    new: dict[str, Floats] = {}  # copies further on are not decoded again
    deferred: list[int] = []
    work = [indices[i : i + PART] for i in range(0, len(indices), PART)]

    def inspected(part: Sequence[int]) -> list[_Result | None]:
        return [_inspected(catalog.pictures[i], cached, new, conversion, defers) for i in part]

    with cache.collecting() as collect:
        for part, found in zip(work, pool.map(inspected, work), strict=True):
            for index, result in zip(part, found, strict=True):
                results[index] = result
                if result is None:
                    deferred.append(index)
                elif isinstance(result, tuple):
                    picture, _, row = result
                    if picture.digest not in new and cached.get(picture.digest) is None:
                        new[picture.digest] = row
                        collect([picture.digest], row[None])
            tick(len(part) - found.count(None))
    return deferred


def _inspected(
    picture: Picture,
    cached: CachedRows,
    new: Mapping[str, Floats],
    conversion: Conversion,
    defers: bool,
) -> _Result | None:
    """Return what is found out about a picture; None if that has to wait for a range of values."""
    try:
        modified = 0 if picture.content is not None else Path(picture.path).stat().st_mtime_ns
        content = picture.read()
        digest = digest_of(content)
    except (OSError, ValueError) as error:
        reason = f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        return _left_out(picture, reason, "file.unreadable")
    try:
        facts = facts_of(content, modified)
        if facts.deep and defers:
            return None
        row = new.get(digest)
        row = cached.get(digest) if row is None else row
        row = statistics_of(content, conversion) if row is None else row
    except DecodeError as error:
        if isinstance(content, bytes) and content and ends_early(content):
            return _left_out(picture, "ends too early: the rest is missing", "file.truncated")
        return _left_out(picture, str(error), error.kind)
    return replace(picture, digest=digest), facts, row


def _left_out(picture: Picture, reason: str, kind: str) -> LeftOut:
    return LeftOut(
        picture.path, reason, picture.label, picture.split, kind=kind, columns=picture.columns
    )
