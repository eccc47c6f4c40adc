from __future__ import annotations

from dataclasses import replace

import pytest

from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.copies import count_redundant, groups, spanning, with_copies
from ilk.data.inspection.near import Pair


def pairs(*ends):
    return [Pair(*sorted(two), 0.9, False) for two in ends]


def catalog(*splits):
    return Catalog(tuple(Picture(f"{i}", "cat", s, f"{9 - i}0") for i, s in enumerate(splits)))


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([], []),
        ([(0, 1)], [[0, 1]]),
        ([(0, 1), (3, 4)], [[0, 1], [3, 4]]),
        ([(0, 1), (1, 2)], [[0, 1, 2]]),
        ([(2, 0), (2, 1), (2, 3), (2, 4), (2, 5)], [[0, 1, 2, 3, 4, 5]]),
    ],
)
def test_pairs_are_joined_to_groups(ends, expected):
    assert groups(pairs(*ends)) == expected


def test_near_copies_and_copies_of_them_share_a_name():
    data = catalog(None, None, None, None)
    data = replace(data, pictures=(*data.pictures, replace(data.pictures[1], path="again")))
    found = with_copies(data, pairs((0, 1)))
    assert [p.near for p in found.pictures] == ["80", "80", "", "", "80"]
    assert [p.origin for p in found.pictures] == ["80", "80", "70", "60", "80"]
    assert count_redundant(found) == 2
    assert count_redundant(data) == 1


def test_without_near_copies_nothing_changes():
    data = catalog(None, None)
    assert with_copies(data, []) == data


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "test", "train"), ["0", "1"]),
        (("train", "train", "test"), []),
        ((None, None, None), []),
    ],
)
def test_a_group_in_several_splits_spanning(splits, expected):
    found = spanning(with_copies(catalog(*splits), pairs((0, 1))))
    assert [p.path for group in found for p in group] == expected


def test_exact_copies_leak_too():
    data = catalog("train", "val")
    copy = replace(data.pictures[0], path="copy", split="val")
    (leak,) = spanning(replace(data, pictures=(*data.pictures, copy)))
    assert [p.path for p in leak] == ["0", "copy"]


def test_groups_that_have_a_copy_in_common_become_one():
    data = catalog(None, None, None, None, None)
    names = ["ann", "bob", "", "", "cy"]
    data = replace(
        data, pictures=tuple(replace(p, group=g) for p, g in zip(data.pictures, names, strict=True))
    )
    found = with_copies(data, pairs((0, 1), (2, 3)))
    assert [p.group for p in found.pictures] == ["ann", "ann", "", "", "cy"]
    assert [p.distinct for p in found.pictures] == ["80", "80", "60", "60", "50"]
    assert [p.origin for p in found.pictures] == ["ann", "ann", "60", "60", "cy"]
