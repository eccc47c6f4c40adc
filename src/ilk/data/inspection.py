"""Inspection: every file is read once, and it is noted what it is and how the picture looks."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ilk.data.cache import FeatureCache
from ilk.data.catalog import Catalog, Content, LeftOut, Picture, Pixels, digest_of
from ilk.data.decode import opened, reduced
from ilk.errors import DecodeError
from ilk.runtime import Progress, cores, silent

Floats = NDArray[np.float32]
SIDE = 128  # pixels: what statistics are taken of; a smaller picture is taken as it is
LOOKS = (
    "brightness",  # mean of the luma, 0 to 1
    "shadow",  # its 5th percentile
    "highlight",  # its 99th percentile
    "contrast",  # its standard deviation
    "entropy",  # of its histogram of 64 bins, in bits: 0 to 6
    "sharpness",  # standard deviation of its Laplacian
    "flat",  # share of pixels that are as their right neighbour, but for rounding
    "colour",  # mean of the largest difference between two channels, 0 to 1
)
SKETCH = 8  # lowest frequencies along each side
SKETCHED = 32  # pixels along each side of what is sketched
VERSION = 1
LOT = 4096
_CAMERA_TAG, _ORIENTATION_TAG = 0x0110, 0x0112
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R BT.601
BLANK = 1.0  # grey levels: pictures whose low frequencies vary less have no sketch
STILL = ("MPO",)  # a phone's photo with a second view in it, no animation


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file and its header tell of a picture, as it is stored; ``format`` as Pillow names it.

    Pixels in memory have no format and no size in bytes.
    """

    bytes: int = 0
    format: str = ""
    mode: str = "RGB"
    width: int = 0
    height: int = 0
    animated: bool = False
    orientation: int = 1
    camera: str = ""


@dataclass(frozen=True)
class Inspection:
    """What was found out about the pictures of a catalog, one row each.

    Attributes
    ----------
    catalog : Catalog
        With digests; files that cannot be read are left out, each with the kind of its trouble.
    facts : tuple of Facts
    looks : float32 array [N, len(LOOKS)]
        How the pictures look; see `look`.
    sketches : float32 array [N, 63]
        The lowest frequencies of the luma but for the mean (its discrete cosine transform), of unit
        length: their inner product is the correlation of two blurred pictures. Zero if blank.
    """

    catalog: Catalog
    facts: tuple[Facts, ...]
    looks: Floats
    sketches: Floats

    def look(self, name: str) -> Floats:
        """Return one column of ``looks``: ``brightness``, say."""
        column: Floats = self.looks[:, LOOKS.index(name)]
        return column

    def without(self, reasons: Mapping[str, str]) -> Inspection:
        """Return the inspection less some pictures, given as path: reason."""
        if not reasons:
            return self
        kept = [i for i, p in enumerate(self.catalog.pictures) if p.path not in reasons]
        return Inspection(
            self.catalog.without(reasons),
            tuple(self.facts[i] for i in kept),
            self.looks[kept],
            self.sketches[kept],
        )


def inspect(
    catalog: Catalog, workers: int | None = None, progress: Progress = silent
) -> Inspection:
    """Read every file of a catalog once: hash it, read its header, decode it, look at it.

    A picture whose content was looked at before is not decoded again.
    """
    cache = FeatureCache(f"looks-{VERSION}")
    known = cache.known()
    pictures: list[Picture] = []
    gone: list[LeftOut] = []
    facts: list[Facts] = []
    rows: list[Floats] = []
    work = iter(catalog.pictures)
    with (
        ThreadPoolExecutor(workers or cores(), thread_name_prefix="ilk-inspect") as pool,
        progress("reading files", len(catalog)) as tick,
        cache.collecting() as collect,
    ):
        while lot := list(islice(work, LOT)):
            for picture, result in zip(
                lot, pool.map(lambda p: _inspected(p, known), lot, chunksize=32), strict=True
            ):
                tick(1)
                if isinstance(result, LeftOut):
                    gone.append(result)
                    continue
                digest, fact, row = result
                pictures.append(replace(picture, digest=digest))
                facts.append(fact)
                rows.append(row)
                if bytes.fromhex(digest) not in known:
                    collect([digest], row[None])
    table = np.stack(rows) if rows else np.zeros((0, len(LOOKS) + SKETCH**2 - 1), np.float32)
    return Inspection(
        replace(catalog, pictures=tuple(pictures), left_out=(*catalog.left_out, *gone)),
        tuple(facts),
        table[:, : len(LOOKS)],
        table[:, len(LOOKS) :],
    )


def _inspected(picture: Picture, known: dict[bytes, Floats]) -> tuple[str, Facts, Floats] | LeftOut:
    try:
        content = picture.read()
    except OSError as error:
        reason, kind = f"cannot be opened: {error.strerror}", "file.unreadable"
        return LeftOut(picture.path, reason, picture.label, picture.split, kind=kind)
    digest = digest_of(content)
    try:
        row = known.get(bytes.fromhex(digest))
        return digest, facts_of(content), look_at(content) if row is None else row
    except DecodeError as error:
        return LeftOut(picture.path, str(error), picture.label, picture.split, kind=error.kind)


def facts_of(content: Content) -> Facts:
    """Read a picture's header.

    Raises
    ------
    DecodeError
        The content is no picture.
    """
    if isinstance(content, np.ndarray):
        return Facts(width=content.shape[1], height=content.shape[0])
    if not isinstance(content, bytes):
        return Facts(mode=content.mode, width=content.width, height=content.height)
    with opened(content) as image:
        # Pillow reads EXIF from a decoded PNG only, and looking for frames may decode too.
        exif: Any = image.getexif() if "exif" in image.info else {}
        return Facts(
            len(content),
            str(image.format),
            image.mode,
            image.width,
            image.height,
            bool(getattr(image, "is_animated", False)) and image.format not in STILL,
            _number(exif.get(_ORIENTATION_TAG, 1)),
            str(exif.get(_CAMERA_TAG, "")).strip("\0 "),
        )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 1


def look_at(content: Content) -> Floats:
    """Decode a picture, small, and say how it looks: its row of looks, then its sketch.

    Raises
    ------
    DecodeError
        The picture cannot be decoded.
    """
    pixels = reduced(content, SIDE)
    luma = pixels @ LUMA
    return np.concatenate([_looks(pixels, luma), sketch(luma)]).astype(np.float32)


def _looks(pixels: Pixels, luma: Floats) -> Floats:
    """Return the row of ``LOOKS``."""
    histogram = np.bincount((luma.ravel() * (63.999 / 255)).astype(np.intp), minlength=64)
    shares = histogram / luma.size
    spread = np.cumsum(shares)
    shadow, highlight = np.searchsorted(spread, (0.05, 0.99)) / 63
    some = shares[shares > 0]
    right = np.abs(np.diff(luma, axis=1))
    channels = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    return np.array(
        [
            luma.mean() / 255,
            shadow,
            highlight,
            luma.std() / 255,
            -(some * np.log2(some)).sum(),
            _laplacian(luma).std() / 255 if min(luma.shape) > 2 else 0,
            (right <= 1).mean() if right.size else 1,
            channels.mean() / 255,
        ],
        np.float32,
    )


def _laplacian(luma: Floats) -> Floats:
    inner = luma[1:-1, 1:-1]
    return luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner


def sketch(luma: Floats) -> Floats:
    """Return the sketch ``float32 [63]`` of a picture's luma ``[H, W]``; zeros if it is blank."""
    image = Image.fromarray(luma).resize((SKETCHED, SKETCHED), Image.Resampling.BILINEAR)
    coefficients = (COSINES @ np.asarray(image) @ COSINES.T).ravel()[1:]
    length = float(np.linalg.norm(coefficients))
    blank = length < BLANK * SKETCHED
    return np.zeros_like(coefficients) if blank else coefficients / length


def mirrored(sketches: Floats) -> Floats:
    """Return the sketches of the pictures' mirror images: odd frequencies along x change sign."""
    signs = np.tile((-1.0) ** np.arange(SKETCH), SKETCH)[1:]
    return sketches * signs.astype(np.float32)


def _cosines() -> Floats:
    """Return the lowest basis vectors ``[SKETCH, SKETCHED]`` of the orthonormal DCT-II."""
    k, n = np.arange(SKETCH)[:, None], np.arange(SKETCHED)[None]
    basis = np.sqrt(2 / SKETCHED) * np.cos(np.pi * (n + 0.5) * k / SKETCHED)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


COSINES = _cosines()
