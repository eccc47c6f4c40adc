"""Statistics of a picture's appearance, and the sketch by which near copies are found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ilk.arrays import Floats, Pixels
from ilk.data.catalog import Content
from ilk.data.decode import reduced
from ilk.spec import PLAIN, Conversion

SIDE = 128  # pixels: what statistics are taken of; a smaller picture is taken as it is
SMALL = 64  # pixels: what edges are looked for in
STATISTICS = (
    "brightness",  # mean of the luma, 0 to 1
    "shadow",  # its 5th percentile
    "highlight",  # its 99th percentile
    "contrast",  # its standard deviation
    "entropy",  # of its histogram of 64 bins, in bits: 0 to 6
    "sharpness",  # standard deviation of its Laplacian
    "flat",  # share of pixels that are as their right neighbour, but for rounding
    "colour",  # mean of the largest difference between two channels, 0 to 1
    "edges",  # standard deviation of the edges of its luma at half the size (at most SMALL)
    "lumps",  # that of its histogram of 256 levels, there, in pixels: many if it has few levels
)
SKETCH = 8  # lowest frequencies along each side
SKETCHED = 32  # pixels along each side of what is sketched
WIDTH = len(STATISTICS) + SKETCH**2 - 1
GREYS = np.array([(level, level**2) for level in range(256)], np.float64)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R BT.601
BLANK = 1.0  # grey levels: pictures whose low frequencies vary less have no sketch


def statistics_of(content: Content, conversion: Conversion = PLAIN) -> Floats:
    """Decode a picture at reduced size; return its statistics followed by its sketch.

    Raises
    ------
    DecodeError
        The picture cannot be decoded.
    """
    pixels = reduced(content, SIDE, conversion)
    luma = pixels @ LUMA
    return np.concatenate([_statistics(pixels, luma), sketch(luma)]).astype(np.float32)


def _statistics(pixels: Pixels, luma: Floats) -> list[float]:
    """Return the row of ``STATISTICS``; whole numbers, where they do, are several times as fast."""
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
        *_edges(grey, counts),
    ]


def _edges(grey: NDArray[np.int16], counts: NDArray[np.intp]) -> tuple[float, float]:
    """Return what cleanvision (0.3.7) tells blurred pictures by; ``counts`` is the histogram."""
    small = Image.fromarray(grey.astype(np.uint8))
    if max(small.size) > SMALL:
        small = small.reduce(2)
        counts = np.array(small.histogram())
    edges = np.asarray(small.filter(ImageFilter.FIND_EDGES))
    mean, square = (np.bincount(edges.ravel(), minlength=256) @ GREYS / edges.size).tolist()
    # Of 256 counts, the sum of which is the number of pixels.
    lumps = float(counts @ counts) / 256 - (edges.size / 256) ** 2
    return max(0.0, square - mean**2) ** 0.5 / 255, max(0.0, lumps) ** 0.5


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
