"""Limits: how large a picture may be, known from its header before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from ilk.errors import DecodeError, UsageError

LONGEST = 65_535  # pixels of a side, as in JPEG; what a resize needs grows with it
FLAG = "--max-pixels"
BYTES = 8  # of each pixel of the limit, that all channels of a picture may take together
USUAL = 2**30 // 4 // 3  # pixels: Pillow's own limit, 89 megapixels
JPEG_FACTOR = 3  # a JPEG that is scaled down by its DCT takes no memory for the rest


@contextmanager
def pixel_limit(pixels: int | None) -> Iterator[None]:
    """Set Pillow's limit, which decoding applies, for as long as the block lasts; None: leave it.

    It is one for the whole process.
    """
    if pixels is None:
        yield
        return
    if pixels < 1:
        raise UsageError(f"{FLAG} {pixels}: give 1 or more.")
    previous = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = previous


def too_many(width: int, height: int) -> bool:
    """Say whether a picture has more pixels than the limit."""
    limit = Image.MAX_IMAGE_PIXELS
    return limit is not None and width * height > limit


def too_many_of_a_jpeg(width: int, height: int) -> bool:
    """Say whether a JPEG has more pixels than the limit, which is higher unless it was set."""
    limit = Image.MAX_IMAGE_PIXELS
    factor = JPEG_FACTOR if limit == USUAL else 1
    return limit is not None and width * height > factor * limit


def refuse_too_large(width: int, height: int) -> None:
    """Refuse a picture of too many pixels, or with a side that is too long.

    Raises
    ------
    DecodeError
        It is too large.
    """
    if max(width, height) > LONGEST:
        raise DecodeError(
            f"has {width} x {height} pixels, and no side may be longer than "
            f"{LONGEST:,}: make it smaller",
            "file.bomb",
        )
    if too_many(width, height):
        raise DecodeError(
            f"has {width} x {height} pixels, over the limit of {Image.MAX_IMAGE_PIXELS:,}: make it "
            f"smaller, or allow more with {FLAG}",
            "file.bomb",
        )


def refuse_too_many_bytes(size: int) -> None:
    """Refuse a picture whose channels take too many bytes together.

    Raises
    ------
    DecodeError
        They do.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and size > BYTES * limit:
        raise DecodeError(
            f"takes {size / 1e6:,.0f} MB with all its channels, over the limit of "
            f"{BYTES * limit / 1e6:,.0f} MB: split it, or allow more with {FLAG}",
            "file.bomb",
        )
