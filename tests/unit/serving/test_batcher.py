from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from ilk.errors import DecodeError
from ilk.serving.batcher import FAILURES, Batcher, Closed
from ilk.serving.refusals import Refusal


class Notes:
    def __init__(self):
        self.sizes = []
        self.stages = []

    def stage(self, name, seconds):
        assert seconds >= 0
        self.stages.append(name)

    def batch(self, size):
        self.sizes.append(size)


def decode(content):
    if content == b"broken":
        raise DecodeError("is damaged")
    if content == b"worse":
        raise MemoryError
    return np.full((2, 2, 3), content[0], np.uint8)


def run(pixels):
    return [int(p[0, 0, 0]) for p in pixels]


@contextmanager
def batcher(run=run, batch=4, lanes=1, stall_s=0.2, notes=None):
    with ThreadPoolExecutor(2) as decoders:
        made = Batcher(
            decode, run, decoders, batch=batch, lanes=lanes, stall_s=stall_s,
            watcher=notes or Notes(),
        )  # fmt: skip
        try:
            yield made
        finally:
            made.close()


def put(b, content):
    (future,) = b.submit([content])
    return future


def value(future):
    answer = future.result(timeout=5)
    return answer.predictions[answer.row]


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_each_picture_gets_its_own_answer(lanes):
    with batcher(lanes=lanes) as b:
        futures = [put(b, bytes([i])) for i in range(50)]
        assert [value(f) for f in futures] == list(range(50))


def test_a_broken_picture_does_not_harm_its_neighbours():
    with batcher() as b:
        futures = [put(b, c) for c in (b"\1", b"broken", b"\2", b"worse", b"\3")]
        assert [value(futures[i]) for i in (0, 2, 4)] == [1, 2, 3]
        with pytest.raises(DecodeError, match="is damaged"):
            futures[1].result(timeout=5)
        with pytest.raises(MemoryError):
            futures[3].result(timeout=5)


def test_what_waits_while_the_network_runs_goes_together_up_to_a_batch():
    gate, notes = threading.Event(), Notes()

    def slow(pixels):
        gate.wait(5)
        return run(pixels)

    with batcher(slow, stall_s=9, notes=notes) as b:
        first = put(b, b"\1")
        while not notes.sizes:
            time.sleep(0.001)
        rest = [put(b, bytes([i])) for i in range(2, 9)]
        while notes.stages.count("decode") < 8:
            time.sleep(0.001)
        gate.set()
        assert [value(f) for f in (first, *rest)] == list(range(1, 9))
    assert notes.sizes == [1, 4, 3]


def test_lanes_share_what_is_ready_by_twos():
    gates, notes = {n: threading.Event() for n in (1, 2)}, Notes()

    def slow(pixels):
        if len(pixels) == 1:
            gates[int(pixels[0, 0, 0, 0])].wait(5)
        return run(pixels)

    with batcher(slow, batch=32, lanes=2, stall_s=9, notes=notes) as b:
        for busy in (1, 2):  # both lanes run one picture each
            put(b, bytes([busy]))
            while len(notes.sizes) < busy:
                time.sleep(0.001)
        rest = [put(b, bytes([i])) for i in range(3, 13)]
        while notes.stages.count("decode") < 12:
            time.sleep(0.001)
        gates[1].set()
        assert [value(f) for f in rest] == list(range(3, 13))
        gates[2].set()
    assert notes.sizes == [1, 1, 6, 2, 2]


def test_a_lane_that_hangs_does_not_keep_the_other():
    hang = threading.Event()

    def hanging(pixels):
        if pixels.max() == 9:
            hang.wait(10)
        return run(pixels)

    with batcher(hanging, lanes=2, stall_s=9) as b:
        hung = put(b, b"\x09")
        while not hung.running():
            time.sleep(0.001)
        assert [value(put(b, bytes([i]))) for i in range(5)] == list(range(5))
        hang.set()


def test_what_nobody_waits_for_is_dropped_before_it_runs():
    gate, seen = threading.Event(), []

    def slow(pixels):
        gate.wait(5)
        seen.extend(run(pixels))
        return run(pixels)

    with batcher(slow, stall_s=9) as b:
        running = put(b, b"\1")
        while not running.running():
            time.sleep(0.001)
        dropped, kept = put(b, b"\2"), put(b, b"\3")
        assert dropped.cancel()
        assert not running.cancel()
        gate.set()
        assert (value(running), value(kept)) == (1, 3)
        with pytest.raises(CancelledError):
            dropped.result(timeout=5)
    assert seen == [1, 3]


def test_a_failing_network_fails_its_batch_only():
    def failing(pixels):
        if pixels.max() == 9:
            raise RuntimeError("out of memory")
        return run(pixels)

    with batcher(failing) as b:
        with pytest.raises(Refusal, match="out of memory") as refusal:
            put(b, b"\x09").result(timeout=5)
        assert refusal.value.status == 503
        assert value(put(b, b"\1")) == 1
        assert not b.broken


def checking(b):
    """Look after a batcher as the service does."""
    ended = threading.Event()

    def look():
        while not ended.wait(0.02):
            b.check()

    threading.Thread(target=look, daemon=True).start()
    return ended


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_hanging_network_is_given_up_and_replaced(lanes):
    hang, once = threading.Event(), []

    def hanging(pixels):
        if not once:
            once.append(1)
            hang.wait(10)
        return run(pixels)

    with batcher(hanging, lanes=lanes) as b:
        ended = checking(b)
        lost, began = put(b, b"\1"), time.monotonic()
        with pytest.raises(Refusal, match="nothing came back"):
            lost.result(timeout=5)
        assert value(put(b, b"\2")) == 2
        assert time.monotonic() - began < 2
        hang.set()  # what comes back after all is nobody's answer
        assert value(put(b, b"\3")) == 3
        ended.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_replaced():
    def ending(pixels):
        if pixels.max() == 9:
            raise SystemExit
        return run(pixels)

    with batcher(ending) as b:
        ended = checking(b)
        with pytest.raises(Refusal, match="its thread ended"):
            put(b, b"\x09").result(timeout=5)
        assert value(put(b, b"\1")) == 1
        ended.set()


def test_a_network_that_never_answers_counts_as_broken_until_it_does():
    mended = threading.Event()

    def failing(pixels):
        if not mended.is_set():
            raise RuntimeError("no")
        return run(pixels)

    with batcher(failing) as b:
        for _ in range(FAILURES):
            with pytest.raises(Refusal):
                put(b, b"\1").result(timeout=5)
        assert b.broken
        mended.set()
        assert value(put(b, b"\1")) == 1
        assert not b.broken


@pytest.mark.parametrize("lanes", [1, 2])
def test_what_was_taken_is_answered_though_it_closes(lanes):
    with batcher(lanes=lanes) as b:
        futures = [put(b, bytes([i])) for i in range(20)]
        b.close()
        assert [value(f) for f in futures] == list(range(20))


def test_once_closed_it_takes_no_more_and_ends():
    with batcher() as b:
        last = put(b, b"\1")
        b.close()
        with pytest.raises(Closed):
            put(b, b"\2")
        assert value(last) == 1
        b.wait()
        assert b.ended


def test_a_network_that_hangs_is_given_up_though_it_was_closed():
    hang = threading.Event()
    with batcher(lambda pixels: hang.wait(10) and run(pixels)) as b:
        lost = put(b, b"\1")
        while not lost.running():
            time.sleep(0.001)
        b.close()
        ended = checking(b)
        with pytest.raises(Refusal, match="nothing came back"):
            lost.result(timeout=5)
        hang.set()
        b.wait()
        ended.set()


def test_a_place_is_left_once_and_not_before_decoding_has_ended():
    gate, places = threading.Event(), []

    def slow(content):
        gate.wait(5)
        return decode(content)

    with ThreadPoolExecutor(1) as decoders:
        b = Batcher(slow, run, decoders, batch=4, lanes=1, stall_s=9, watcher=Notes())
        futures = b.submit([b"\1", b"\2", b"broken"], lambda: places.append(1))
        assert futures[0].cancel()
        assert futures[1].cancel()
        time.sleep(0.05)
        assert places == []  # the first is being decoded, the others wait behind it
        gate.set()
        with pytest.raises(DecodeError):
            futures[2].result(timeout=5)
        b.close()
        b.wait()
    assert places == [1, 1, 1]
