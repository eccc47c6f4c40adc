from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ilk.data.catalog import Catalog, Picture, from_arrays
from ilk.data.split import ensure_splits, roles
from ilk.errors import DataError
from ilk.spec import Preprocess
from ilk.training import pixels as pixels_module
from ilk.training.distributed import ALONE, World
from ilk.training.examples import read_examples
from ilk.training.pixels import Kept, Streamed

PREPROCESS = Preprocess(imgsz=8)
CACHES = ["memory", "disk", "none"]


def dealt(catalog, val=0.0, test=0.25):
    return ensure_splits(catalog.digested(), val_share=val, test_share=test, seed=0)


@pytest.fixture
def read(lab):
    def call(catalog, world=ALONE, **fields):
        recipe = lab.recipe(**{"val_share": 0.2, **fields})
        return read_examples(catalog, PREPROCESS, recipe, world=world)

    return call


@pytest.mark.parametrize("cache", CACHES)
def test_each_picture_has_its_class_and_its_pixels(catalog, read, cache):
    catalog = dealt(catalog)
    examples = read(catalog, cache=cache)
    assert isinstance(examples.source, Streamed if cache == "none" else Kept)
    assert examples.classes == ("blue", "green", "red")
    assert examples.targets.dtype == np.int64
    assert [examples.classes[k] for k in examples.targets] == [p.label for p in catalog.pictures]
    everything = np.arange(60)
    pixels, rows = next(examples.source.batches([everything]))
    np.testing.assert_array_equal(rows, everything)
    channels = {"red": 0, "green": 1, "blue": 2}
    brightest = pixels.mean(axis=(1, 2)).argmax(axis=1)
    assert brightest.tolist() == [channels[p.label] for p in catalog.pictures]


@pytest.fixture
def room(monkeypatch):
    """Return ``room(copies)``: memory has room for so many copies of the pixels; the disk, none."""

    def make(copies):
        size = 60 * 8 * 8 * 3
        monkeypatch.setattr(
            pixels_module, "free_memory", lambda: copies * size / pixels_module.MEMORY_SHARE
        )
        monkeypatch.setattr(pixels_module, "DISK_SHARE", 0)

    return make


@pytest.fixture
def pair():
    """Return two processes on this machine, of which the leading one tells what it decided."""
    told = []

    class Telling(World):
        def share(self, value):
            if self.leads:
                told.append(value)
            return told[-1]

    return Telling(0, 2), Telling(1, 2)


@pytest.mark.parametrize(("copies", "kind"), [(2, Kept), (1.9, Streamed)])
def test_all_processes_keep_pixels_as_the_leading_one_decides_for_all(
    catalog, read, room, pair, copies, kind
):
    room(copies)
    assert isinstance(read(dealt(catalog), pair[0], cache="auto").source, kind)
    room(0 if kind is Kept else 9)  # less is free by now, or more
    assert isinstance(read(dealt(catalog), pair[1], cache="auto").source, kind)


@pytest.mark.parametrize(("local", "kind"), [("1", Kept), ("2", Streamed)])
def test_processes_on_other_machines_take_no_room_here(
    catalog, read, room, pair, monkeypatch, local, kind
):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    room(1)
    assert isinstance(read(dealt(catalog), pair[0], cache="auto").source, kind)


def test_pictures_are_dealt_out_to_learn_from_to_choose_by_and_to_report_on(catalog, read):
    catalog = dealt(catalog)
    examples = read(catalog)
    role = roles(catalog, 0.2, seed=0)
    assert [role[i] for i in examples.train] == ["train"] * 36
    assert [role[i] for i in examples.val] == ["val"] * 9
    assert [catalog.pictures[i].split for i in examples.reported] == ["test"] * 15
    assert list(examples.reported) == sorted(examples.reported)
    rows = np.concatenate([examples.train, examples.val, examples.reported])
    assert sorted(rows) == list(range(60))
    assert all(r.dtype == np.int64 for r in (examples.train, examples.val, examples.reported))


def test_without_a_share_there_is_nothing_to_choose_by(catalog, read):
    examples = read(dealt(catalog), val_share=0.0)
    assert len(examples.val) == 0
    assert len(examples.train) == 45


def test_where_nothing_is_held_out_nothing_is_reported_on(catalog, read):
    examples = read(dealt(catalog, test=0.0), val_share=0.0)
    assert len(examples.reported) == 0
    assert len(examples.train) == 60


def test_a_class_that_is_in_test_alone_would_shift_no_other(colours, read):
    images, labels = colours(12)
    splits = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    examples = read(from_arrays(images, labels, splits=splits).digested())
    assert examples.train.tolist() == list(range(6))
    assert examples.val.tolist() == [6, 7, 8]
    assert examples.reported.tolist() == [9, 10, 11]


@pytest.fixture
def with_bad_files(catalog, tmp_path):
    """Return a dealt catalog in which a picture of each split cannot be decoded, and their rows."""

    def make(splits=("train", "test")):
        whole = dealt(catalog)
        bad = [next(i for i, p in enumerate(whole.pictures) if p.split == s) for s in splits]
        pictures = list(whole.pictures)
        for i in bad:
            path = tmp_path / f"{i}.png"
            path.write_bytes(b"no picture")
            old = pictures[i]
            pictures[i] = Picture(str(path), old.label, old.split, old.digest)
        return replace(whole, pictures=tuple(pictures)), set(bad)

    return make


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_pictures_that_cannot_be_decoded_take_no_part(with_bad_files, read, cache):
    catalog, bad = with_bad_files()
    examples = read(catalog, cache=cache)
    assert set(examples.source.errors) == bad
    [(pixels, rows)] = examples.source.batches([np.arange(60)])
    assert set(rows.tolist()) == set(range(60)) - bad
    assert len(pixels) == len(rows)


def test_the_order_of_pictures_does_not_depend_on_where_they_are_kept(with_bad_files, read):
    catalog, _ = with_bad_files()
    kept, streamed = read(catalog, cache="memory"), read(catalog, cache="none")
    assert kept.train.tolist() == streamed.train.tolist()
    lots = [kept.train[:7], kept.train[7:]]
    for (some, rows), (others, same) in zip(
        kept.source.batches(lots), streamed.source.batches(lots), strict=True
    ):
        assert rows.tolist() == same.tolist()
        assert (some == others).all()


def test_without_a_cache_nobody_knows_yet(with_bad_files, read):
    catalog, _ = with_bad_files()
    examples = read(catalog, cache="none")
    assert len(examples.train) + len(examples.val) + len(examples.reported) == 60


def test_the_same_pictures_are_held_out_whether_or_not_others_can_be_decoded(
    catalog, with_bad_files, read
):
    broken, bad = with_bad_files()
    assert set(read(broken).val.tolist()) == set(read(dealt(catalog)).val.tolist()) - bad


def test_too_many_that_cannot_be_decoded_are_refused(with_bad_files, read):
    catalog, _ = with_bad_files()
    with pytest.raises(DataError, match=r"2 of 60 files .* more than --max-unreadable 0\.01"):
        read(catalog, max_unreadable=0.01)


def test_what_other_processes_could_not_decode_counts_too(with_bad_files, read):
    class Pair(World):
        def merged(self, entries):
            return {**entries, int(examples.reported[0]): "is broken", int(examples.val[0]): "too"}

    catalog, _ = with_bad_files(["train"])
    examples = read(catalog, max_unreadable=0.05)
    assert len(examples.less_unreadable(0.05)) == 59
    assert len(examples.less_unreadable(0.05, Pair(0, 2))) == 57
    with pytest.raises(DataError, match=r"3 of 60 files .* more than --max-unreadable 0\.04"):
        examples.less_unreadable(0.04, Pair(0, 2))


def test_a_class_none_of_whose_pictures_can_be_decoded_is_refused(tmp_path, colours, read):
    images, labels = colours(9)
    catalog = from_arrays(images, labels, splits=["train"] * 9).digested()
    (tmp_path / "bad.png").write_bytes(b"no picture")
    pictures = [
        replace(p, path=str(tmp_path / "bad.png"), content=None) if p.label == "red" else p
        for p in catalog.pictures
    ]
    with pytest.raises(DataError, match="None of the pictures of the class red can be decoded"):
        read(Catalog(tuple(pictures)), max_unreadable=1.0, val_share=0.0)
