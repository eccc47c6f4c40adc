from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ilk.data.catalog import Catalog, Picture
from ilk.data.in_memory import from_arrays
from ilk.data.split import ensure_splits, roles
from ilk.errors import DataError
from ilk.spec import Preprocess
from ilk.training import pixels as pixels_module
from ilk.training.distributed import SINGLE_PROCESS, World
from ilk.training.examples import Examples, read_examples, steps_in_epoch
from ilk.training.pixels import CachedPixels, StreamedPixels

PREPROCESS = Preprocess(imgsz=8)
CACHES = ["memory", "disk", "none"]


def split(catalog, val=0.0, test=0.25):
    return ensure_splits(catalog.digested(), val_share=val, test_share=test, seed=0)


@pytest.fixture
def read(lab):
    def call(catalog, world=SINGLE_PROCESS, **fields):
        recipe = lab.recipe(**{"val_share": 0.2, **fields})
        return read_examples(catalog, PREPROCESS, recipe, world=world)

    return call


@pytest.mark.parametrize("cache", CACHES)
def test_each_picture_has_its_class_and_its_pixels(catalog, read, cache):
    catalog = split(catalog)
    examples = read(catalog, cache=cache)
    assert isinstance(examples.source, StreamedPixels if cache == "none" else CachedPixels)
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
    """Return two processes on this machine; what the main process broadcasts is remembered."""
    values = []

    class Linked(World):
        def broadcast(self, compute):
            if self.is_main_process:
                values.append(compute())
            return values[-1]

    return Linked(0, 2), Linked(1, 2)


@pytest.mark.parametrize(("copies", "kind"), [(2, CachedPixels), (1.9, StreamedPixels)])
def test_all_processes_cache_pixels_as_the_main_process_decides(
    catalog, read, room, pair, copies, kind
):
    room(copies)
    assert isinstance(read(split(catalog), pair[0], cache="auto").source, kind)
    room(0 if kind is CachedPixels else 9)  # less is free by now, or more
    assert isinstance(read(split(catalog), pair[1], cache="auto").source, kind)


@pytest.mark.parametrize(("local", "kind"), [("1", CachedPixels), ("2", StreamedPixels)])
def test_processes_on_other_machines_take_no_room_here(
    catalog, read, room, pair, monkeypatch, local, kind
):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", local)
    room(1)
    assert isinstance(read(split(catalog), pair[0], cache="auto").source, kind)


def test_pictures_are_dealt_out_to_learn_from_to_choose_by_and_to_report_on(catalog, read):
    catalog = split(catalog)
    examples = read(catalog)
    role = roles(catalog, 0.2, seed=0)
    assert [role[i] for i in examples.train] == ["train"] * 36
    assert [role[i] for i in examples.val] == ["val"] * 9
    assert [catalog.pictures[i].split for i in examples.evaluated] == ["test"] * 15
    assert list(examples.evaluated) == sorted(examples.evaluated)
    rows = np.concatenate([examples.train, examples.val, examples.evaluated])
    assert sorted(rows) == list(range(60))
    assert all(r.dtype == np.int64 for r in (examples.train, examples.val, examples.evaluated))


def test_without_a_share_there_is_nothing_to_choose_by(catalog, read):
    examples = read(split(catalog), val_share=0.0)
    assert len(examples.val) == 0
    assert len(examples.train) == 45


def test_where_nothing_is_held_out_nothing_is_reported_on(catalog, read):
    examples = read(split(catalog, test=0.0), val_share=0.0)
    assert len(examples.evaluated) == 0
    assert len(examples.train) == 60


def test_a_class_that_is_in_test_alone_would_shift_no_other(colours, read):
    images, labels = colours(12)
    splits = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    examples = read(from_arrays(images, labels, splits=splits).digested())
    assert examples.train.tolist() == list(range(6))
    assert examples.val.tolist() == [6, 7, 8]
    assert examples.evaluated.tolist() == [9, 10, 11]


@pytest.fixture
def with_bad_files(catalog, tmp_path):
    """Return a catalog in which a picture of each split cannot be decoded, and their indices."""

    def make(splits=("train", "test")):
        whole = split(catalog)
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
    batches = [kept.train[:7], kept.train[7:]]
    for (some, rows), (others, same) in zip(
        kept.source.batches(batches), streamed.source.batches(batches), strict=True
    ):
        assert rows.tolist() == same.tolist()
        assert (some == others).all()


def test_without_a_cache_nobody_knows_yet(with_bad_files, read):
    catalog, _ = with_bad_files()
    examples = read(catalog, cache="none")
    assert len(examples.train) + len(examples.val) + len(examples.evaluated) == 60


def test_the_same_pictures_are_held_out_whether_or_not_others_can_be_decoded(
    catalog, with_bad_files, read
):
    broken, bad = with_bad_files()
    assert set(read(broken).val.tolist()) == set(read(split(catalog)).val.tolist()) - bad


def test_too_many_that_cannot_be_decoded_are_refused(with_bad_files, read):
    catalog, _ = with_bad_files()
    with pytest.raises(DataError, match=r"2 of 60 files .* more than --max-unreadable 0\.01"):
        read(catalog, max_unreadable=0.01)


def test_what_other_processes_could_not_decode_counts_too(with_bad_files, read):
    class Pair(World):
        def all_gather(self, entries):
            return {**entries, int(examples.evaluated[0]): "is broken", int(examples.val[0]): "too"}

    catalog, _ = with_bad_files(["train"])
    examples = read(catalog, max_unreadable=0.05)
    assert len(examples.readable_catalog(0.05)) == 59
    assert len(examples.readable_catalog(0.05, Pair(0, 2))) == 57
    with pytest.raises(DataError, match=r"3 of 60 files .* more than --max-unreadable 0\.04"):
        examples.readable_catalog(0.04, Pair(0, 2))


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


# --- the order of an epoch ---------------------------------------------------------------

INDICES = np.arange(100, 143)  # 43 training pictures among others
TARGETS = np.arange(200) % 3


def batches(indices=INDICES, batch=10, sampling="natural", seed=0, epoch=0, targets=TARGETS):
    examples = Examples(None, None, targets, indices, None, None, ())
    recipe = SimpleNamespace(batch=batch, accumulate=1, sampling=sampling, seed=seed)
    return examples.epoch_batches(recipe, epoch)


def flat(batches):
    return [int(index) for batch in batches for index in batch]


@pytest.mark.parametrize(
    ("pictures", "batch", "sizes"),
    [(43, 10, [9, 9, 9, 8, 8]), (40, 10, [10] * 4), (10, 10, [10]), (9, 10, [9]), (1, 1, [1])],
)
def test_an_epoch_is_divided_evenly(pictures, batch, sizes):
    assert steps_in_epoch(pictures, batch) == len(sizes)
    assert [len(batch) for batch in batches(INDICES[:pictures], batch)] == sizes


@pytest.mark.parametrize("epoch", range(5))
def test_every_picture_comes_once_in_an_epoch(epoch):
    assert sorted(flat(batches(epoch=epoch))) == INDICES.tolist()


@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_every_epoch_has_its_own_order(sampling):
    orders = [flat(batches(sampling=sampling, epoch=epoch)) for epoch in range(6)]
    assert all(one != other for one, other in combinations(orders, 2))


@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_every_seed_has_its_own_order(sampling):
    orders = [flat(batches(sampling=sampling, seed=seed)) for seed in range(6)]
    assert all(one != other for one, other in combinations(orders, 2))


@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_the_order_depends_on_seed_and_epoch_alone(sampling):
    expected = flat(batches(sampling=sampling, seed=4, epoch=7))
    torch.manual_seed(5)
    np.random.seed(5)
    batches(sampling=sampling, seed=4, epoch=6)
    assert flat(batches(sampling=sampling, seed=4, epoch=7)) == expected


def test_the_batch_does_not_change_the_order():
    assert flat(batches(batch=8)) == flat(batches(batch=20))


def test_the_order_is_even():
    """In many epochs every picture stands at the first place about equally often."""
    first = Counter(int(batches(INDICES[:5], 5, epoch=epoch)[0][0]) for epoch in range(500))
    assert len(first) == 5
    assert all(60 < count < 140 for count in first.values())


def test_balanced_draws_every_class_equally_often():
    indices = np.arange(100)
    targets = np.array([0] * 90 + [1] * 8 + [2] * 2)
    drawn = Counter()
    for epoch in range(30):
        drawn_batches = batches(indices, 10, "balanced", epoch=epoch, targets=targets)
        assert [len(batch) for batch in drawn_batches] == [10] * 10
        drawn.update(targets[flat(drawn_batches)].tolist())
    assert all(900 < drawn[k] < 1100 for k in range(3))


def test_balanced_allows_a_class_that_is_not_in_train():
    indices = np.arange(8)
    targets = np.array([0] * 4 + [2] * 4 + [1] * 4)
    assert {
        int(targets[index]) for index in flat(batches(indices, 4, "balanced", targets=targets))
    } <= {0, 2}
