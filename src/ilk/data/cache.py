"""Cache: features kept on disk, so that the same picture never goes through a backbone twice."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ilk.errors import UsageError
from ilk.runtime import cache_dir, cache_root

Features = NDArray[np.float32]
DEFAULT_LIMIT_GB = 4.0
SHARD = 4096
# What is pruned and cleared, and nothing else: ILK_CACHE may point to a folder with more in it.
KINDS = ("features", "backbones", "graphs")


class FeatureCache:
    """Features by content digest, for one backbone, its weights and its preprocessing.

    Each `add` writes one immutable shard beside the others (a new file, then renamed), so any
    number of processes may add and read at once. A damaged shard is dropped, and its pictures are
    computed again.

    Parameters
    ----------
    key : str
        Names the backbone, weights, preprocessing and precision that the features depend on.
    """

    def __init__(self, key: str) -> None:
        self._folder = cache_dir(f"features/{key}")

    def fill(self, digests: Sequence[str], features: Features) -> NDArray[np.bool_]:
        """Copy what is known into the rows of ``features [N, D]``; return which rows those are."""
        rows: dict[bytes, list[int]] = {}
        for row, digest in enumerate(digests):
            rows.setdefault(bytes.fromhex(digest), []).append(row)
        known = np.zeros(len(digests), bool)
        for keys, values in self._shards():
            if values.shape[1:] != features.shape[1:]:
                continue
            for source, key in enumerate(keys):
                for row in rows.get(key, ()):
                    features[row] = values[source]
                    known[row] = True
        return known

    def known(self, width: int) -> dict[bytes, Features]:
        """Return all rows ``float32 [width]`` by the bytes of their digests."""
        return {
            key: row
            for keys, values in self._shards()
            if values.shape[1:] == (width,)
            for key, row in zip(keys, values, strict=True)
        }

    def add(self, digests: Sequence[str], features: Features) -> None:
        """Keep features ``float32 [N, D]``, then prune the cache to its limit.

        A cache that cannot be written (a full disk, say) is no reason to stop a training.
        """
        from safetensors.numpy import save_file

        keys = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(len(digests), -1)
        name = f"{uuid.uuid4().hex}.safetensors"
        part = self._folder / f".{name}.part"
        with contextlib.suppress(OSError):
            try:
                save_file({"digests": keys, "features": features}, part)
                part.replace(self._folder / name)
            finally:
                part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            prune()

    @contextmanager
    def collecting(self) -> Iterator[Callable[[Sequence[str], Features], None]]:
        """Give a function that takes features in small lots, and add them shard by shard.

        What was collected is kept even if the body fails or is interrupted.
        """
        digests: list[str] = []
        lots: list[Features] = []

        def collect(more: Sequence[str], features: Features) -> None:
            digests.extend(more)
            lots.append(features)
            if len(digests) >= SHARD:
                add()

        def add() -> None:
            if digests:
                self.add(digests, np.concatenate(lots))
                digests.clear()
                lots.clear()

        try:
            yield collect
        finally:
            add()

    def _shards(self) -> Iterator[tuple[list[bytes], Features]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        for path in sorted(self._folder.glob("*.safetensors")):
            try:
                shard = load_file(path)
                digests, features = shard["digests"], shard["features"]
            except (OSError, SafetensorError, KeyError):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                continue
            if len(digests) != len(features):
                continue
            touch(path)
            yield [row.tobytes() for row in digests], features


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


def prune(limit: int | None = None) -> None:
    """Remove the least recently used cached files until the cache is within its limit."""
    allowed = limit_bytes() if limit is None else limit
    files = sorted(_files(), key=lambda entry: entry[1].st_mtime)
    size = sum(stat.st_size for _, stat in files)
    for path, stat in files:
        if size <= allowed:
            return
        path.unlink(missing_ok=True)
        size -= stat.st_size


def clear() -> int:
    """Remove all that is cached; return how many bytes that freed."""
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
