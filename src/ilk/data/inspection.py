"""Inspection: every file is read once, and it is noted what it is and how the picture looks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ilk.data.cache import FeatureCache
from ilk.data.catalog import Catalog, Content, LeftOut, Picture, Pixels, digest_of
from ilk.data.decode import opened, reduced
from ilk.data.truncation import ends_early
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
WIDTH = len(LOOKS) + SKETCH**2 - 1
VERSION = 2
PART = 64  # pictures: what a thread takes at a time
_CAMERA_TAG, _ORIENTATION_TAG = 0x0110, 0x0112
_CARRIERS = {"exif", "xmp", "Raw profile type exif"}  # where Pillow finds EXIF
GREYS = np.array([(level, level**2) for level in range(256)], np.float64)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R BT.601
BLANK = 1.0  # grey levels: pictures whose low frequencies vary less have no sketch
STILL = ("MPO",)  # a phone's photo with a second view in it, no animation


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file and its header tell of a picture, as it is stored.

    Attributes
    ----------
    bytes : int
        Its size; 0 of pixels in memory.
    format, mode : str
        As Pillow names them; the mode of what is stored in 16 bits a channel ends with ``;16``.
    width, height : int
        In pixels, before it is turned.
    animated : bool
        There are several frames or pages.
    orientation : int
        By EXIF, 1 to 8; 1 stands upright.
    camera : str
        Its model, by EXIF.
    transparent : bool
        There is an alpha channel, or a colour that is transparent.
    ends_early : bool
        Its end is missing, although a picture could be decoded.
    modified : int
        When the file was last changed before it was read, in nanoseconds; 0 of what is no file.
    """

    bytes: int = 0
    format: str = ""
    mode: str = "RGB"
    width: int = 0
    height: int = 0
    animated: bool = False
    orientation: int = 1
    camera: str = ""
    transparent: bool = False
    ends_early: bool = False
    modified: int = 0


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
    rows = np.empty((len(catalog), WIDTH), np.float32)
    work = [catalog.pictures[i : i + PART] for i in range(0, len(catalog), PART)]
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(workers or cores(), thread_name_prefix="ilk-inspect") as pool,
        progress("reading files", len(catalog)) as tick,
        cache.collecting() as collect,
    ):
        # What Pillow warns of leaves a file out, or does no harm.
        warnings.filterwarnings("ignore", module="PIL")
        for part in pool.map(lambda part: [_inspected(p, known) for p in part], work):
            tick(len(part))
            for result in part:
                if isinstance(result, LeftOut):
                    gone.append(result)
                    continue
                picture, fact, row = result
                rows[len(pictures)] = row
                pictures.append(picture)
                facts.append(fact)
                if bytes.fromhex(picture.digest) not in known:
                    collect([picture.digest], row[None])
    return Inspection(
        replace(catalog, pictures=tuple(pictures), left_out=(*catalog.left_out, *gone)),
        tuple(facts),
        rows[: len(pictures), : len(LOOKS)],
        rows[: len(pictures), len(LOOKS) :],
    )


def _inspected(
    picture: Picture, known: dict[bytes, Floats]
) -> tuple[Picture, Facts, Floats] | LeftOut:
    try:
        modified = 0 if picture.content is not None else Path(picture.path).stat().st_mtime_ns
        content = picture.read()
        digest = digest_of(content)
    except (OSError, ValueError) as error:
        reason = f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        return _left_out(picture, reason, "file.unreadable")
    try:
        facts = replace(facts_of(content), modified=modified)
        row = known.get(bytes.fromhex(digest))
        row = look_at(content) if row is None else row
    except DecodeError as error:
        if isinstance(content, bytes) and content and ends_early(content):
            return _left_out(picture, "ends too early: the rest is missing", "file.truncated")
        return _left_out(picture, str(error), error.kind)
    return replace(picture, digest=digest), facts, row


def _left_out(picture: Picture, reason: str, kind: str) -> LeftOut:
    return LeftOut(picture.path, reason, picture.label, picture.split, kind=kind)


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
        return _facts(content)
    with opened(content) as image:
        return replace(_facts(image), bytes=len(content), ends_early=ends_early(content))


def _facts(image: Image.Image) -> Facts:
    orientation, camera = _exif(image)
    deep = ";16" in str(getattr(image, "tile", "")) and ";16" not in image.mode
    facts = Facts(
        format=image.format or "",
        mode=f"{image.mode};16" if deep else image.mode,
        width=image.width,
        height=image.height,
        orientation=orientation,
        camera=camera,
        transparent=image.has_transparency_data,
    )
    return replace(facts, animated=_is_animated(image))  # last, as looking for frames moves on


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False)) and image.format not in STILL
    except Exception:  # as in _exif: what is wrong behind the first frame does no harm
        return False


def _exif(image: Image.Image) -> tuple[int, str]:
    """Return the orientation and the model of the camera; what is damaged tells nothing."""
    # Asked for EXIF that is not in the header, Pillow decodes a whole PNG to search behind it.
    if image.format != "TIFF" and _CARRIERS.isdisjoint(image.info):
        return 1, ""
    try:
        exif = image.getexif()
        orientation, camera = exif.get(_ORIENTATION_TAG, 1), exif.get(_CAMERA_TAG, "")
    except Exception:  # Pillow's EXIF and XMP parsers meet hostile bytes with errors of many kinds
        return 1, ""
    upright = not isinstance(orientation, int) or orientation not in range(1, 9)
    return 1 if upright else orientation, str(camera).strip("\0 ")


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


def _looks(pixels: Pixels, luma: Floats) -> list[float]:
    """Return the row of ``LOOKS``; whole numbers, where they do, are several times as fast."""
    grey = (luma + 0.5).astype(np.int16)
    counts = np.bincount(grey.ravel(), minlength=256)
    levels = counts @ GREYS / grey.size  # their mean, and the mean of their squares
    mean, square = levels.tolist()
    shadow, highlight = np.searchsorted(np.cumsum(counts), (0.05 * grey.size, 0.99 * grey.size))
    shares = counts.reshape(64, 4).sum(axis=1) / grey.size
    some = shares[shares > 0]
    right = np.abs(grey[:, 1:] - grey[:, :-1])
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    top = np.maximum(np.maximum(red, green), blue)
    bottom = np.minimum(np.minimum(red, green), blue)
    return [
        mean / 255,
        float(shadow) / 255,
        float(highlight) / 255,
        max(0.0, square - mean**2) ** 0.5 / 255,
        -float(some @ np.log2(some)),
        _laplacian(grey).std(dtype=np.float32) / 255 if min(grey.shape) > 2 else 0.0,
        np.count_nonzero(right <= 1) / right.size if right.size else 1.0,
        float((top - bottom).mean(dtype=np.float32)) / 255,
    ]


def _laplacian(grey: NDArray[np.int16]) -> NDArray[np.int16]:
    inner = grey[1:-1, 1:-1]
    return grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner


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
    result: Floats = basis.astype(np.float32)
    return result


COSINES = _cosines()
