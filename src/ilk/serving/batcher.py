"""Batcher: pictures of all requests go through the network together.

Decoding threads fill a queue; an engine thread takes whatever is ready, up to a batch. While the
network is idle nothing waits for a batch to fill, except briefly for pictures that are being
decoded at that moment; under load batches fill by themselves. Where an engine runs best on several
threads, each takes its share of the queue, so that no core idles while another computes the last
pictures of a batch.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from typing import ParamSpec, TypeVar

import numpy as np

from ilk.arrays import Pixels
from ilk.data.catalog import Content
from ilk.inference.predictions import Predictions
from ilk.serving.limits import engine_failed
from ilk.serving.metrics import Metrics

P = ParamSpec("P")
T = TypeVar("T")
DECODE_WAIT_S = 0.002  # how long a batch waits for pictures that are being decoded
FAILURES = 3  # failed batches in a row after which the network counts as broken
NICENESS, MAX_NICENESS = 5, 19  # as in nice(1): at 5, a third of the others' share of a busy core


def lower_thread_priority() -> None:
    """Let this thread, and the threads that it starts, yield to others; on Linux only.

    Under load every core is busy. With equal priorities the event loop would get too small a share,
    and finished answers and refusals would wait.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):  # a sandbox may forbid it
        main = os.getpriority(os.PRIO_PROCESS, os.getpid())
        priority = min(main + NICENESS, MAX_NICENESS)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), priority)


def run_at_lower_priority(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Run ``work`` in a thread of lower priority, and return its result."""
    with ThreadPoolExecutor(1, initializer=lower_thread_priority) as thread:
        return thread.submit(work, *args, **options).result()


@dataclass(frozen=True, eq=False)
class Answer:
    """The prediction of one picture: row ``row`` of ``predictions``."""

    predictions: Predictions
    row: int


@dataclass(eq=False)
class QueuedPicture:
    """A decoded picture in the queue."""

    pixels: Pixels
    future: Future[Answer]
    since: float


@dataclass(eq=False)
class EngineThread:
    """A thread that runs the network, and its current batch."""

    batch: list[QueuedPicture] = field(default_factory=list)
    since: float = 0.0
    thread: threading.Thread = field(init=False)
    abandoned: bool = False


class Batcher:
    """Decodes pictures in threads, and runs those that are ready through the network together.

    Parameters
    ----------
    decode : callable
        Turns an encoded picture, or pixels, into ``uint8 [S, S, 3]``, or raises a DecodeError.
    run : callable
        Predicts from pixels ``uint8 [N, S, S, 3]``.
    decoders : Executor
        Shared with other batchers.
    batch : int
        The most pictures at once.
    threads : int
        How many threads run the network.
    stall_s : float
        Seconds after which a batch counts as lost, and a new thread takes over.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        decode: Callable[[Content], Pixels],
        run: Callable[[Pixels], Predictions],
        decoders: Executor,
        *,
        batch: int,
        threads: int,
        stall_s: float,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decode = decode
        self._run = run
        self._decoders = decoders
        self._batch = batch
        self._stall_s = stall_s
        self._metrics = metrics
        self._clock = clock
        self._ready: deque[QueuedPicture] = deque()
        self._changed = threading.Condition()
        self._decoding = 0
        self._leases = 0
        self._failures = 0
        self._closed = False
        self._threads = [self._start_thread() for _ in range(threads)]

    def submit(
        self, contents: Sequence[Content], released: Callable[[], object] = lambda: None
    ) -> list[Future[Answer]]:
        """Queue pictures. Cancelling a future drops its picture, unless its batch has started.

        After `close`, only the holder of a lease may call it.

        Parameters
        ----------
        released : callable
            Called for each picture once it occupies neither a thread nor a place in the queue.
        """
        futures: list[Future[Answer]] = [Future() for _ in contents]
        with self._changed:
            self._decoding += len(futures)
        for content, future in zip(contents, futures, strict=True):
            self._decoders.submit(self._prepare, content, future, released)
        return futures

    def acquire_lease(self) -> None:
        """Keep the batcher running, even if closed, until the lease is released."""
        with self._changed:
            self._leases += 1

    def release_lease(self) -> None:
        """Give a lease back."""
        with self._changed:
            self._leases -= 1
            self._changed.notify_all()

    @property
    def broken(self) -> bool:
        """Whether the network has failed several times in a row."""
        return self._failures >= FAILURES

    @property
    def ended(self) -> bool:
        """Whether it is closed and all its threads have ended."""
        return self._closed and not any(t.thread.is_alive() for t in self._threads)

    def check(self) -> None:
        """Replace engine threads that hang or have died; to be called several times a second."""
        lost: list[tuple[QueuedPicture, str]] = []
        with self._changed:
            for index, thread in enumerate(self._threads):
                if thread.batch and self._clock() - thread.since > self._stall_s:
                    reason = f"no result after {self._stall_s:.0f} s"
                elif not thread.thread.is_alive() and (thread.batch or not self._drained):
                    reason = "its thread ended"
                else:
                    continue
                thread.abandoned = True
                lost += [(picture, reason) for picture in thread.batch]
                self._failures += 1
                self._threads[index] = self._start_thread()
        for picture, reason in lost:
            _settle(picture.future, engine_failed(reason))

    def close(self) -> None:
        """End once every lease is released and every queued picture is answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until it has ended, but not for a network that hangs.

        A process that exits while a thread is inside the engine crashes.
        """
        ends = time.monotonic() + self._stall_s
        for thread in self._threads:
            thread.thread.join(max(0, ends - time.monotonic()))

    @property
    def _drained(self) -> bool:
        return self._closed and not (self._leases or self._decoding or self._ready)

    def _start_thread(self) -> EngineThread:
        state = EngineThread()
        state.thread = threading.Thread(
            target=self._work, args=(state,), name="ilk-engine", daemon=True
        )
        state.thread.start()
        return state

    def _prepare(
        self, content: Content, future: Future[Answer], released: Callable[[], object]
    ) -> None:
        """Decode a picture and queue it; runs in a decoding thread."""
        began = self._clock()
        picture = None
        try:
            if not future.cancelled():
                pixels = self._decode(content)
                picture = QueuedPicture(pixels, future, self._clock())
                self._metrics.stage("decode", picture.since - began)
        except Exception as error:  # whatever it is, the request waits for it
            _settle(future, error)
        finally:
            with self._changed:
                self._decoding -= 1
                if picture:
                    self._ready.append(picture)
                self._changed.notify_all()
            future.add_done_callback(lambda _: released())

    def _work(self, thread: EngineThread) -> None:
        """Run batches until abandoned or closed."""
        lower_thread_priority()
        while True:
            taken = self._take(thread)
            if taken is None:
                return
            if not taken:
                continue
            for picture in taken:
                self._metrics.stage("queue", thread.since - picture.since)
            self._metrics.batch_size.observe(len(taken))
            result: Predictions | Exception
            try:
                result = self._run(np.stack([picture.pixels for picture in taken]))
            except Exception as error:
                result = engine_failed(str(error))
            self._metrics.stage("engine", self._clock() - thread.since)
            with self._changed:
                if thread.abandoned:  # its pictures have been answered
                    return
                thread.batch = []
                self._failures = self._failures + 1 if isinstance(result, Exception) else 0
            for row, picture in enumerate(taken):
                failed = isinstance(result, Exception)
                _settle(picture.future, result if failed else Answer(result, row))  # type: ignore[arg-type]

    def _take(self, thread: EngineThread) -> list[QueuedPicture] | None:
        """Wait for pictures and return a batch of them; None once there is nothing left to do."""
        with self._changed:
            while not self._ready:
                if self._drained:
                    return None
                self._changed.wait()
            if self._decoding and len(self._ready) < self._batch:
                self._changed.wait_for(
                    lambda: not self._decoding or len(self._ready) >= self._batch,
                    timeout=DECODE_WAIT_S,
                )
            taken = [self._ready.popleft() for _ in range(self._share())]
            taken = [p for p in taken if p.future.set_running_or_notify_cancel()]
            thread.batch = taken
            thread.since = self._clock()
            return taken

    def _share(self) -> int:
        """Return how many pictures a thread takes: its share, an even number as engines prefer."""
        ready = len(self._ready)
        return min(self._batch, ready, 2 * ceil(ready / (2 * len(self._threads))))


def _settle(future: Future[Answer], result: Answer | Exception) -> None:
    """Set a result, unless the future was cancelled."""
    try:
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
    except InvalidStateError:
        pass
