"""Pixels: pictures decoded once and cached, in memory or in a mapped file, or decoded as needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

import numpy as np

from ilk.arrays import Indices, Pixels
from ilk.data.catalog import Picture
from ilk.data.decode import decode
from ilk.data.limits import Threads
from ilk.data.stream import Stream
from ilk.errors import DataError, DecodeError
from ilk.runtime import Progress, cache_dir, cores, silent
from ilk.spec import Preprocess

Cache = Literal["memory", "disk", "none"]
MEMORY_SHARE = 0.4  # of free memory: the network and its activations need some too
DISK_SHARE = 0.5
BATCHES_AHEAD = 4


class PixelSource(ABC):
    """Yields the pixels of pictures by index.

    ``errors`` says which pictures cannot be decoded, and why, as far as is known.
    """

    def __init__(self, errors: dict[int, str]) -> None:
        self.errors = errors

    @abstractmethod
    def batches(self, batches: Sequence[Indices]) -> Iterator[tuple[Pixels, Indices]]:
        """Yield ``uint8 [N, H, W, 3]`` for each batch, with the indices that could be decoded."""


class CachedPixels(PixelSource):
    """Pixels that were decoded once: ``uint8 [N, H, W, 3]``, in memory or in a mapped file."""

    def __init__(self, pixels: Pixels, errors: dict[int, str]) -> None:
        super().__init__(errors)
        self.pixels = pixels
        self._bad = np.fromiter(errors, np.int64)

    def batches(self, batches: Sequence[Indices]) -> Iterator[tuple[Pixels, Indices]]:
        """Yield a copy of each batch's pixels, without the pictures that could not be decoded."""
        for indices in batches:
            good = indices[~np.isin(indices, self._bad)] if len(self._bad) else indices
            yield self.pixels[good], good


class StreamedPixels(PixelSource):
    """Pixels decoded by threads each time they are needed, a few batches ahead."""

    def __init__(
        self, pictures: Sequence[Picture], preprocess: Preprocess, workers: int | None = None
    ) -> None:
        super().__init__({})
        self._pictures = pictures
        self._preprocess = preprocess
        self._workers = workers or cores()

    def batches(self, batches: Sequence[Indices]) -> Iterator[tuple[Pixels, Indices]]:
        """Yield each batch's pixels, without the pictures that cannot be decoded."""
        waiting: deque[tuple[Indices, list[Future[Pixels | None]]]] = deque()
        todo = iter(batches)
        pool = Threads(self._workers, thread_name_prefix="ilk-decode")
        try:
            while True:
                while len(waiting) < BATCHES_AHEAD and (batch := next(todo, None)) is not None:
                    waiting.append((batch, [pool.submit(self._decode, int(i)) for i in batch]))
                if not waiting:
                    return
                indices, futures = waiting.popleft()
                decoded = [future.result() for future in futures]
                good = np.array([pixels is not None for pixels in decoded], np.bool_)
                size = self._preprocess.imgsz
                found = np.array([p for p in decoded if p is not None], np.uint8)
                yield found.reshape(-1, size, size, 3), indices[good]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _decode(self, index: int) -> Pixels | None:
        try:
            return decode(self._pictures[index].read(), self._preprocess)
        except DecodeError as error:
            self.errors[index] = str(error)
        except OSError as error:
            self.errors[index] = f"cannot be opened: {error.strerror}"
        return None


def open_pixels(
    pictures: Sequence[Picture],
    preprocess: Preprocess,
    *,
    cache: Cache = "memory",
    workers: int | None = None,
    progress: Progress = silent,
) -> PixelSource:
    """Decode pictures into memory or a mapped file now, or later as they are needed.

    Parameters
    ----------
    cache : {"memory", "disk", "none"}
        Where pixels are cached; `pick_cache` says where there is space.
    workers : int, optional
        Decoding threads; default: one per core.

    Raises
    ------
    DataError
        ``disk`` was requested, and there is not enough space.
    """
    shape = (len(pictures), preprocess.imgsz, preprocess.imgsz, 3)
    if cache == "none":
        return StreamedPixels(pictures, preprocess, workers)
    pixels = np.empty(shape, np.uint8) if cache == "memory" else _mapped(shape)
    errors: dict[int, str] = {}
    with (
        progress("decoding pictures", len(pictures)) as tick,
        Stream(pictures, preprocess, workers=workers) as stream,
    ):
        for chunk in stream:
            pixels[chunk.indices] = chunk.pixels
            errors |= chunk.errors
            tick(len(chunk.indices) + len(chunk.errors))
    return CachedPixels(pixels, errors)


def pick_cache(pictures: int, imgsz: int, processes: int = 1) -> Cache:
    """Choose where pixels are cached, if each of several processes on this machine has its own.

    In memory if they take at most 40 % of what is free, else in a file in the cache folder if they
    take at most half of what is free there, else not at all.
    """
    size = processes * pictures * imgsz**2 * 3
    if size <= MEMORY_SHARE * free_memory():
        return "memory"
    return "disk" if size <= DISK_SHARE * shutil.disk_usage(cache_dir("pixels")).free else "none"


def free_memory() -> int:
    """Return the bytes of memory that this process may still use."""
    return min(_free_in_system(), _free_in_container())


def _free_in_container() -> int:
    """Return what the limit of a control group (such as a container's) leaves; huge without one."""
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        return int(limit) - int(used)  # "max" is not a number: no limit
    return 2**62


def _free_in_system() -> int:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(x for x in lines if x.startswith("MemAvailable:")).split()[1])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return 4 * 2**30


def _mapped(shape: tuple[int, ...]) -> Pixels:
    """Return an array in a temporary file, which is deleted with the process."""
    folder = cache_dir("pixels")
    size = int(np.prod(shape))
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"The decoded pictures take {size / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB "
            "free. Free some space, set ILK_CACHE to another disk, or pass --cache none."
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):  # a sparse file would fail later, by a signal
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.memmap(file, np.uint8, "r+", shape=shape)
