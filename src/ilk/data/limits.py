"""Limits: how large a picture may be, known from its header before anything is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from threading import Lock
from typing import Any

from PIL import Image

from ilk.errors import DecodeError, UsageError

LONGEST = 65_535  # pixels of a side, as in JPEG; what a resize needs grows with it
FLAG = "--max-pixels"
BYTES = 8  # of each pixel of the limit, that all channels of a picture may take together
USUAL = 2**30 // 4 // 3  # pixels: Pillow's own limit, 89 megapixels
JPEG_FACTOR = 3  # a JPEG that is scaled down by its DCT takes no memory for the rest


class _Pillow:
    """Keeps Pillow's own limit, one for the process, from refusing what a block allows.

    It is raised to the highest limit in force, and is as before once no block is left.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._usual: int | None = None
        self._active: list[int] = []

    @property
    def usual(self) -> int | None:
        """Pillow's limit without any block."""
        with self._lock:
            return self._usual if self._active else Image.MAX_IMAGE_PIXELS

    def enter(self, pixels: int) -> None:
        with self._lock:
            if not self._active:
                self._usual = Image.MAX_IMAGE_PIXELS
            self._active.append(pixels)
            self._apply()

    def leave(self, pixels: int) -> None:
        with self._lock:
            self._active.remove(pixels)
            self._apply()

    def _apply(self) -> None:
        if self._usual is not None:
            Image.MAX_IMAGE_PIXELS = max(self._usual, *self._active, 0)


_pillow = _Pillow()
_own: ContextVar[int | None] = ContextVar("pixel_limit", default=None)


class Threads(ThreadPoolExecutor):
    """A pool whose threads apply the limit that holds where a task is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule a call, as `concurrent.futures.Executor.submit`."""
        return super().submit(copy_context().run, fn, *args, **kwargs)


@contextmanager
def pixel_limit(pixels: int | None) -> Iterator[None]:
    """Set the limit of pixels for as long as the block lasts; None: leave it.

    It holds for this thread and for the pools of `Threads` that it submits to: blocks in other
    threads have limits of their own.
    """
    if pixels is None:
        yield
        return
    if pixels < 1:
        raise UsageError(f"{FLAG} {pixels}: give 1 or more.")
    _pillow.enter(pixels)
    token = _own.set(pixels)
    try:
        yield
    finally:
        _own.reset(token)
        _pillow.leave(pixels)


def most_pixels() -> int | None:
    """Return the limit that holds here; None: there is none."""
    own = _own.get()
    return _pillow.usual if own is None else own


def too_many(width: int, height: int) -> bool:
    """Say whether a picture has more pixels than the limit."""
    limit = most_pixels()
    return limit is not None and width * height > limit


def too_many_of_a_jpeg(width: int, height: int) -> bool:
    """Say whether a JPEG has more pixels than the limit, which is higher unless it was set."""
    limit = most_pixels()
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
            f"has {width} x {height} pixels, over the limit of {most_pixels():,}: make it "
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
    limit = most_pixels()
    if limit is not None and size > BYTES * limit:
        raise DecodeError(
            f"takes {size / 1e6:,.0f} MB with all its channels, over the limit of "
            f"{BYTES * limit / 1e6:,.0f} MB: split it, or allow more with {FLAG}",
            "file.bomb",
        )
