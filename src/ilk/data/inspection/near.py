"""Near copies: pictures that were re-encoded, resized, cropped, brightened or mirrored.

Three stages, each more specific and more expensive: nearest neighbours of the sketches;
registration of the sketches; registration and correlation of decoded pixels. The thresholds were
chosen on copies planted in ants_bees and CIFAR-10, and on digits and drawings
(benchmarks/near_copies.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
    likeness_of_detail,
    registered,
)
from ilk.data.inspection.inspect import Inspection
from ilk.data.inspection.statistics import COSINES, LUMA, SKETCH, mirrored
from ilk.errors import DecodeError
from ilk.runtime import Progress, cores, silent

Numbers = NDArray[np.int64]

NEIGHBOURS = 8  # looked at of each picture, and of its mirror image
CLOSE = 0.75  # inner product of sketches
MANY = 10_000  # pictures from which on the index is an approximate one
PROBED = 8  # of its cells, for each query
ALIKE = 0.93  # correlation of sketches laid on one another
SIDE = 32  # pixels along each side of what is compared
DETAIL = 0.7  # correlation of the detail
EVIDENCE = 4.5  # standard deviations by which that is above what chance gives
SEEN_ALIKE = 0.85  # cosine of features from which on less of both is enough:
DETAIL_THEN, EVIDENCE_THEN = 0.6, 3.0
SMALLEST = 16  # pixels: a picture with a shorter side shows no detail
PLAINEST = 3.0  # bits of entropy of the grey levels: icons and diagrams have fewer; without colour,
PLAIN, PLAIN_EVIDENCE = 5.0, 7.0  # strokes may have as few bits; then more evidence is asked for
COLOURLESS = 0.01  # share of the range of the channels
BATCH = 2048  # pairs


class Pair(NamedTuple):
    """Two near copies, as rows of the catalog; ``likeness`` is 1 for identical detail."""

    first: int
    second: int
    likeness: float
    mirrored: bool


def near_pairs(
    inspection: Inspection,
    features: Floats | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> list[Pair]:
    """Find pictures that are near copies of one another; exact copies are compared once.

    A sketch is a perceptual hash before rounding to bits: the lowest frequencies, as in pHash
    (Zauner 2010). Pictures with few grey levels or very few pixels are skipped: many of them look
    alike without being copies.

    Parameters
    ----------
    inspection : Inspection
    features : float32 array [N, D], optional
        Of a pretrained backbone. They confirm pairs that pixels alone leave undecided, and reject
        none, so a check with features finds every pair that a training without them finds.
    workers : int, optional
        Threads; default one a core.
    progress : Progress
        Shows how many candidates were compared.
    """
    compared = _Compared.of(inspection, features)
    candidates = _neighbours(compared.sketches)
    batches = [candidates[at : at + BATCH] for at in range(0, len(candidates), BATCH)]
    best: dict[tuple[int, int], Pair] = {}
    with (
        ThreadPoolExecutor(workers or cores(), thread_name_prefix="ilk-near") as pool,
        progress("comparing pictures", len(candidates)) as tick,
    ):
        for batch, (found, degrees) in zip(
            batches, pool.map(compared.confirm, batches), strict=True
        ):
            tick(len(batch))
            for (one, other, flip), degree in zip(found, degrees, strict=True):
                a, b = sorted((int(compared.rows[one]), int(compared.rows[other])))
                if (a, b) not in best or best[a, b].likeness < degree:
                    best[a, b] = Pair(a, b, float(degree), bool(flip))
    return sorted(best.values())


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
    features: Floats | None

    @classmethod
    def of(cls, inspection: Inspection, features: Floats | None) -> _Compared:
        first: dict[str, int] = {}
        for row, picture in enumerate(inspection.catalog.pictures):
            first.setdefault(picture.digest, row)
        rows = np.array([row for _, row in sorted(first.items())], np.int64)
        entropy = inspection.statistic("entropy")
        plain = (entropy < PLAIN) & (inspection.statistic("colour") < COLOURLESS)
        small = np.array([min(f.width, f.height) < SMALLEST for f in inspection.facts], bool)
        fit = ~small & (entropy >= PLAINEST) & np.any(inspection.sketches, axis=1)
        rows = rows[fit[rows]]
        return cls(
            rows,
            tuple(inspection.catalog.pictures[row] for row in rows),
            inspection.sketches[rows],
            np.where(plain, PLAIN_EVIDENCE, EVIDENCE)[rows].astype(np.float32),
            None if features is None else features[rows],
        )

    def confirm(self, pairs: Numbers) -> tuple[Numbers, Floats]:
        """Return the pairs that are near copies, and the correlation of their detail."""
        one, other, flip = pairs.T
        sketches = self.sketches
        left = _drawn(np.where(flip[:, None] == 1, mirrored(sketches[one]), sketches[one]))
        right = _drawn(sketches[other])
        place = registered(left, right)
        alike = likeness(left, right, place) >= ALIKE
        if not alike.any():
            return pairs[:0], np.zeros(0, np.float32)
        pairs, place = pairs[alike], place[alike]
        degrees, deviations = _detail(self.pictures, pairs, place)
        asked = self.evidence[pairs[:, :2]].max(axis=1)
        sure = (degrees >= DETAIL) & (deviations >= asked)
        if self.features is not None:
            backed = (asked == EVIDENCE) & _seen_alike(self.features, pairs)
            sure |= backed & (degrees >= DETAIL_THEN) & (deviations >= EVIDENCE_THEN)
        return pairs[sure], degrees[sure]


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


def _detail(pictures: Sequence[Picture], pairs: Numbers, place: Floats) -> tuple[Floats, Floats]:
    """Decode both pictures of each pair, and return the correlation of their detail.

    With it comes Fisher's z (1915): by how many standard deviations a correlation of so many
    independent values exceeds that of unlike pictures.
    """
    rows, where = np.unique(pairs[:, :2], return_inverse=True)
    luma = np.stack([_luma(pictures[row]) for row in rows])
    amount = amount_of_detail(luma)
    one, other = where.reshape(-1, 2).T
    left = np.where(pairs[:, 2, None, None] == 1, luma[one][:, :, ::-1], luma[one])
    right = luma[other]
    place = registered(blurred(left), blurred(right), place)
    degree = likeness_of_detail(left, right, place)
    number = np.maximum(amount[one], amount[other])  # a copy of lower resolution shows less
    deviations = np.arctanh(degree.clip(0, 0.9999)) * np.sqrt((number - 3).clip(0))
    return degree, deviations


def _seen_alike(features: Floats, pairs: Numbers) -> NDArray[np.bool_]:
    one, other = features[pairs[:, 0]], features[pairs[:, 1]]
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    alike: NDArray[np.bool_] = (one * other).sum(axis=1) >= SEEN_ALIKE * lengths
    return alike


def _luma(picture: Picture) -> Floats:
    """Return a picture's luma, squashed to SIDE x SIDE; zeros if it can no longer be read."""
    try:
        luma = reduced(picture.read(), SIDE) @ LUMA
    except (OSError, DecodeError):
        return np.zeros((SIDE, SIDE), np.float32)
    image = Image.fromarray(luma).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)
