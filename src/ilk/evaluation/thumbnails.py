"""Thumbnails: small JPEGs as data URIs, none larger than a few kilobytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from concurrent.futures import Future

from PIL import Image

from ilk.data.catalog import Picture
from ilk.data.decode import thumbnail
from ilk.data.limits import Threads
from ilk.errors import DecodeError
from ilk.runtime import cores
from ilk.spec import PLAIN, Conversion

SIDE = 192  # pixels
LARGEST = 7_000  # bytes
QUALITIES = (78, 60, 40, 20, 8)


class Thumbnails:
    """Makes thumbnails in threads; each picture's once, however often it is shown."""

    def __init__(self, conversion: Conversion = PLAIN) -> None:
        self._conversion = conversion
        self._pool = Threads(cores())
        self._made: dict[str, Future[str | None]] = {}

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def prepare(self, pictures: Iterable[Picture]) -> None:
        """Begin to make the thumbnails of some pictures."""
        for picture in pictures:
            if picture.path not in self._made:
                self._made[picture.path] = self._pool.submit(data_uri, picture, self._conversion)

    def of(self, path: str) -> str | None:
        """Return a thumbnail that was prepared; None if the picture cannot be read."""
        return self._made[path].result()


def data_uri(picture: Picture, conversion: Conversion = PLAIN) -> str | None:
    """Return a picture as a JPEG of at most ``LARGEST`` bytes, in a ``data:`` URI."""
    try:
        image = thumbnail(picture.read(), SIDE, conversion)
    except (DecodeError, OSError):
        return None
    return as_data_uri(image)


def as_data_uri(image: Image.Image) -> str:
    """Return an image as a JPEG of at most ``LARGEST`` bytes, if it can be, in a ``data:`` URI."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= LARGEST:
            break
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
