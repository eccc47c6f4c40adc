from __future__ import annotations

import os
import shutil
import threading
import time
from collections import namedtuple

import numpy as np
import pytest

from ilk.data.catalog import Picture
from ilk.data.decode import decode
from ilk.data.in_memory import from_arrays
from ilk.errors import DataError
from ilk.spec import Preprocess
from ilk.training import pixels as module
from ilk.training.pixels import (
    BATCHES_AHEAD,
    CachedPixels,
    StreamedPixels,
    free_memory,
    open_pixels,
    pick_cache,
)

PREPROCESS = Preprocess(imgsz=8)
CACHES = ["memory", "disk", "none"]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def pictures(tmp_path, noise, encoded):
    """Twelve files of odd sizes, of which the fourth and the last cannot be decoded."""
    found = []
    for i in range(12):
        path = tmp_path / f"{i}.png"
        path.write_bytes(encoded(noise(i, (20 + i, 30 - i)), "PNG"))
        found.append(Picture(str(path), "cat"))
    (tmp_path / "3.png").write_bytes(b"no picture")
    (tmp_path / "11.png").unlink()
    return found


def batches(*lists):
    return [np.array(indices) for indices in lists]


def read(source, given):
    """Return what comes of each batch: the indices, and the pixels of those that could be read."""
    return [(indices.tolist(), pixels.copy()) for pixels, indices in source.batches(given)]


@pytest.mark.parametrize("cache", CACHES)
def test_pixels_are_those_of_the_decoder_wherever_they_are_kept(pictures, cache):
    source = open_pixels(pictures, PREPROCESS, cache=cache)
    given = batches([5, 0, 2], [7], [2, 10, 9, 8])
    for (indices, pixels), batch in zip(read(source, given), given, strict=True):
        assert indices == batch.tolist()
        assert pixels.dtype == np.uint8
        assert pixels.shape == (len(batch), 8, 8, 3)
        expected = [decode(pictures[index].read(), PREPROCESS) for index in indices]
        np.testing.assert_array_equal(pixels, np.stack(expected))


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_batches_come_in_order_whatever_the_number_of_workers(pictures, workers, monkeypatch):
    first = pictures[0].read()

    def slow_with_the_first(content, preprocess):
        time.sleep(0.003 if content == first else 0)
        return decode(content, preprocess)

    monkeypatch.setattr(module, "decode", slow_with_the_first)
    source = open_pixels(pictures[:3], PREPROCESS, cache="none", workers=workers)
    given = [np.random.default_rng(i).permutation(3) for i in range(12)]
    expected = [decode(picture.read(), PREPROCESS) for picture in pictures[:3]]
    for (indices, pixels), batch in zip(read(source, given), given, strict=True):
        assert indices == batch.tolist()
        np.testing.assert_array_equal(pixels, [expected[index] for index in indices])


@pytest.mark.parametrize("cache", CACHES)
def test_the_same_batches_can_be_had_again(pictures, cache):
    source = open_pixels(pictures, PREPROCESS, cache=cache)
    given = batches([0, 1, 2], [4, 5, 6])
    for (indices, pixels), (indices_again, again) in zip(
        read(source, given), read(source, given), strict=True
    ):
        assert indices == indices_again
        np.testing.assert_array_equal(pixels, again)


@pytest.mark.parametrize("cache", CACHES)
def test_no_batches_are_no_batches(pictures, cache):
    assert read(open_pixels(pictures, PREPROCESS, cache=cache), []) == []


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_pictures_that_cannot_be_decoded_are_known_once_all_are_read(pictures, cache):
    source = open_pixels(pictures, PREPROCESS, cache=cache)
    assert sorted(source.errors) == [3, 11]
    assert source.errors[11] == "cannot be opened: No such file or directory"


def test_without_a_cache_what_cannot_be_decoded_is_missing_from_its_lot(pictures):
    source = open_pixels(pictures, PREPROCESS, cache="none")
    assert source.errors == {}
    [(first, pixels), (second, none), (third, _)] = read(source, batches([2, 3, 4], [11, 3], [1]))
    assert first == [2, 4]
    assert pixels.shape == (2, 8, 8, 3)
    assert second == []
    assert none.shape == (0, 8, 8, 3)
    assert third == [1]
    assert sorted(source.errors) == [3, 11]
    assert source.errors[11] == "cannot be opened: No such file or directory"


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_what_is_kept_lacks_the_same_pictures_as_what_is_decoded_anew(pictures, cache):
    kept, streamed = (open_pixels(pictures, PREPROCESS, cache=c) for c in (cache, "none"))
    given = batches([2, 3, 4], [11, 3], [1])
    for (indices, pixels), (others, again) in zip(
        read(kept, given), read(streamed, given), strict=True
    ):
        assert indices == others
        np.testing.assert_array_equal(pixels, again)


def test_a_lot_that_is_changed_does_not_change_what_is_kept(pictures):
    source = open_pixels(pictures, PREPROCESS, cache="memory")
    pixels, _ = next(source.batches(batches([0, 1])))
    before = pixels.copy()
    pixels[:] = 0
    np.testing.assert_array_equal(next(source.batches(batches([0, 1])))[0], before)


def test_decoding_runs_only_a_few_batches_ahead(pictures, monkeypatch):
    decoded = []

    def counted(content, preprocess):
        decoded.append(1)
        return decode(content, preprocess)

    monkeypatch.setattr(module, "decode", counted)
    source = StreamedPixels(pictures, PREPROCESS, workers=2)
    batches = source.batches([np.array([0, 1])] * 20)
    next(batches)
    batches.close()
    assert len(decoded) <= 2 * BATCHES_AHEAD


def test_whoever_stops_early_leaves_no_threads_behind(pictures):
    before = threading.active_count()
    batches = StreamedPixels(pictures, PREPROCESS, workers=3).batches([np.array([0, 1])] * 20)
    next(batches)
    batches.close()
    for _ in range(200):
        if threading.active_count() <= before:
            return
        time.sleep(0.01)
    raise AssertionError("threads are left over")


def test_progress_counts_every_picture_once(pictures, telling):
    told = []
    open_pixels(pictures, PREPROCESS, cache="memory", progress=telling(told))
    assert sum(told) == len(pictures)


@pytest.fixture
def room(monkeypatch):
    """Return ``room(memory, disk)``: so many bytes are free."""

    def make(memory, disk):
        monkeypatch.setattr(module, "free_memory", lambda: memory)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, disk))

    return make


SIZE = 10 * 8 * 8 * 3


@pytest.mark.parametrize(
    ("memory", "disk", "kept"),
    [
        (10 * SIZE, 0, "memory"),
        (SIZE / 0.4 + 1, 0, "memory"),
        (SIZE / 0.4 - 1, 3 * SIZE, "disk"),
        (0, 2 * SIZE, "disk"),
        (0, 2 * SIZE - 1, "none"),
    ],
)
def test_pixels_are_kept_where_there_is_room(room, memory, disk, kept):
    room(memory, disk)
    assert pick_cache(10, imgsz=8) == kept
    room(3 * memory, 3 * disk)
    assert pick_cache(10, imgsz=8, processes=3) == kept


def test_pixels_are_kept_where_they_are_to_be(pictures):
    memory, disk, none = (open_pixels(pictures, PREPROCESS, cache=cache) for cache in CACHES)
    assert isinstance(memory, CachedPixels)
    assert not isinstance(memory.pixels, np.memmap)
    assert isinstance(disk, CachedPixels)
    assert isinstance(disk.pixels, np.memmap)
    assert isinstance(none, StreamedPixels)


def test_a_disk_without_room_is_refused_before_work_begins(colours, room):
    room(10**9, SIZE - 1)
    with pytest.raises(
        DataError, match=r"0\.0 GB free. Free some space, set ILK_CACHE .* --cache none"
    ):
        open_pixels(from_arrays(*colours(10)).pictures, PREPROCESS, cache="disk")


def test_the_file_vanishes_with_the_process(colours, cache):
    source = open_pixels(from_arrays(*colours(10)).pictures, PREPROCESS, cache="disk")
    assert source.pixels.any()
    assert list((cache / "pixels").iterdir()) == []


def test_the_room_on_the_disk_is_taken_beforehand(colours, cache, monkeypatch):
    """Writing to a hole of a mapped file on a full disk would end the process by a signal."""
    taken = []
    allocate = os.posix_fallocate
    monkeypatch.setattr(os, "posix_fallocate", lambda *a: (taken.append(a[2]), allocate(*a)))
    open_pixels(from_arrays(*colours(10)).pictures, PREPROCESS, cache="disk")
    assert taken == [SIZE]


def test_where_the_system_cannot_take_room_beforehand_the_file_is_made_long_enough(
    colours, monkeypatch
):
    monkeypatch.delattr(os, "posix_fallocate")
    pictures = from_arrays(*colours(10)).pictures
    disk, memory = (open_pixels(pictures, PREPROCESS, cache=c) for c in ("disk", "memory"))
    np.testing.assert_array_equal(disk.pixels, memory.pixels)


def test_the_free_memory_is_a_sensible_number():
    one, other = free_memory(), free_memory()
    assert 2**24 < one < 2**50
    assert all(type(number) is int for number in (one, other))


def test_the_free_memory_is_guessed_where_the_system_does_not_tell(monkeypatch):
    def no_such_file(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(module.Path, "read_text", no_such_file)
    assert free_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    monkeypatch.delattr(os, "sysconf")
    assert free_memory() == 4 * 2**30
