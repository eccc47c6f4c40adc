"""Cache: features on disk, so that no picture goes through the same backbone twice."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ilk.arrays import Floats, Mask
from ilk.errors import UsageError
from ilk.runtime import cache_dir, cache_root

Keys = NDArray[np.bytes_]
KEY_BYTES = 16  # of a digest: see `ilk.data.catalog.digest_of`
DEFAULT_LIMIT_GB = 4.0
SHARD = 4096
# Only these are pruned and cleared: ILK_CACHE may point to a folder with more in it.
KINDS = ("features", "backbones", "graphs")


class FeatureCache:
    """Features by content digest, for one backbone, its weights and its preprocessing.

    Each `add` writes one new immutable shard (atomically), so any number of processes may add and
    read at once. A damaged shard is dropped, and its pictures are
    computed again.

    Parameters
    ----------
    key : str
        Names the backbone, weights, preprocessing and precision that the features depend on.

    Raises
    ------
    UsageError
        ``ILK_CACHE_GB`` is not a number.
    OutputError
        The folder of the cache cannot be made.
    """

    def __init__(self, key: str) -> None:
        self._limit = limit_bytes()  # read before the work, whose result is stored in the end
        self._folder = cache_dir(f"features/{key}")

    def fill(self, digests: Sequence[str], features: Floats) -> Mask:
        """Copy cached rows into ``features [N, D]``; return which rows were found."""
        wanted = _keys_of(digests)
        found = np.zeros(len(digests), bool)
        for path, keys in self._shards():
            order = np.argsort(keys)
            sources = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
            hits = np.flatnonzero(keys[sources] == wanted)
            values = _values(path, features.shape[1]) if len(hits) else None
            if values is not None:
                features[hits] = values[sources[hits]]
                found[hits] = True
        return found

    def index(self, width: int) -> CachedRows:
        """Return all cached rows ``float32 [width]``, each read when it is first asked for."""
        return CachedRows(self._shards(), width)

    def add(self, digests: Sequence[str], features: Floats) -> None:
        """Store features ``float32 [N, D]``, then prune the cache to its limit.

        A cache that cannot be written (a full disk, say) is no reason to stop a training.
        """
        from safetensors.numpy import save_file

        keys = _keys_of(digests).view(np.uint8).reshape(len(digests), KEY_BYTES)
        name = f"{uuid.uuid4().hex}.safetensors"
        part = self._folder / f".{name}.part"
        with contextlib.suppress(OSError):
            try:
                save_file({"digests": keys, "features": features}, part)
                part.replace(self._folder / name)
            finally:
                part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            prune(self._limit)

    @contextmanager
    def collecting(self) -> Iterator[Callable[[Sequence[str], Floats], None]]:
        """Give a function that takes features in small batches, and add them shard by shard.

        What was collected is kept even if the body fails or is interrupted.
        """
        digests: list[str] = []
        batches: list[Floats] = []

        def collect(more: Sequence[str], features: Floats) -> None:
            digests.extend(more)
            batches.append(features)
            if len(digests) >= SHARD:
                add()

        def add() -> None:
            if digests:
                self.add(digests, np.concatenate(batches))
                digests.clear()
                batches.clear()

        try:
            yield collect
        finally:
            add()

    def _shards(self) -> Iterator[tuple[Path, Keys]]:
        """Yield each shard and the digests in it; its features are not read yet."""
        for path in sorted(self._folder.glob("*.safetensors")):
            digests = _tensor(path, "digests")
            if digests is not None and len(digests) and digests.shape[1:] == (KEY_BYTES,):
                yield path, np.ascontiguousarray(digests).view(f"S{KEY_BYTES}").ravel()


class CachedRows:
    """Looks up cached features by digest; a shard is read when one of its rows is wanted.

    Any thread may call it.

    Parameters
    ----------
    width : int
        The length of a row; shards of another are passed over.
    """

    def __init__(self, shards: Iterable[tuple[Path, Keys]], width: int) -> None:
        self._width = width
        self._where = {key: (path, i) for path, keys in shards for i, key in enumerate(keys)}
        self._values: dict[Path, Floats | None] = {}
        self._lock = Lock()

    def get(self, digest: str) -> Floats | None:
        """Return the features ``float32 [width]`` of a picture; None if they are not cached."""
        path, row = self._where.get(_keys_of([digest])[0], (None, 0))
        if path is None:
            return None
        with self._lock:
            if path not in self._values:
                self._values[path] = _values(path, self._width)
        values = self._values[path]
        return None if values is None else values[row]


def _keys_of(digests: Sequence[str]) -> Keys:
    return np.frombuffer(bytes.fromhex("".join(digests)), f"S{KEY_BYTES}")


def _values(path: Path, width: int) -> Floats | None:
    """Return a shard's features ``[N, width]``, and mark it as used."""
    values = _tensor(path, "features")
    if values is None or values.shape[1:] != (width,):
        return None
    touch(path)
    return values


def _tensor(path: Path, name: str) -> NDArray[Any] | None:
    """Read a tensor of a shard; a damaged shard is removed.

    One that cannot be opened stays: a full table of open files or a network disk that is away for a
    moment is no damage.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as shard:
            tensor: NDArray[Any] = shard.get_tensor(name)
            return tensor
    except OSError:
        return None
    except SafetensorError:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None


def touch(path: Path) -> None:
    """Mark a cached file as used: those not used for longest are pruned first."""
    with contextlib.suppress(OSError):  # another user's, or pruned meanwhile
        os.utime(path)


def limit_bytes() -> int:
    """Return the size that the whole cache may have: ``ILK_CACHE_GB``, 4 GB by default."""
    given = os.environ.get("ILK_CACHE_GB", DEFAULT_LIMIT_GB)
    try:
        return int(float(given) * 1e9)
    except (ValueError, OverflowError):
        raise UsageError(f"ILK_CACHE_GB is '{given}'; give a number of gigabytes.") from None


def prune(limit: int) -> None:
    """Remove the least recently used cached files until the cache is within a limit in bytes."""
    files = sorted(_files(), key=lambda entry: entry[1].st_mtime)
    size = sum(stat.st_size for _, stat in files)
    for path, stat in files:
        if size <= limit:
            return
        path.unlink(missing_ok=True)
        size -= stat.st_size


def clear() -> int:
    """Empty the cache; return how many bytes that freed."""
    freed = size()
    prune(limit=0)
    return freed


def size() -> int:
    """Return the bytes that the cache takes."""
    return sum(stat.st_size for _, stat in _files())


def _files() -> Iterator[tuple[Path, os.stat_result]]:
    for kind in KINDS:
        for path in (cache_root() / kind).rglob("*"):
            with contextlib.suppress(OSError):  # another process may remove it meanwhile
                if path.is_file():
                    yield path, path.stat()
