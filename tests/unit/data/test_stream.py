from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from ilk.data import stream as module
from ilk.data.catalog import Picture
from ilk.data.decode import decode
from ilk.data.stream import Stream
from ilk.errors import UsageError
from ilk.spec import Preprocess

PREPROCESS = Preprocess(imgsz=8)


@pytest.fixture
def pictures(encoded, noise):
    return [
        Picture(f"{i}", content=encoded(noise(i, (12, 9)), "JPEG" if i % 2 else "PNG"))
        for i in range(23)
    ]


def collected(pictures, **options):
    batches = list(Stream(pictures, PREPROCESS, **options))
    pixels = np.concatenate([b.pixels for b in batches])
    return pixels, [i for b in batches for i in b.indices], batches


@pytest.mark.parametrize("batch", [1, 5, 23, 64])
def test_pictures_come_in_order_in_batches(pictures, batch):
    pixels, indices, batches = collected(pictures, batch=batch)
    assert indices == list(range(23))
    assert [len(b.pixels) for b in batches[:-1]] == [batch] * (len(batches) - 1)
    assert np.array_equal(pixels, [decode(p.content, PREPROCESS) for p in pictures])
    assert pixels.dtype == np.uint8


def test_the_number_of_threads_changes_nothing(pictures):
    one, several = (collected(pictures, batch=4, workers=n)[0] for n in (1, 7))
    assert np.array_equal(one, several)


def test_no_pictures_no_batches():
    assert list(Stream([], PREPROCESS)) == []


def test_a_bad_picture_is_reported_and_the_rest_go_on(pictures, tmp_path):
    pictures[2] = Picture("bad", content=b"not a picture")
    pictures[4] = Picture(str(tmp_path / "missing.jpg"))
    pictures[5] = Picture(str(tmp_path))
    _, indices, batches = collected(pictures, batch=4)
    assert indices == [i for i in range(23) if i not in {2, 4, 5}]
    assert [set(b.errors) for b in batches[:3]] == [{2}, {4, 5}, set()]
    assert "is not a picture" in batches[0].errors[2]
    assert "cannot be opened: No such file" in batches[1].errors[4]
    assert "cannot be opened: " in batches[1].errors[5]


def test_a_batch_of_bad_pictures_only_is_empty_but_there():
    (batch,) = Stream([Picture("x", content=b"x")] * 3, PREPROCESS)
    assert batch.pixels.shape == (0, 8, 8, 3)
    assert set(batch.errors) == {0, 1, 2}


@pytest.mark.parametrize("options", [{"batch": 0}, {"workers": 0}, {"batch": -1}])
def test_numbers_that_make_no_sense_are_refused(pictures, options):
    with pytest.raises(UsageError, match="give 1 or more"):
        Stream(pictures, PREPROCESS, **options)


class Counting:
    """Pictures that count how many were read."""

    def __init__(self, number):
        self.number, self.read, self._lock = number, 0, threading.Lock()
        self.pixels = np.zeros((8, 8, 3), np.uint8)

    def __len__(self):
        return self.number

    def __getitem__(self, chunk):
        with self._lock:
            self.read += len(range(self.number)[chunk])
        return [Picture("x", content=self.pixels)] * len(range(self.number)[chunk])


def settled(counting):
    """Wait until nothing more is read."""
    before = -1
    while before != counting.read:
        before = counting.read
        time.sleep(0.05)
    return before


def test_decoding_begins_before_it_is_asked_for_but_runs_ahead_a_bounded_way(monkeypatch):
    monkeypatch.setattr(module, "LOOKAHEAD_BYTES", 5 * 10 * 8 * 8 * 3)
    counting = Counting(1000)
    stream = Stream(counting, PREPROCESS, batch=10)
    assert settled(counting) == 50
    batches = iter(stream)
    next(batches)
    assert settled(counting) == 50
    next(batches)
    assert settled(counting) == 60
    stream.close()


def test_large_batches_still_overlap_with_their_use(monkeypatch):
    monkeypatch.setattr(module, "LOOKAHEAD_BYTES", 1)
    counting = Counting(1000)
    stream = Stream(counting, PREPROCESS, batch=10)
    assert settled(counting) == 20
    stream.close()


def test_threads_end_with_the_stream(pictures, no_decoders):
    stream = Stream(pictures, PREPROCESS)
    list(stream)
    assert no_decoders()


def test_threads_end_if_the_consumer_stops_early(pictures, no_decoders):
    stream = Stream(pictures, PREPROCESS, batch=1)
    batches = iter(stream)
    next(batches)
    batches.close()
    assert no_decoders()


def test_threads_end_with_the_block_even_if_it_fails(no_decoders):
    counting = Counting(10**6)
    with pytest.raises(ZeroDivisionError), Stream(counting, PREPROCESS, batch=1) as stream:
        next(iter(stream))
        raise ZeroDivisionError
    assert no_decoders()
    assert counting.read < 10**6


def test_close_drops_what_is_pending(monkeypatch, no_decoders):
    started, release = threading.Event(), threading.Event()

    def slow(content, preprocess):
        started.set()
        release.wait(5)
        return content

    monkeypatch.setattr(module, "decode", slow)
    counting = Counting(1000)
    stream = Stream(counting, PREPROCESS, batch=1, workers=1)
    started.wait(5)
    stream.close()
    release.set()
    assert no_decoders()
    assert counting.read == 1
