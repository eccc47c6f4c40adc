from __future__ import annotations

from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.combine import combined


def labels(catalog):
    return {p.path: p.label for p in catalog.pictures}


def test_several_sources_are_one(caplog):
    one = Catalog((Picture("/a/1", "cat"), Picture("/a/2", "dog")), source="a")
    other = Catalog((Picture("/b/1", "eel"),), (LeftOut("/b/2", "is broken"),), source="b")
    found = combined([one, other])
    assert labels(found) == {"/a/1": "cat", "/a/2": "dog", "/b/1": "eel"}
    assert [x.path for x in found.left_out] == ["/b/2"]
    assert found.source == "a + b"
    assert not caplog.text


def test_a_later_source_corrects_labels_and_leaves_out(caplog):
    photos = Catalog(tuple(Picture(f"/a/{i}", "cat", "train") for i in range(4)), source="a")
    fixes = Catalog(
        (Picture("/a/1", "dog", columns={"why": "tail"}), Picture("/a/2", "cat")),
        (LeftOut("/a/3", "blurred", unreadable=False),),
        source="fixes.csv",
    )
    found = combined([photos, fixes])
    assert labels(found) == {"/a/0": "cat", "/a/1": "dog", "/a/2": "cat"}
    assert {p.split for p in found.pictures} == {"train"}
    assert found.pictures[1].columns == {"why": "tail"}
    assert "fixes.csv corrects the label of 1 picture: /a/1" in caplog.text


def test_pictures_without_a_split_are_for_training(caplog):
    split = Catalog((Picture("/a/1", "cat", "train"), Picture("/a/2", "cat", "test")))
    found = combined([split, Catalog((Picture("/b/1", "cat"),))])
    assert [p.split for p in found.pictures] == ["train", "test", "train"]
    assert "1 picture without a split" in caplog.text
