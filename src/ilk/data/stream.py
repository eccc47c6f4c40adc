"""Stream: decode pictures on threads, ahead of the consumer, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from ilk.arrays import Pixels
from ilk.data.catalog import Picture
from ilk.data.decode import decode
from ilk.data.limits import Threads
from ilk.errors import DecodeError, UsageError
from ilk.runtime import cores
from ilk.spec import Preprocess

LOOKAHEAD_BYTES = 256 * 2**20
MOST_AHEAD = 64  # batches: with more, small pictures would be queued by the hundred thousand


@dataclass(frozen=True)
class Batch:
    """Decoded pixels ``uint8 [N, H, W, 3]``, which pictures they are, and which failed and why."""

    pixels: Pixels
    indices: list[int]
    errors: dict[int, str]


class Stream:
    """Iterate over pictures as decoded batches, in order.

    Decoding starts at once, before the first batch is requested, so that it overlaps with the
    caller's own setup, and stays at most ``LOOKAHEAD_BYTES`` of pixels ahead. As a context manager
    it stops decoding at the end of the block, whatever happens in it.

    Parameters
    ----------
    batch : int
        Pictures in a batch; those that cannot be decoded are missing from it.
    workers : int, optional
        Decoding threads; default one a core.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        preprocess: Preprocess,
        *,
        batch: int = 32,
        workers: int | None = None,
    ) -> None:
        if batch < 1 or (workers is not None and workers < 1):
            raise UsageError(f"batch = {batch}, workers = {workers}: give 1 or more.")
        self._pictures = pictures
        self._preprocess = preprocess
        self._batch = batch
        self._next = 0
        self._pool = Threads(workers or cores(), thread_name_prefix="ilk-decode")
        self._pending: deque[Future[Batch]] = deque()
        ahead = LOOKAHEAD_BYTES // (preprocess.imgsz**2 * 3 * batch)
        for _ in range(0, len(pictures), batch)[: min(max(2, ahead), MOST_AHEAD)]:
            self._submit()

    def __iter__(self) -> Iterator[Batch]:
        try:
            while self._pending:
                yield self._pending.popleft().result()
                self._submit()
        finally:
            self.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop decoding and drop what is pending."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self) -> None:
        if self._next < len(self._pictures):
            self._pending.append(self._pool.submit(self._decode, self._next))
            self._next += self._batch

    def _decode(self, start: int) -> Batch:
        chunk = self._pictures[start : start + self._batch]
        size = self._preprocess.imgsz
        pixels = np.empty((len(chunk), size, size, 3), np.uint8)
        indices: list[int] = []
        errors: dict[int, str] = {}
        for index, picture in enumerate(chunk, start):
            try:
                pixels[len(indices)] = decode(picture.read(), self._preprocess)
                indices.append(index)
            except DecodeError as error:
                errors[index] = str(error)
            except OSError as error:
                errors[index] = f"cannot be opened: {error.strerror}"
        return Batch(pixels[: len(indices)], indices, errors)


def decoded(
    pictures: Sequence[Picture], preprocess: Preprocess, *, workers: int | None = None
) -> tuple[Pixels, list[int]]:
    """Return the pixels ``uint8 [M, S, S, 3]`` of those pictures that can be decoded, and which."""
    side = preprocess.imgsz
    chunks = list(Stream(pictures, preprocess, workers=workers)) if pictures else []
    pixels = [np.empty((0, side, side, 3), np.uint8), *(chunk.pixels for chunk in chunks)]
    return np.concatenate(pixels), [i for chunk in chunks for i in chunk.indices]
