"""Batcher: pictures of all requests meet, and go through the network together.

Decoding threads put pictures in; an engine thread takes all that are ready, up to a batch. Nothing
waits for a batch to fill while the network is idle, except a moment for pictures that are being
decoded just then. Under load batches fill by themselves. Where several threads do well to run the
engine (its lanes), each takes its share of what is ready: then no core is idle while another
computes the last pictures of a batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

import numpy as np

from ilk.arrays import Pixels
from ilk.data.catalog import Content
from ilk.inference import Predictions
from ilk.serving.niceness import be_nice
from ilk.serving.refusals import engine_failed

MOMENT = 0.002  # seconds to wait for pictures that are being decoded
FAILURES = 3  # stalls in a row after which the network counts as broken


class Closed(Exception):  # noqa: N818 -- an answer, not a fault
    """The batcher takes no more: another model has taken over."""


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


@dataclass(eq=False)
class Lane:
    """An engine thread, and the batch that it is running."""

    batch: list[Waiting] = field(default_factory=list)
    since: float = 0.0
    thread: threading.Thread = field(init=False)
    given_up: bool = False

    def hangs(self, stall_s: float) -> bool:
        """Whether its batch has taken longer than ``stall_s`` seconds."""
        return bool(self.batch) and time.monotonic() - self.since > stall_s


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
    lanes : int
        How many threads run the network.
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
        lanes: int,
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
        self._failures = 0
        self._closed = False
        self._lanes = [self._opened_lane() for _ in range(lanes)]

    def submit(
        self, contents: Sequence[Content], left: Callable[[], object] = lambda: None
    ) -> list[Future[Answer]]:
        """Take pictures; cancel what is returned to drop them, unless their batch has begun.

        Parameters
        ----------
        contents : sequence
        left : callable
            Called for each picture once it takes up neither a thread nor a place in the queue.

        Raises
        ------
        Closed
            It takes no more.
        """
        futures: list[Future[Answer]] = [Future() for _ in contents]
        with self._changed:
            if self._closed:
                raise Closed
            self._decoding += len(futures)
        for content, future in zip(contents, futures, strict=True):
            self._decoders.submit(self._prepare, content, future, left)
        return futures

    @property
    def broken(self) -> bool:
        """Whether the network has not answered several times in a row."""
        return self._failures >= FAILURES

    @property
    def ended(self) -> bool:
        """Whether it was closed, and has answered all that it took."""
        return self._closed and not any(lane.thread.is_alive() for lane in self._lanes)

    def check(self) -> None:
        """Replace engine threads that hang or are dead; call this several times a second."""
        lost: list[tuple[Waiting, str]] = []
        with self._changed:
            for place, lane in enumerate(self._lanes):
                if lane.hangs(self._stall_s):
                    reason = f"nothing came back for {self._stall_s:.0f} s"
                elif not lane.thread.is_alive() and (lane.batch or not self._closed):
                    reason = "its thread ended"
                else:
                    continue
                lane.given_up = True
                lost += [(waiting, reason) for waiting in lane.batch]
                self._failures += 1
                self._lanes[place] = self._opened_lane()
        for waiting, reason in lost:
            _settle(waiting.future, engine_failed(reason))

    def close(self) -> None:
        """Take no more; what was taken is answered still."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until all that was taken is answered, but not for a network that hangs.

        A program that ends while a thread is inside the engine is killed by it.
        """
        ends = time.monotonic() + self._stall_s
        for lane in self._lanes:
            lane.thread.join(max(0, ends - time.monotonic()))

    def _opened_lane(self) -> Lane:
        lane = Lane()
        lane.thread = threading.Thread(
            target=self._work, args=(lane,), name="ilk-engine", daemon=True
        )
        lane.thread.start()
        return lane

    def _prepare(
        self, content: Content, future: Future[Answer], left: Callable[[], object]
    ) -> None:
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
            future.add_done_callback(lambda _: left())

    def _work(self, lane: Lane) -> None:
        """Run batches until given up or closed."""
        be_nice()
        while True:
            taken = self._take(lane)
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
                if lane.given_up:  # its pictures were answered
                    return
                lane.batch = []
                self._failures = self._failures + 1 if isinstance(result, Exception) else 0
            for row, waiting in enumerate(taken):
                failed = isinstance(result, Exception)
                _settle(waiting.future, result if failed else Answer(result, row))  # type: ignore[arg-type]

    def _take(self, lane: Lane) -> list[Waiting] | None:
        """Wait for pictures and return a batch of them; None once there is no more to do."""
        with self._changed:
            while not self._ready:
                if self._closed and not self._decoding:
                    return None
                self._changed.wait()
            if self._decoding and len(self._ready) < self._batch:
                self._changed.wait_for(
                    lambda: not self._decoding or len(self._ready) >= self._batch, timeout=MOMENT
                )
            taken = [self._ready.popleft() for _ in range(self._share())]
            taken = [w for w in taken if w.future.set_running_or_notify_cancel()]
            lane.batch = taken
            lane.since = time.monotonic()
            return taken

    def _share(self) -> int:
        """Return how many pictures a lane takes: its share, by the twos of engines."""
        ready = len(self._ready)
        return min(self._batch, ready, 2 * ceil(ready / (2 * len(self._lanes))))


def _settle(future: Future[Answer], result: Answer | Exception) -> None:
    """Answer, unless nobody waits any more."""
    try:
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
    except InvalidStateError:
        pass
