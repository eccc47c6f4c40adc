"""Depth: values of more than 8 bits, or of chosen channels, become 8-bit grey or RGB.

Cameras of microscopes and X-ray devices store 12 bits in 16, scanners 16-bit integers with a sign,
processing writes floats. A `Conversion` says which of the values become 0 and 255.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ilk.arrays import Pixels
from ilk.data import tiff
from ilk.data.tiff import Values
from ilk.errors import DecodeError
from ilk.spec import Conversion, Range

WIDEST = 65_535  # what 16-bit grey is scaled from, if no range is known
SIGNED = 2  # the sample format of a TIFF
ROWS = 2**20  # values that are scaled at a time


def is_deep(image: Image.Image) -> bool:
    """Say whether a picture that is open, and not loaded yet, has more than 8 bits a channel.

    So count 8 bits with a sign, of which Pillow ignores the sign.
    """
    if image.mode == "F" or image.mode.startswith("I") or ";16" in str(_tile(image)):
        return True
    formats = getattr(image, "tag_v2", {}).get(tiff.FORMAT, (1,))
    return image.format == "TIFF" and formats[0] == SIGNED


def plane_count(image: Image.Image, data: bytes) -> int:
    """Return the channels of all pages of a TIFF, or the frames of a DICOM file.

    1 of other formats, and of a page that is an ordinary picture: grey or RGB, perhaps with alpha.
    """
    if image.format == "DICOM":
        return int(getattr(image, "n_frames", 1))
    if image.format != "TIFF" or not data:
        return 1
    pages = tiff.planes_of(data)
    single = len(pages) == 1 and not isinstance(image, tiff.StoredTiff)
    return 1 if single else tiff.plane_count(pages)


def converted(image: Image.Image, data: bytes | None, conversion: Conversion) -> Image.Image:
    """Load a picture; return it with 8 bits a channel.

    Parameters
    ----------
    image : PIL image
    data : bytes or None
        The file that it was opened from; None of an image in memory.
    conversion : Conversion

    Raises
    ------
    DecodeError
        It has values of no known range, or lacks a channel.
    """
    found = stored_values(image, data, conversion)
    if found is None:
        image.load()
        return image
    return Image.fromarray(scaled(*found, conversion.range))


def stored_values(
    image: Image.Image, data: bytes | None, conversion: Conversion
) -> tuple[Values, bool] | None:
    """Return the values ``[H, W]`` or ``[H, W, 3]`` of a picture, and whether 0 is white.

    None: it has 8 bits a channel, and Pillow converts it best.
    """
    deep, channels = is_deep(image), conversion.channels
    if image.format == "DICOM" and (deep or channels):
        return image.values(channels)  # type: ignore[attr-defined, no-any-return]
    if image.format == "TIFF" and data is not None:
        known = deep and conversion.range is not None
        if isinstance(image, tiff.StoredTiff) or channels or known:
            pages = tiff.planes_of(data)
            if all(page.readable for page in pages) or channels or not deep:
                return tiff.read_planes(data, channels, pages)
    if not deep:
        return None
    if image.mode.startswith("RGB"):
        low = _low_bytes(image, data) if data is not None and conversion.range else None
        if low is None:
            return None  # Pillow takes the high bytes
        image.load()
        values = np.asarray(image).astype(np.uint16)
        values <<= 8
        values |= low
        return values, False
    image.load()
    return np.asarray(image), tiff.is_white_zero(getattr(image, "tag_v2", {}))


def scaled(values: NDArray[Any], white_is_zero: bool, span: Range | None) -> Pixels:
    """Return values of any type as ``uint8``, of the same shape; those beyond the range are cut.

    NaN becomes the low end: it stands for "no data".

    Raises
    ------
    DecodeError
        The values have no known range, or none of them is a finite number.
    """
    if values.dtype == np.uint8:
        return 255 - values if white_is_zero else values
    low, high = span or _usual(values)
    if values.dtype.kind == "f" and not np.isfinite(values).any():
        raise DecodeError("has no finite values, only NaN or infinity")
    found = np.empty(values.shape, np.uint8)
    step = max(1, ROWS // max(1, values[0].size))
    factor = 255 / (high - low)
    for start in range(0, len(values), step):
        part = values[start : start + step].astype(np.float64)
        np.nan_to_num(part, copy=False, nan=low, posinf=high, neginf=low)
        part = np.clip((part - low) * factor, 0, 255)
        found[start : start + step] = np.round(255 - part if white_is_zero else part)
    return found


def _usual(values: NDArray[Any]) -> Range:
    """Return the range of 16 bits, or of 8 where 32 hold no more; refuse what does not fit."""
    if values.dtype.kind == "f":
        raise DecodeError(
            "has floating-point pixels, and no range of values is known: give one in training "
            "(--range LOW:HIGH), or save it as 8 bit"
        )
    if values.min() < 0 or values.max() > WIDEST:
        raise DecodeError(
            "has 32-bit pixels, and no range of values is known: give one in training "
            "(--range LOW:HIGH), or save it as 8 or 16 bit"
        )
    return 0, 255 if values.dtype.itemsize > 2 and values.max() <= 255 else WIDEST


def _low_bytes(image: Image.Image, data: bytes | None) -> Pixels | None:
    """Return the low bytes of a PNG's 16-bit colours, which Pillow drops; None of other files."""
    if image.format != "PNG" or image.mode != "RGB" or data is None:
        return None
    with Image.open(io.BytesIO(data), formats=("PNG",)) as other:
        swapped = [tile._replace(args=_swapped(tile.args)) for tile in other.tile]
        if swapped == other.tile:
            return None
        other.tile = swapped
        other.load()
        return np.asarray(other)


def _swapped(arguments: Any) -> Any:
    """Return a decoder's arguments as if its 16-bit numbers stood in the other byte order."""
    if isinstance(arguments, str):
        return arguments.replace("RGB;16B", "RGB;16L")
    return tuple(_swapped(x) if isinstance(x, str) else x for x in arguments)


def _tile(image: Image.Image) -> Any:
    return getattr(image, "tile", "")
