from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from fastapi import HTTPException

from ilk.errors import DecodeError
from ilk.serving.batcher import (
    FAILURES,
    MAX_NICENESS,
    NICENESS,
    Batcher,
    lower_thread_priority,
    run_at_lower_priority,
)
from ilk.serving.metrics import Metrics

STALL_S = 5.0


class Inline(Executor):
    """Decodes at once: after ``submit`` every picture is in the queue."""

    def submit(self, work, /, *args, **options):
        work(*args, **options)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Network:
    """Returns each picture's value; waits first if held, and records the batches that it starts."""

    def __init__(self):
        self.batches = []
        self._started = threading.Semaphore(0)
        self._held = {}

    def hold(self, value):
        """Let the batch that contains a value wait until the returned event is set."""
        return self._held.setdefault(value, threading.Event())

    def wait_until_started(self):
        """Wait for one more batch to start."""
        assert self._started.acquire(timeout=10)

    def __call__(self, pixels):
        values = [int(p[0, 0, 0]) for p in pixels]
        self.batches.append(values)
        self._started.release()
        for value in values:
            if value in self._held:
                assert self._held[value].wait(10)
        return values


def decode(content):
    if content == b"broken":
        raise DecodeError("is damaged")
    if content == b"worse":
        raise MemoryError
    return np.full((2, 2, 3), content[0], np.uint8)


@contextmanager
def batcher(run=None, batch=4, threads=1, clock=None, decoders=None):
    made = Batcher(
        decode, run or Network(), decoders or Inline(), batch=batch, threads=threads,
        stall_s=STALL_S, metrics=Metrics(), clock=clock or Clock(),
    )  # fmt: skip
    try:
        yield made
    finally:
        made.close()


def put(b, *contents):
    futures = b.submit([bytes([c]) if isinstance(c, int) else c for c in contents])
    return futures if len(futures) > 1 else futures[0]


def value(future):
    answer = future.result(timeout=10)
    return answer.predictions[answer.row]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_each_picture_gets_its_own_answer(threads):
    with ThreadPoolExecutor(2) as decoders, batcher(threads=threads, decoders=decoders) as b:
        futures = [put(b, i) for i in range(50)]
        assert [value(f) for f in futures] == list(range(50))


def test_a_broken_picture_does_not_affect_its_neighbours():
    with batcher() as b:
        futures = put(b, 1, b"broken", 2, b"worse", 3)
        assert [value(futures[i]) for i in (0, 2, 4)] == [1, 2, 3]
        with pytest.raises(DecodeError, match="is damaged"):
            futures[1].result(timeout=10)
        with pytest.raises(MemoryError):
            futures[3].result(timeout=10)


def test_pictures_that_wait_for_the_network_go_together_in_full_batches():
    network = Network()
    release = network.hold(1)
    with batcher(network, batch=4) as b:
        first = put(b, 1)
        network.wait_until_started()
        rest = put(b, *range(2, 9))
        release.set()
        assert [value(f) for f in (first, *rest)] == list(range(1, 9))
    assert [v for batch in network.batches for v in batch] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert max(map(len, network.batches)) == 4
    assert len(network.batches) == 3


def test_a_thread_leaves_a_share_of_the_queue_for_the_others():
    network = Network()
    release = [network.hold(1), network.hold(2)]
    with batcher(network, batch=32, threads=2) as b:
        for v in (1, 2):  # both threads are busy
            put(b, v)
            network.wait_until_started()
        rest = put(b, *range(3, 13))
        release[0].set()
        assert [value(f) for f in rest] == list(range(3, 13))
        release[1].set()
    shared = network.batches[2:]
    assert len(shared[0]) < 10
    assert all(len(batch) % 2 == 0 for batch in shared)


def test_a_thread_that_hangs_does_not_stop_the_other():
    network = Network()
    release = network.hold(9)
    with batcher(network, threads=2) as b:
        put(b, 9)
        network.wait_until_started()
        assert [value(put(b, i)) for i in range(5)] == list(range(5))
        release.set()


def test_a_cancelled_picture_is_dropped_unless_its_batch_has_started():
    network = Network()
    release = network.hold(1)
    with batcher(network) as b:
        running = put(b, 1)
        network.wait_until_started()
        dropped, kept = put(b, 2, 3)
        assert dropped.cancel()
        assert not running.cancel()
        release.set()
        assert (value(running), value(kept)) == (1, 3)
        with pytest.raises(CancelledError):
            dropped.result(timeout=10)
    assert network.batches == [[1], [3]]


def test_a_failing_network_fails_only_its_batch():
    def failing(pixels):
        if pixels.max() == 9:
            raise RuntimeError("out of memory")
        return [int(p[0, 0, 0]) for p in pixels]

    with batcher(failing) as b:
        with pytest.raises(HTTPException) as error:
            put(b, 9).result(timeout=10)
        assert (error.value.status_code, "out of memory" in error.value.detail) == (503, True)
        assert value(put(b, 1)) == 1
        assert not b.broken


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_that_takes_too_long_is_given_up_and_its_thread_replaced(threads):
    network, clock = Network(), Clock()
    release = network.hold(1)
    with batcher(network, threads=threads, clock=clock) as b:
        lost = put(b, 1)
        network.wait_until_started()
        clock.now += STALL_S
        b.check()
        assert not lost.done()
        clock.now += 1
        b.check()
        with pytest.raises(HTTPException, match="no result after 5 s"):
            lost.result(timeout=10)
        assert value(put(b, 2)) == 2
        release.set()  # the late result belongs to nobody
        assert value(put(b, 3)) == 3
        assert not b.broken


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_replaced():
    dying = []

    def network(pixels):
        if pixels.max() == 9:
            dying.append(threading.current_thread())
            started.set()
            raise SystemExit
        return [int(p[0, 0, 0]) for p in pixels]

    started = threading.Event()
    with batcher(network) as b:
        lost = put(b, 9)
        assert started.wait(10)
        dying[0].join(10)
        b.check()
        with pytest.raises(HTTPException, match="its thread ended"):
            lost.result(timeout=10)
        assert value(put(b, 1)) == 1


def test_a_network_that_keeps_failing_is_broken_until_it_answers():
    healthy = threading.Event()

    def failing(pixels):
        if not healthy.is_set():
            raise RuntimeError("no")
        return [int(p[0, 0, 0]) for p in pixels]

    with batcher(failing) as b:
        for _ in range(FAILURES):
            with pytest.raises(HTTPException):
                put(b, 1).result(timeout=10)
        assert b.broken
        healthy.set()
        assert value(put(b, 1)) == 1
        assert not b.broken


@pytest.mark.parametrize("threads", [1, 2])
def test_after_closing_it_answers_what_was_queued_and_ends(threads):
    network = Network()
    release = network.hold(0)
    with batcher(network, threads=threads) as b:
        futures = put(b, *range(20))
        b.close()
        release.set()
        assert [value(f) for f in futures] == list(range(20))
        b.wait()
        assert b.ended


def test_a_lease_keeps_a_closed_batcher_running():
    with batcher() as b:
        b.acquire_lease()
        b.close()
        assert not b.ended
        assert value(put(b, 1)) == 1
        b.release_lease()
        b.wait()
        assert b.ended


def test_a_network_that_hangs_is_given_up_after_closing_too():
    network, clock = Network(), Clock()
    release = network.hold(1)
    with batcher(network, clock=clock) as b:
        lost = put(b, 1)
        network.wait_until_started()
        b.close()
        clock.now += STALL_S + 1
        b.check()
        with pytest.raises(HTTPException, match="no result"):
            lost.result(timeout=10)
        release.set()
        b.wait()
        assert b.ended


def test_a_place_is_released_once_per_picture_and_only_after_decoding():
    jobs, released = [], []

    class ByHand(Inline):
        def submit(self, work, /, *args, **options):
            jobs.append(lambda: work(*args, **options))

    with batcher(decoders=ByHand()) as b:
        futures = b.submit([b"\1", b"\2", b"broken"], lambda: released.append(1))
        assert futures[0].cancel()
        assert futures[1].cancel()
        assert released == []  # the decoding threads still hold them
        for number, job in enumerate(jobs, 1):
            job()
            assert len(released) == number
        with pytest.raises(DecodeError):
            futures[2].result(timeout=10)


def priority():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities")
def test_work_at_lower_priority_yields_to_the_caller_and_so_do_its_threads():
    def work():
        lower_thread_priority()  # once more changes nothing
        found = []
        thread = threading.Thread(target=lambda: found.append(priority()))
        thread.start()
        thread.join()
        return [priority(), *found]

    usual = priority()
    assert run_at_lower_priority(work) == [min(usual + NICENESS, MAX_NICENESS)] * 2
    assert priority() == usual


def test_what_work_at_lower_priority_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        run_at_lower_priority(lambda: 1 / 0)
