from __future__ import annotations

import pytest

from ilk.data.catalog import Catalog, Picture
from ilk.data.class_names import alike, matched, settled
from ilk.errors import DataError


def catalog(*labels):
    return Catalog(tuple(Picture(str(i), label) for i, label in enumerate(labels)), source="data")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dog", "dog"), ("hot dog", "hot_dog"), ("hot-dog", "hotdog"), ("caf\u00e9", "cafe\u0301"),
        ("0", "0.0"), ("7", "007"), ("1", "1."), ("10", "10.00"), ("dog", "dog "),
    ],
)  # fmt: skip
def test_names_that_hardly_differ(one, other):
    assert alike([one, other, "something else"]) == [[one, other]]


@pytest.mark.parametrize(
    ("one", "other"), [("1", "10"), ("1.5", "15"), ("0.5", "5"), ("1-1", "11"), ("a1", "a10")]
)
def test_names_that_do_differ(one, other):
    assert alike([one, other]) == []


def test_a_training_stops_and_says_how_to_merge():
    data = catalog("Dog", "dog", "dog", "cat")
    with pytest.raises(DataError) as caught:
        settled(data, None)
    assert "'Dog' (1 picture), 'dog' (2 pictures)" in str(caught.value)
    assert "--merge-alike" in str(caught.value)
    assert "--no-merge-alike" in str(caught.value)
    assert settled(data, False) is data


def test_merged_classes_take_the_most_frequent_name(caplog):
    found = settled(catalog("Dog", "dog", "dog", "cat"), True)
    assert [p.label for p in found.pictures] == ["dog", "dog", "dog", "cat"]
    assert "Merged 'Dog' into 'dog'" in caplog.text


def test_labels_are_matched_with_the_classes_of_a_model():
    found = matched(catalog("DOG", "cat", "eel"), ("dog", "cat"))
    assert [p.label for p in found.pictures] == ["dog", "cat", "eel"]
