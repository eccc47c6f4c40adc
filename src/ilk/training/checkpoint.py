"""Checkpoint: the state of a training on disk, so that a power cut costs a minute at most.

Each is one ``.safetensors`` file with a checksum, written to a new file, flushed and renamed; the
newest intact one is never overwritten. They contain no pickle.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ilk.errors import ModelError, OutputError
from ilk.models.bundle import CHECKSUM_KEY, Bundle, checksum
from ilk.runtime import write_whole
from ilk.text import escaped

log = logging.getLogger("ilk")
FACTS_KEY = "ilk.checkpoint"
LAST = 2  # checkpoints to resume from that are kept
VERSION = 1


class Snapshot(NamedTuple):
    """The state of a training: tensors by name, and everything else as JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save(path: Path, snapshot: Snapshot) -> None:
    """Write a checkpoint.

    Raises
    ------
    OSError
        It cannot be written; an existing file is left unchanged.
    """
    from safetensors.numpy import save as to_bytes

    arrays = {name: tensor.cpu().numpy() for name, tensor in snapshot.tensors.items()}
    facts = json.dumps({"version": VERSION, **snapshot.facts})
    metadata = {FACTS_KEY: facts, CHECKSUM_KEY: _checksum(arrays, facts)}
    write_whole(path, to_bytes(arrays, metadata=metadata))


def load(path: Path) -> Snapshot:
    """Read a checkpoint; nothing in it is ever executed.

    Raises
    ------
    ModelError
        It is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        facts, expected = metadata[FACTS_KEY], metadata[CHECKSUM_KEY]
        record = json.loads(facts)
        version = record.pop("version")
    except (SafetensorError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{escaped(path)} is not an intact checkpoint ({error}).") from None
    if _checksum(arrays, facts) != expected:
        raise ModelError(f"{escaped(path)} is damaged: it does not match its checksum.")
    if version != VERSION:
        raise ModelError(f"{escaped(path)} was written by another version of ilk.")
    return Snapshot({k: torch.from_numpy(v) for k, v in arrays.items()}, record)


def _checksum(arrays: Mapping[str, np.ndarray[Any, Any]], facts: str) -> str:
    return hashlib.sha256((checksum(arrays) + facts).encode()).hexdigest()


def _age(path: Path) -> tuple[int, str]:
    return path.stat().st_mtime_ns, path.name


class Checkpoints:
    """The checkpoints of one run: written by a thread while the training continues.

    Parameters
    ----------
    folder : Path
        Created if needed.
    minutes : float
        How often to write one to resume from.
    every : int, optional
        Epochs between those that are kept permanently.
    writes : bool
        Whether this process writes: only the main process does.
    seen : mapping of str to str, optional
        Content digests of the pictures, and their splits: stored with the best model.
    """

    def __init__(
        self,
        folder: Path,
        minutes: float = 1.0,
        every: int | None = None,
        *,
        writes: bool = True,
        seen: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._seconds = 60 * minutes
        self._every = every
        self._writes = writes
        self._seen = seen or {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ilk-checkpoint")
        self._writing: Future[bool | None] | None = None
        self._last = time.monotonic()
        if writes:
            folder.mkdir(parents=True, exist_ok=True)

    def due(self) -> bool:
        """Return whether it is time for another one, and the previous one is on the disk."""
        free = self._writing is None or self._writing.done()
        return self._writes and free and time.monotonic() - self._last >= self._seconds

    def write(self, snapshot: Snapshot, wait: bool = False) -> bool:
        """Write one to resume from, in the background, and remove all but the last two.

        Returns
        -------
        bool
            False if it could not be written; known only with ``wait``.
        """
        name = f"step-{snapshot.facts['steps_done']:08d}.safetensors"
        written = self._submit(self.folder / name, snapshot, wait)
        self._last = time.monotonic()
        return written

    def write_best(self, bundle: Bundle) -> None:
        """Write the best model so far, as an artefact that can be loaded."""
        if self._writes:
            signed = bundle.with_seen(self._seen)
            self._later(lambda: signed.save(self.folder / "best.safetensors"))

    def keeps_epoch(self, epoch: int) -> bool:
        """Return whether the state after so many epochs is kept permanently."""
        return self._writes and bool(self._every) and epoch % (self._every or 1) == 0

    def write_epoch(self, snapshot: Snapshot) -> None:
        """Write one that is kept permanently."""
        epoch = snapshot.facts["epoch"]
        self._submit(self.folder / f"epoch-{epoch:04d}.safetensors", snapshot, wait=False)

    def newest(self) -> Snapshot | None:
        """Return the newest intact one; None if there is none."""
        found = [*self.folder.glob("step-*.safetensors"), *self.folder.glob("epoch-*.safetensors")]
        for number, path in enumerate(sorted(found, key=_age, reverse=True), 1):
            try:
                return load(path)
            except ModelError as error:
                rest = "Trying the previous one." if number < len(found) else "There is no other."
                log.warning("%s %s", error, rest)
        return None

    def _submit(self, path: Path, snapshot: Snapshot, wait: bool) -> bool:
        if not self._writes:
            return True
        self._later(lambda: self._write(path, snapshot))
        return self._finish() if wait else True

    def _later(self, work: Callable[[], bool | None]) -> None:
        """Run something in the background, once the previous write has ended."""
        self._finish()
        self._writing = self._pool.submit(work)

    def _write(self, path: Path, snapshot: Snapshot) -> bool:
        if not all(bool(t.isfinite().all()) for t in snapshot.tensors.values()):
            return False  # the training diverged and will stop: keep the intact ones
        save(path, snapshot)
        # By age: a damaged one may be of a later step, and must not displace this one.
        for old in sorted(self.folder.glob("step-*.safetensors"), key=_age)[:-LAST]:
            old.unlink(missing_ok=True)
        return True

    def _finish(self) -> bool:
        """Wait for the one that is being written; if it failed, warn and continue training."""
        if self._writing is None:
            return True
        try:
            return self._writing.result() is not False
        except (OSError, OutputError) as error:
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            log.warning(
                "A checkpoint could not be written (%s). Training continues; the previous one is "
                "intact.", reason,
            )  # fmt: skip
            return False
        finally:
            self._writing = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        self._finish()
        self._pool.shutdown()
