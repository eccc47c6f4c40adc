"""Batcher: pictures of all requests meet, and go through the network together.

Decoding threads put pictures in; one engine thread takes all that are ready, up to a batch. Nothing
waits for a batch to fill while the network is idle, except a moment for pictures that are being
decoded just then. Under load batches fill by themselves.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ilk.data.catalog import Content, Pixels
from ilk.inference import Predictions
from ilk.serving.refusals import engine_failed

MOMENT = 0.002  # seconds to wait for pictures that are being decoded
FAILURES = 3  # stalls in a row after which the network counts as broken


class Watcher(Protocol):
    """Is told how long things took, in seconds, and how large batches were."""

    def stage(self, name: str, seconds: float) -> None:
        """Take note of a stage's time: decode, queue or engine."""

    def batch(self, size: int) -> None:
        """Take note of a batch."""


@dataclass(eq=False)
class Answer:
    """What becomes of one picture: row ``row`` of ``predictions``."""

    predictions: Predictions
    row: int


@dataclass(eq=False)
class Waiting:
    """A picture on its way to the network."""

    pixels: Pixels
    future: Future[Answer]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Decodes pictures in threads, and runs those that are ready through the network together.

    Parameters
    ----------
    decode : callable
        Turns an encoded picture, or pixels, into ``uint8 [S, S, 3]``, or raises a DecodeError.
    run : callable
        Names pixels ``uint8 [N, S, S, 3]``.
    decoders : ThreadPoolExecutor
        Shared with other batchers.
    batch : int
        The most pictures at once.
    stall_s : float
        Seconds after which a batch counts as lost, and another thread takes over.
    watcher : Watcher
    """

    def __init__(
        self,
        decode: Callable[[Content], Pixels],
        run: Callable[[Pixels], Predictions],
        decoders: ThreadPoolExecutor,
        *,
        batch: int,
        stall_s: float,
        watcher: Watcher,
    ) -> None:
        self._decode = decode
        self._run = run
        self._decoders = decoders
        self._batch = batch
        self._stall_s = stall_s
        self._watcher = watcher
        self._ready: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._decoding = 0
        self._running: list[Waiting] = []
        self._running_since = 0.0
        self._failures = 0
        self._closed = False
        with self._changed:  # the thread must not look before it is known
            self._thread = self._started()

    def submit(self, content: Content) -> Future[Answer]:
        """Take a picture. Cancel what is returned to drop it, unless its batch has begun."""
        future: Future[Answer] = Future()
        with self._changed:
            self._decoding += 1
        self._decoders.submit(self._prepare, content, future)
        return future

    @property
    def broken(self) -> bool:
        """Whether the network has not answered several times in a row."""
        return self._failures >= FAILURES

    def check(self) -> None:
        """Replace the engine thread if it hangs or is dead; call this several times a second."""
        with self._changed:
            hangs = self._running and time.monotonic() - self._running_since > self._stall_s
            if self._closed or not (hangs or not self._thread.is_alive()):
                return
            lost, self._running = self._running, []
            self._failures += 1
            self._thread = self._started()
        reason = f"nothing came back for {self._stall_s:.0f} s" if hangs else "its thread ended"
        for waiting in lost:
            _settle(waiting.future, engine_failed(reason))

    def close(self) -> None:
        """Stop when everything that was taken is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._work, name="ilk-engine", daemon=True)
        thread.start()
        return thread

    def _prepare(self, content: Content, future: Future[Answer]) -> None:
        """Decode a picture and put it in the queue; done by a decoding thread."""
        began = time.monotonic()
        waiting = None
        try:
            if not future.cancelled():
                waiting = Waiting(self._decode(content), future)
                self._watcher.stage("decode", time.monotonic() - began)
        except Exception as error:  # a DecodeError, or worse: someone waits for it
            _settle(future, error)
        finally:
            with self._changed:
                self._decoding -= 1
                if waiting:
                    self._ready.append(waiting)
                self._changed.notify_all()

    def _work(self) -> None:
        """Run batches until replaced or closed."""
        me = threading.current_thread()
        while True:
            taken = self._take(me)
            if taken is None:
                return
            if not taken:
                continue
            began = time.monotonic()
            for waiting in taken:
                self._watcher.stage("queue", began - waiting.since)
            self._watcher.batch(len(taken))
            result: Predictions | Exception
            try:
                result = self._run(np.stack([waiting.pixels for waiting in taken]))
            except Exception as error:
                result = engine_failed(str(error))
            self._watcher.stage("engine", time.monotonic() - began)
            with self._changed:
                if self._thread is not me:  # it was given up, and its pictures were answered
                    return
                self._running = []
                self._failures = self._failures + 1 if isinstance(result, Exception) else 0
            for row, waiting in enumerate(taken):
                failed = isinstance(result, Exception)
                _settle(waiting.future, result if failed else Answer(result, row))  # type: ignore[arg-type]

    def _take(self, me: threading.Thread) -> list[Waiting] | None:
        """Wait for pictures and return a batch of them; None once there is no more to do."""
        with self._changed:
            while self._thread is me and not self._ready:
                if self._closed and not self._decoding:
                    return None
                self._changed.wait()
            if self._thread is not me:
                return None
            if self._decoding and len(self._ready) < self._batch:
                ends = time.monotonic() + MOMENT
                self._changed.wait_for(
                    lambda: (
                        not self._decoding
                        or len(self._ready) >= self._batch
                        or time.monotonic() > ends
                    ),
                    timeout=MOMENT,
                )
            taken = [self._ready.popleft() for _ in range(min(self._batch, len(self._ready)))]
            taken = [w for w in taken if w.future.set_running_or_notify_cancel()]
            self._running = taken
            self._running_since = time.monotonic()
            return taken


def _settle(future: Future[Answer], result: Answer | Exception) -> None:
    """Answer, unless nobody waits any more."""
    try:
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
    except InvalidStateError:
        pass
