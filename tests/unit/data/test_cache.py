from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ilk.data import cache as module
from ilk.data.cache import FeatureCache, clear, limit_bytes, prune, size
from ilk.errors import OutputError, UsageError


def digests(*numbers):
    return [f"{n:032x}" for n in numbers]


def features(*numbers, width=4):
    return np.array([[n + i / 10 for i in range(width)] for n in numbers], np.float32)


def filled(cache, *numbers, width=4):
    rows = np.full((len(numbers), width), -1, np.float32)
    return cache.fill(digests(*numbers), rows).tolist(), rows


def shards(cache):
    return sorted(cache.rglob("*.safetensors"), key=lambda p: p.stat().st_mtime_ns)


def test_what_was_added_is_found_by_its_digest():
    store = FeatureCache("net")
    store.add(digests(1, 2), features(1, 2))
    store.add(digests(3), features(3))
    known, rows = filled(FeatureCache("net"), 3, 9, 1)
    assert known == [True, False, True]
    assert np.array_equal(rows, [features(3)[0], [-1] * 4, features(1)[0]])


def test_a_picture_that_occurs_twice_is_filled_twice():
    store = FeatureCache("net")
    store.add(digests(1, 1), features(1, 1))
    known, rows = filled(store, 1, 2, 1)
    assert known == [True, False, True]
    assert np.array_equal(rows[[0, 2]], features(1, 1))


def test_an_empty_cache_knows_nothing():
    assert filled(FeatureCache("net"), 1, 2)[0] == [False, False]
    assert filled(FeatureCache("net"))[0] == []


def test_other_networks_have_their_own_features():
    FeatureCache("net").add(digests(1), features(1))
    assert filled(FeatureCache("other"), 1)[0] == [False]


def test_features_of_another_length_are_passed_over():
    store = FeatureCache("net")
    store.add(digests(1), features(1, width=3))
    assert filled(store, 1, width=4)[0] == [False]


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100, None])
def test_a_damaged_shard_is_dropped_and_the_rest_is_used(cache, content):
    store = FeatureCache("net")
    store.add(digests(1), features(1))
    (damaged,) = shards(cache)
    damaged.write_bytes(damaged.read_bytes()[:-3] if content is None else content)
    store.add(digests(2), features(2))
    assert filled(store, 1, 2)[0] == [False, True]
    assert not damaged.exists()


def test_a_cache_that_cannot_be_written_does_not_stop_a_training(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    store = FeatureCache("net")
    monkeypatch.setattr(Path, "replace", full)
    store.add(digests(1), features(1))
    assert list(cache.rglob("*.*")) == []


def test_a_cache_that_cannot_be_pruned_does_not_stop_a_training(monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "in use")

    store = FeatureCache("net")
    store.add(digests(1), features(1))
    monkeypatch.setenv("ILK_CACHE_GB", "0")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        store.add(digests(2), features(2))


def test_a_folder_that_cannot_be_made_says_how_to_move_it(cache):
    (cache / "features").mkdir()
    (cache / "features" / "net").write_text("in the way")
    with pytest.raises(OutputError, match="ILK_CACHE"):
        FeatureCache("net")


def written(path, number, age=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(number))
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_pruning_removes_what_was_not_used_for_longest(cache):
    old = written(cache / "graphs" / "old.bin", 100, age=30)
    middle = written(cache / "features" / "net" / "middle.safetensors", 100, age=20)
    new = written(cache / "backbones" / "new.safetensors", 100, age=10)
    prune(limit=300)
    assert size() == 300
    prune(limit=250)
    assert [p.exists() for p in (old, middle, new)] == [False, True, True]
    prune(limit=100)
    assert [p.exists() for p in (middle, new)] == [False, True]


def test_use_keeps_a_shard(cache):
    store = FeatureCache("net")
    store.add(digests(1), features(1))
    (used,) = shards(cache)
    idle = written(cache / "graphs" / "idle.bin", 100, age=5)
    os.utime(used, (1e9 - 10, 1e9 - 10))
    filled(store, 1)
    prune(limit=size() - 1)
    assert used.exists()
    assert not idle.exists()


def test_adding_prunes_to_the_limit(cache, monkeypatch):
    old = written(cache / "graphs" / "old.bin", 2000)
    monkeypatch.setenv("ILK_CACHE_GB", "1e-6")  # 1,000 bytes
    FeatureCache("net").add(digests(1), features(1))
    assert not old.exists()
    assert len(shards(cache)) == 1


def test_clear_removes_what_is_ilks_and_nothing_else(cache):
    mine = [written(cache / kind / "deep" / "x.bin", 10) for kind in module.KINDS]
    others = [
        written(cache / "notes.txt", 10),
        written(cache / "photos" / "cat.jpg", 10),
        written(cache / "datasets" / "cifar.tar", 10),
    ]
    assert size() == 10 * len(mine)
    assert clear() == 10 * len(mine)
    assert not any(p.exists() for p in mine)
    assert all(p.exists() for p in others)
    assert clear() == 0


def test_the_limit_comes_from_the_environment(monkeypatch):
    assert limit_bytes() == 4_000_000_000
    monkeypatch.setenv("ILK_CACHE_GB", "0.5")
    assert limit_bytes() == 500_000_000


@pytest.mark.parametrize("text", ["lots", "nan", "inf", ""])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("ILK_CACHE_GB", text)
    with pytest.raises(UsageError, match="ILK_CACHE_GB"):
        limit_bytes()


def test_a_limit_that_is_no_number_is_refused_before_the_work(monkeypatch):
    monkeypatch.setenv("ILK_CACHE_GB", "lots")
    with pytest.raises(UsageError, match="ILK_CACHE_GB"):
        FeatureCache("net")


def test_a_shard_that_cannot_be_opened_for_a_moment_is_kept(cache, monkeypatch):
    store = FeatureCache("net")
    store.add(digests(1), features(1))
    (shard,) = shards(cache)
    shard.chmod(0o000)
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.safe_open", _no_more_files)
        assert filled(store, 1)[0] == [False]
    shard.chmod(0o600)
    assert filled(store, 1)[0] == [True]


def _no_more_files(*_):
    raise OSError(24, "Too many open files")


def test_a_shard_that_is_not_asked_for_is_the_first_to_go(cache):
    store = FeatureCache("net")
    store.add(digests(1), features(1))
    store.add(digests(2), features(2))
    for shard in shards(cache):
        os.utime(shard, (1e9, 1e9))
    filled(store, 2)
    prune(limit=size() - 1)
    assert filled(store, 1, 2)[0] == [False, True]


def test_rows_are_looked_up_by_digest():
    store = FeatureCache("net")
    store.add(digests(1, 256), features(1, 256))  # one digest ends in zeros
    store.add(digests(3), features(3, width=3))
    rows = store.index(width=4)
    assert np.array_equal(rows.get(digests(256)[0]), features(256)[0])
    assert rows.get(digests(2)[0]) is None
    assert rows.get(digests(3)[0]) is None
