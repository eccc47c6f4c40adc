"""Near copies: pictures that were re-encoded, resized, cropped, brightened or mirrored.

Stages, each more specific and more expensive: nearest neighbours of the sketches; registration of
the sketches; registration and correlation of small decoded pictures; and, unless the pictures are
small themselves, the agreement of their texture in windows, which sets copies apart from other
photos of like things on a plain ground. The thresholds were chosen on copies planted in ants_bees,
cats_dogs and CIFAR-10, and on digits and drawings (benchmarks/near_copies.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ilk.arrays import Floats
from ilk.data.catalog import Picture
from ilk.data.decode import reduced
from ilk.data.inspection.alignment import (
    amount_of_detail,
    blurred,
    likeness,
    likeness_in_windows,
    likeness_of_detail,
    refined,
    registered,
)
from ilk.data.inspection.inspect import Inspection
from ilk.data.inspection.statistics import COSINES, LUMA, SKETCH, mirrored
from ilk.data.limits import Threads
from ilk.errors import DecodeError
from ilk.runtime import Progress, cores, silent
from ilk.spec import Conversion

Numbers = NDArray[np.int64]

NEIGHBOURS = 8  # looked at of each picture, and of its mirror image
CLOSE = 0.75  # inner product of sketches
MANY = 10_000  # pictures from which on the index is an approximate one
PROBED = 8  # of its cells, for each query
ALIKE = 0.93  # correlation of sketches laid on one another
SIDE = 32  # pixels along each side of what is compared
DETAIL = 0.7  # correlation of the detail
EVIDENCE = 4.5  # standard deviations by which that is above what chance gives
LARGE = 64  # pixels: the shorter side from which on less of both is enough, as detail decides:
DETAIL_THEN, EVIDENCE_THEN = 0.6, 3.0
IN_WINDOWS = ((64, 0.3), (128, 0.62))  # pixels along each side, and the likeness that is asked for
SMALLEST = 16  # pixels: a picture with a shorter side shows no detail
PLAINEST = 3.0  # bits of entropy of the grey levels: icons and diagrams have fewer; without colour,
PLAIN, PLAIN_EVIDENCE = 5.0, 7.0  # strokes may have as few bits; then more evidence is asked for
COLOURLESS = 0.01  # share of the range of the channels
BATCH = 2048  # pairs
PART = 256  # pairs that are compared in windows together: 100 MB


class Pair(NamedTuple):
    """Two near copies, as rows of the catalog; ``likeness`` is 1 for identical detail."""

    first: int
    second: int
    likeness: float
    mirrored: bool


def near_pairs(
    inspection: Inspection,
    workers: int | None = None,
    progress: Progress = silent,
    cleared: Iterable[Collection[str]] = (),
) -> list[Pair]:
    """Find pictures that are near copies of one another; exact copies are compared once.

    A sketch is a perceptual hash before rounding to bits: the lowest frequencies, as in pHash
    (Zauner 2010). Pictures with few grey levels or very few pixels are skipped: many of them look
    alike without being copies. Chains are broken up: pictures that are connected by pairs have one
    among them that is a near copy of all others.

    Parameters
    ----------
    inspection : Inspection
    workers : int, optional
        Threads; default one a core.
    progress : Progress
        Shows how many candidates were compared.
    cleared : iterable of collection of str
        Absolute paths of pictures that are no copies of each other: see `read_cleared`.
    """
    compared = _Compared.of(inspection, cleared)
    candidates = _neighbours(compared.sketches)
    batches = [candidates[at : at + BATCH] for at in range(0, len(candidates), BATCH)]
    best: dict[tuple[int, int], Pair] = {}
    with (
        Threads(workers or cores(), thread_name_prefix="ilk-near") as pool,
        progress("comparing pictures", len(candidates)) as tick,
    ):
        for batch, found in zip(batches, pool.map(compared.confirm, batches), strict=True):
            tick(len(batch))
            _keep_best(best, found)
    like: dict[int, set[int]] = defaultdict(set)
    for one, other in best:
        like[one].add(other)
        like[other].add(one)
    pairs = [pair for rows in connected(best) for pair in _stars(rows, best, like, compared)]
    ordered = (
        pair._replace(first=int(compared.rows[pair.first]), second=int(compared.rows[pair.second]))
        for pair in pairs
    )
    return sorted(
        pair if pair.first < pair.second else pair._replace(first=pair.second, second=pair.first)
        for pair in ordered
    )


def _keep_best(best: dict[tuple[int, int], Pair], found: Iterable[Pair]) -> None:
    """Keep the more similar of a pair with and without mirroring."""
    for pair in found:
        known = best.get(pair[:2])
        if known is None or known.likeness < pair.likeness:
            best[pair[:2]] = pair


def connected(ends: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the sets of two or more pictures that pairs connect."""
    group: dict[int, list[int]] = {}
    for first, second in ends:
        one, other = group.setdefault(first, [first]), group.setdefault(second, [second])
        if one is not other:
            one, other = (one, other) if len(one) >= len(other) else (other, one)
            one.extend(other)
            group.update(dict.fromkeys(other, one))
    return [sorted(rows) for rows in {id(rows): rows for rows in group.values()}.values()]


def _stars(
    component: Sequence[int],
    best: dict[tuple[int, int], Pair],
    like: Mapping[int, set[int]],
    compared: _Compared,
) -> Iterator[Pair]:
    """Yield the pairs within the groups that connected pictures form.

    The picture with the most near copies is the centre of a group: its near copies, and the near
    copies of those that are near copies of it too, and so on. What is left is grouped likewise.
    Only pictures that a pair links to the group are compared with its centre, so that the number of
    comparisons is at most twice that of the pairs, however long a chain is.
    """
    left = set(component)
    most = [(-len(like[row]), row) for row in component]  # near copies that are left, or were
    heapify(most)
    while most:
        number, centre = heappop(most)
        known = like[centre] & left
        if centre not in left or not known:
            continue
        if len(known) < -number:
            heappush(most, (-len(known), centre))
            continue
        group, new, compared_with = {centre}, known, {centre} | known
        while new:
            group |= new
            linked = sorted(set().union(*(like[row] for row in new)) & left - compared_with)
            compared_with.update(linked)
            ends = [(min(centre, r), max(centre, r), flip) for r in linked for flip in (0, 1)]
            if ends:
                _keep_best(best, compared.confirm(np.array(ends, np.int64)))
            new = {row for row in linked if (min(centre, row), max(centre, row)) in best}
        yield from (best[ends] for ends in combinations(sorted(group), 2) if ends in best)
        left -= group


@dataclass(frozen=True)
class _Compared:
    """The pictures that are compared, and their rows in the catalog.

    One per content digest, without blank, very small or plain ones, ordered by digest, so that
    names and the order of files do not matter.
    """

    rows: Numbers
    pictures: tuple[Picture, ...]
    sketches: Floats
    evidence: Floats  # that is asked for
    large: NDArray[np.bool_]
    cleared: Mapping[int, set[int]]  # the groups of each row
    conversion: Conversion

    @classmethod
    def of(cls, inspection: Inspection, cleared: Iterable[Collection[str]]) -> _Compared:
        first: dict[str, int] = {}
        for row, picture in enumerate(inspection.catalog.pictures):
            first.setdefault(picture.digest, row)
        rows = np.array([row for _, row in sorted(first.items())], np.int64)
        entropy = inspection.statistic("entropy")
        plain = (entropy < PLAIN) & (inspection.statistic("colour") < COLOURLESS)
        shorter = np.array([min(f.width, f.height) for f in inspection.facts], np.int64)
        fit = (shorter >= SMALLEST) & (entropy >= PLAINEST) & np.any(inspection.sketches, axis=1)
        rows = rows[fit[rows]]
        pictures = tuple(inspection.catalog.pictures[row] for row in rows)
        return cls(
            rows,
            pictures,
            inspection.sketches[rows],
            np.where(plain, PLAIN_EVIDENCE, EVIDENCE)[rows].astype(np.float32),
            (shorter >= LARGE)[rows],
            _cleared_rows(inspection.catalog.pictures, pictures, cleared),
            inspection.catalog.conversion,
        )

    def confirm(self, candidates: Numbers) -> list[Pair]:
        """Return the candidates [M, 3] that are near copies, as pairs of rows of this table."""
        if self.cleared:
            groups = self.cleared
            new = [
                groups.get(one, set()).isdisjoint(groups.get(other, set()))
                for one, other, _ in candidates.tolist()
            ]
            candidates = candidates[new]
            if not len(candidates):
                return []
        one, other, flip = candidates.T
        sketches = self.sketches
        left = _drawn(np.where(flip[:, None] == 1, mirrored(sketches[one]), sketches[one]))
        right = _drawn(sketches[other])
        place = registered(left, right)
        alike = likeness(left, right, place) >= ALIKE
        pairs, place = candidates[alike], place[alike]
        if len(pairs):
            pairs, place, degrees = self._with_like_detail(pairs, place)
        for side, least in IN_WINDOWS if len(pairs) else ():
            large = self.large[pairs[:, :2]].all(axis=1)
            degrees[large], place[large] = _in_windows(
                self.pictures, pairs[large], place[large], side, self.conversion
            )
            kept = ~large | (degrees >= least)
            pairs, place, degrees = pairs[kept], place[kept], degrees[kept]
        if not len(pairs):
            return []
        return [
            Pair(int(a), int(b), float(degree), bool(flip))
            for (a, b, flip), degree in zip(pairs, degrees, strict=True)
        ]

    def _with_like_detail(self, pairs: Numbers, place: Floats) -> tuple[Numbers, Floats, Floats]:
        """Return the pairs whose detail correlates, their places, and the correlation."""
        degrees, deviations = _detail(self.pictures, pairs, place, self.conversion)
        asked = self.evidence[pairs[:, :2]].max(axis=1)
        sure = (degrees >= DETAIL) & (deviations >= asked)
        less = self.large[pairs[:, :2]].all(axis=1) & (asked == EVIDENCE)
        sure |= less & (degrees >= DETAIL_THEN) & (deviations >= EVIDENCE_THEN)
        return pairs[sure], place[sure], degrees[sure]


def _cleared_rows(
    every: Sequence[Picture], compared: Sequence[Picture], cleared: Iterable[Collection[str]]
) -> Mapping[int, set[int]]:
    """Return the cleared groups of each row; what holds for a file holds for its copies."""
    row = {picture.digest: i for i, picture in enumerate(compared)}
    digest = {picture.absolute: picture.digest for picture in every}
    groups: dict[int, set[int]] = defaultdict(set)
    for number, paths in enumerate(cleared):
        for path in paths:
            if digest.get(path) in row:
                groups[row[digest[path]]].add(number)
    return groups


def _neighbours(sketches: Floats) -> Numbers:
    """Return pairs of neighbours [M, 3]: two rows, and whether the first is mirrored."""
    import faiss

    number, width = sketches.shape
    if number < 2:
        return np.zeros((0, 3), np.int64)
    index: Any = faiss.IndexFlatIP(width)
    if number >= MANY:
        # Cells by k-means; each query searches a few of them (Sivic & Zisserman 2003).
        cells = int(2 * number**0.5)
        index = faiss.IndexIVFFlat(index, width, cells, faiss.METRIC_INNER_PRODUCT)
        index.train(sketches)
        index.nprobe = PROBED
    index.add(sketches)
    found = []
    for flip, queries in enumerate((sketches, mirrored(sketches))):
        close, near = index.search(queries, min(number, NEIGHBOURS + 1))
        one, rank = np.nonzero(close >= CLOSE)
        other = near[one, rank]
        low, high = np.minimum(one, other), np.maximum(one, other)
        # One number a pair, as a million pictures have millions of pairs.
        found.append(((low * number + high) * 2 + flip)[low < high])
    ends, flips = np.divmod(np.unique(np.concatenate(found)), 2)
    return np.stack([*np.divmod(ends, number), flips], axis=1).astype(np.int64)


def _drawn(sketches: Floats) -> Floats:
    """Return sketches as pictures [N, 16, 16], without their mean brightness."""
    basis = COSINES.reshape(SKETCH, -1, 2).mean(axis=2)
    coefficients = np.pad(sketches, ((0, 0), (1, 0))).reshape(-1, SKETCH, SKETCH)
    drawn: Floats = basis.T @ coefficients @ basis
    return drawn


def _detail(
    pictures: Sequence[Picture], pairs: Numbers, place: Floats, conversion: Conversion
) -> tuple[Floats, Floats]:
    """Decode both pictures of each pair, and return the correlation of their detail.

    With it comes Fisher's z (1915): by how many standard deviations a correlation of so many
    independent values exceeds that of unlike pictures.
    """
    left, right = _both(pictures, pairs, SIDE, conversion)
    place = registered(blurred(left), blurred(right), place)
    degree = likeness_of_detail(left, right, place)
    # A copy of lower resolution shows less.
    number = np.maximum(amount_of_detail(left), amount_of_detail(right))
    deviations = np.arctanh(degree.clip(0, 0.9999)) * np.sqrt((number - 3).clip(0))
    return degree, deviations


def _in_windows(
    pictures: Sequence[Picture],
    pairs: Numbers,
    place: Floats,
    side: int,
    conversion: Conversion,
) -> tuple[Floats, Floats]:
    """Decode both pictures of each pair; return how far their texture agrees, and their places."""
    degrees = np.zeros(len(pairs), np.float32)
    places = place.copy()
    for start in range(0, len(pairs), PART):
        part = slice(start, start + PART)
        left, right = _both(pictures, pairs[part], side, conversion)
        places[part] = refined(left, right, place[part])
        degrees[part] = likeness_in_windows(left, right, places[part])
    return degrees, places


def _both(
    pictures: Sequence[Picture], pairs: Numbers, side: int, conversion: Conversion
) -> tuple[Floats, Floats]:
    """Decode both pictures of each pair, the first one mirrored where the pair says so."""
    rows, where = np.unique(pairs[:, :2], return_inverse=True)
    luma = np.stack([_luma(pictures[row], side, conversion) for row in rows])
    one, other = where.reshape(-1, 2).T
    left = np.where(pairs[:, 2, None, None] == 1, luma[one][:, :, ::-1], luma[one])
    return left, luma[other]


def _luma(picture: Picture, side: int, conversion: Conversion) -> Floats:
    """Return a picture's luma, squashed to a square; zeros if it can no longer be read."""
    try:
        luma = reduced(picture.read(), side, conversion) @ LUMA
    except (OSError, DecodeError):
        return np.zeros((side, side), np.float32)
    image = Image.fromarray(luma).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)
