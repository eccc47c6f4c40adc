"""Upright: a decoded picture becomes upright RGB of another size, without a copy of the whole.

Pillow keeps a pixel in four bytes, so that each copy of 50 megapixels takes 200 MB. Strips give
the same result bit by bit: a resize is two passes, one along each axis, and in the first of them
each row (or each column) stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ilk.arrays import Pixels

STRIP = 2**20  # pixels that are converted at a time
_T = Image.Transpose
_SIDEWAYS = {_T.TRANSPOSE, _T.ROTATE_270, _T.TRANSVERSE, _T.ROTATE_90}
_MIRRORED = {_T.FLIP_LEFT_RIGHT, _T.ROTATE_180, _T.TRANSVERSE, _T.ROTATE_270}  # along upright x
_FLIPPED = {_T.FLIP_TOP_BOTTOM, _T.ROTATE_180, _T.TRANSVERSE, _T.ROTATE_90}  # along upright y


class Upright:
    """An image of any 8-bit mode and any orientation, seen as upright RGB over white.

    Parameters
    ----------
    image : PIL image or uint8 array [H, W, 3]
    turn : PIL.Image.Transpose, optional
        What makes it upright.

    Attributes
    ----------
    size : tuple of int
        Width and height once it is upright.
    """

    def __init__(self, image: Image.Image | Pixels, turn: Image.Transpose | None = None) -> None:
        self._image = image
        self._turn = turn
        size = image.shape[1::-1] if isinstance(image, np.ndarray) else image.size
        self.size = size[::-1] if turn in _SIDEWAYS else size

    def resize(
        self,
        size: tuple[int, int],
        method: Image.Resampling,
        box: tuple[float, float, float, float] | None = None,
        reducing_gap: float | None = None,
    ) -> Image.Image:
        """Return what `PIL.Image.Image.resize` returns.

        Parameters
        ----------
        reducing_gap : float, optional
            As Pillow's; it does not apply to a box.
        """
        width, height = self.size
        if reducing_gap and box is None and method != Image.Resampling.NEAREST:
            across = int(width / size[0] / reducing_gap) or 1
            down = int(height / size[1] / reducing_gap) or 1
            if across > 1 or down > 1:
                exact = (0, 0, width / across, height / down)
                return self.reduce(across, down).resize(size, method, exact)
        if width * height <= STRIP:
            return self._part(0, 0, width, height).resize(size, method, box)
        left, top, right, bottom = box or (0, 0, width, height)
        # Pillow 13 takes the passes in this order; older ones go along x first, whatever the shape.
        if height > size[1] and height - size[1] > 2 * (width - size[0]):
            flat = Image.new("RGB", (width, size[1]))
            for x, end in _strips(width, height):
                part = self._part(x, 0, end, height)
                flat.paste(
                    part.resize((end - x, size[1]), method, (0, top, end - x, bottom)), (x, 0)
                )
            return flat.resize(size, method, (left, 0, right, size[1]))
        narrow = Image.new("RGB", (size[0], height))
        for y, end in _strips(height, width):
            part = self._part(0, y, width, end)
            narrow.paste(part.resize((size[0], end - y), method, (left, 0, right, end - y)), (0, y))
        return narrow.resize(size, method, (0, top, size[0], bottom))

    def reduce(self, across: int, down: int) -> Image.Image:
        """Return what `PIL.Image.Image.reduce` returns: means of ``across`` x ``down`` pixels."""
        width, height = self.size
        if width * height <= STRIP:
            return self._part(0, 0, width, height).reduce((across, down))
        found = Image.new("RGB", (-(-width // across), -(-height // down)))
        for y, end in _strips(height, width, down):
            found.paste(self._part(0, y, width, end).reduce((across, down)), (0, y // down))
        return found

    def _part(self, left: int, top: int, right: int, bottom: int) -> Image.Image:
        """Return what the upright picture has in a box."""
        width, height = self.size
        if self._turn in _MIRRORED:
            left, right = width - right, width - left
        if self._turn in _FLIPPED:
            top, bottom = height - bottom, height - top
        if self._turn in _SIDEWAYS:
            left, top, right, bottom = top, left, bottom, right
        if isinstance(self._image, np.ndarray):
            image = Image.fromarray(self._image[top:bottom, left:right])
        elif (left, top, right, bottom) == (0, 0, *self._image.size):
            image = self._image
        else:
            image = self._image.crop((left, top, right, bottom))
        image = _to_rgb(image)
        return image if self._turn is None else image.transpose(self._turn)


def _strips(length: int, across: int, step: int = 1) -> Iterator[tuple[int, int]]:
    """Yield where strips begin and end along a side; they begin at multiples of ``step``."""
    thickness = max(1, STRIP // across // step) * step
    for start in range(0, length, thickness):
        yield start, min(start + thickness, length)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        over = Image.new("RGB", rgba.size, "white")
        over.paste(rgba, mask=rgba)
        return over
    return image if image.mode == "RGB" else image.convert("RGB")
