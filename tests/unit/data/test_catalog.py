from __future__ import annotations

import csv
import os

import numpy as np
import pytest

from ilk.data.catalog import Catalog, LeftOut, Picture, describe_left_out
from ilk.data.in_memory import from_arrays, rgb
from ilk.data.sources import open_catalog
from ilk.errors import DataError


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)


@pytest.fixture
def files(tmp_path, write_picture):
    """A catalog of three files, two of which have the same content."""
    paths = [write_picture(tmp_path / f"{name}.png", seed) for name, seed in (("a", 0), ("b", 1))]
    paths.append(write_picture(tmp_path / "c.png", 0))
    return Catalog(tuple(Picture(str(p), p.stem) for p in paths))


# --- arrays -------------------------------------------------------------------------------------


def test_arrays_become_pictures_in_order(images):
    data = from_arrays(images, ["b", "a", "b", "a"], splits=["train", "test", "val", "train"])
    assert data.classes == ("a", "b")
    assert data.splits == ("train", "val", "test")
    assert [p.path for p in data.of("train")] == ["arrays/0", "arrays/3"]
    assert np.array_equal(data.pictures[2].read(), images[2])
    assert data.counts() == {"a": 2, "b": 2}


def test_names_of_arrays_sort_as_the_arrays_do(images):
    names = [p.path for p in from_arrays([images[0]] * 12, name="mine").pictures]
    assert names == sorted(names)
    assert len(set(names)) == 12
    assert names[0].startswith("mine/")


def test_arrays_may_differ_in_size_and_be_grey(images):
    data = from_arrays([images[0], images[1][:3], images[2][..., 0]])
    assert [p.read().shape for p in data.pictures] == [(5, 6, 3), (3, 6, 3), (5, 6, 3)]
    assert np.array_equal(data.pictures[2].read(), images[2][..., [0, 0, 0]])
    assert data.classes == data.splits == ()


def test_labels_that_are_numbers_become_names(images):
    assert from_arrays(images, np.array([10, 2, 2, 10])).classes == ("10", "2")


@pytest.mark.parametrize(
    "options", [{"labels": "abc"}, {"labels": "abcd", "splits": ["train"] * 5}, {"labels": []}]
)
def test_lengths_that_differ_are_refused(images, options):
    with pytest.raises(DataError, match=r"There are 4 pictures and . (label|split)s: give each"):
        from_arrays(images, **options)


@pytest.mark.parametrize("split", ["Train", "holdout", None, ""])
def test_an_unknown_split_of_arrays_is_refused(images, split):
    with pytest.raises(DataError, match=f"Unknown split {split!r}; .*train, val, test"):
        from_arrays(images, "aabb", splits=["train", "test", "train", split])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 3), complex),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
    ],
)
def test_arrays_of_another_type_or_shape_are_refused_by_number(images, image):
    with pytest.raises(DataError, match=f"Picture 1 is {image.dtype} .*give uint8"):
        from_arrays([images[0], image])


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_arrays_of_more_than_8_bits_are_taken(images, kind):
    picture = from_arrays([images[0], np.ones((4, 5), kind)]).pictures[1]
    assert (picture.content.shape, picture.content.dtype) == ((4, 5, 3), kind)


def test_what_is_no_array_is_refused():
    with pytest.raises(DataError, match="Picture 0 is of type list; give an array"):
        from_arrays([[[1, 2], [3, 4]]])


def test_rgb_leaves_colour_alone(images):
    assert np.array_equal(rgb(images[0], 0), images[0])


# --- what a catalog tells -----------------------------------------------------------------------


def test_unlabelled_pictures_are_of_no_class():
    data = Catalog((Picture("a", "cat"), Picture("b")))
    assert (len(data), data.classes, data.counts()) == (2, ("cat",), {"cat": 1})


@pytest.mark.parametrize(
    ("good", "bad", "ignored", "share"),
    [(3, 1, 0, 0.25), (3, 1, 5, 0.25), (2, 0, 1, 0.0), (0, 2, 0, 1.0), (0, 0, 0, 0.0)],
)
def test_the_unreadable_share_counts_what_should_have_been_pictures(good, bad, ignored, share):
    left = [LeftOut("x", "why", unreadable=i < bad) for i in range(bad + ignored)]
    data = Catalog(tuple(Picture(str(i)) for i in range(good)), tuple(left))
    assert data.unreadable_share == share


def test_without_remembers_what_is_gone_and_why():
    data = Catalog(
        (Picture("a", "cat", "train"), Picture("b", "dog", "test")), (LeftOut("z", "old"),), "mine"
    )
    rest = data.without({"b": "is empty", "nonesuch": "x"})
    assert rest.pictures == data.pictures[:1]
    assert rest.left_out == (LeftOut("z", "old"), LeftOut("b", "is empty", "dog", "test", True))
    assert rest.source == "mine"
    assert data.without({}) == data


# --- digests ------------------------------------------------------------------------------------


def test_a_digest_depends_on_the_content_alone(files):
    a, b, c = (p.digest for p in files.digested(workers=2).pictures)
    assert a == c != b
    assert len(bytes.fromhex(a)) == 16


def test_bytes_in_memory_have_the_digest_of_the_same_file(files):
    content = files.pictures[0].read()
    memory = Catalog((Picture("x", content=content),)).digested()
    assert memory.pictures[0].digest == files.digested().pictures[0].digest


def test_arrays_of_another_shape_have_another_digest():
    data = from_arrays([np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4, 3), np.uint8)]).digested()
    assert len({p.digest for p in data.pictures}) == 2


def test_a_file_that_cannot_be_opened_is_left_out_with_the_reason(files, tmp_path):
    missing = Picture(str(tmp_path / "missing.png"), "cat", "train")
    data = Catalog((*files.pictures, missing, Picture(str(tmp_path), "dog"))).digested()
    assert len(data) == 3
    gone, folder = data.left_out
    assert (gone.path, gone.label, gone.split) == (missing.path, "cat", "train")
    assert gone.unreadable
    assert "No such file" in gone.reason
    assert "no regular file" in folder.reason


# --- saving -------------------------------------------------------------------------------------

ODD_NAMES = [
    "a b.png",
    "two\nlines.png",
    "re\rturn.png",
    'q"uo,te.png',
    "größe.png",
    "caf\udce9.png",
]


def test_a_saved_catalog_is_read_back_the_same_whatever_the_names(tmp_path, write_picture):
    pictures = [
        Picture(str(write_picture(tmp_path / "in" / name, i)), f"class {i % 2}", "train")
        for i, name in enumerate(ODD_NAMES)
    ]
    left = LeftOut(str(write_picture(tmp_path / "in" / "bad\n.png")), "is damaged", "cat", "test")
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / "catalog.csv"
    Catalog(tuple(pictures), (left,)).digested().save(file)
    read = open_catalog(file)
    assert read.pictures == tuple(pictures)
    assert [(x.path, x.reason, x.label, x.split) for x in read.left_out] == [
        (left.path, left.reason, left.label, left.split)
    ]
    assert read.unreadable_share == 0


def test_a_catalog_of_relative_paths_can_be_read_from_where_it_was_saved(
    tmp_path, monkeypatch, write_picture
):
    write_picture(tmp_path / "photos" / "cat" / "1.png")
    write_picture(tmp_path / "photos" / "dog" / "2.png")
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "runs" / "train" / "catalog.csv"
    file.parent.mkdir(parents=True)
    open_catalog("photos").save(file)
    assert open_catalog(file).counts() == {"cat": 1, "dog": 1}


def test_a_saved_catalog_has_a_row_a_file_with_its_digest(tmp_path, images):
    data = from_arrays(images[:2], "ab", splits=["train", "test"]).digested()
    data.save(tmp_path / "catalog.csv")
    with (tmp_path / "catalog.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["path", "label", "split", "digest", "left_out"],
        ["arrays/0", "a", "train", data.pictures[0].digest, ""],
        ["arrays/1", "b", "test", data.pictures[1].digest, ""],
    ]


def test_what_was_left_out_is_described_in_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left = [LeftOut(str(tmp_path / f"{i}\n.png"), "is empty") for i in range(1205)]
    lines = describe_left_out(left, limit=2)
    assert lines[:2] == [r"0\n.png: is empty", r"1\n.png: is empty"]
    assert "1,203 more" in lines[2]
    assert len(lines) == 3
    assert describe_left_out(left[:2], limit=2) == lines[:2]


def test_what_is_no_regular_file_never_hangs_a_run(files, tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    data = Catalog((*files.pictures, Picture(str(pipe)), Picture("a\0b.png"))).digested()
    assert len(data) == 3
    assert "no regular file" in data.left_out[0].reason
