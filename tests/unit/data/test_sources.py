from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

import ilk
from ilk.data import sources
from ilk.data.catalog import Catalog, Picture
from ilk.data.folders import find_pictures
from ilk.data.sources import open_catalog
from ilk.errors import DataError, UsageError


@pytest.fixture
def root(tmp_path):
    return tmp_path / "photos"


@pytest.fixture
def tree(root, write_picture):
    """Return ``tree(*names)``: a folder with a picture under each name."""

    def make(*names):
        for i, name in enumerate(names):
            write_picture(root / name, i)
        return root

    return make


@pytest.fixture
def table(root, tree):
    """Return ``table(text)``: a CSV file beside the pictures cat/1.png and dog/2.png."""

    def make(text, name="list.csv"):
        tree("cat/1.png", "dog/2.png")
        path = root / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def rows(data, root):
    return [(str(Path(p.path).relative_to(root)), p.label, p.split) for p in data.pictures]


# --- folders ------------------------------------------------------------------------------------


def test_a_flat_folder_has_a_class_a_folder_and_no_splits(tree, root):
    data = open_catalog(tree("dog/2.png", "cat/1.png", "cat/0.png"))
    assert rows(data, root) == [
        ("cat/0.png", "cat", None),
        ("cat/1.png", "cat", None),
        ("dog/2.png", "dog", None),
    ]
    assert data.left_out == ()
    assert data.source == str(root)
    assert open_catalog(str(root)) == data


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_a_folder_of_splits(tree, root, val):
    data = open_catalog(tree("train/cat/1.png", f"{val}/cat/2.png", "test/dog/3.png"))
    assert sorted(rows(data, root)) == sorted(
        [
            ("train/cat/1.png", "cat", "train"),
            (f"{val}/cat/2.png", "cat", "val"),
            ("test/dog/3.png", "dog", "test"),
        ]
    )


def test_a_class_may_be_called_as_a_split_is(tree):
    data = open_catalog(tree("train/1.png", "plane/2.png", "test/3.png"))
    assert data.classes == ("plane", "test", "train")
    assert data.splits == ()


def test_classes_are_searched_in_depth(tree, root):
    data = open_catalog(tree("cat/a/b/1.png", "cat/2.png", "dog/3.png"))
    assert ("cat/a/b/1.png", "cat", None) in rows(data, root)
    assert data.counts() == {"cat": 2, "dog": 1}


def test_a_strange_folder_beside_the_splits_is_refused_by_name(tree):
    with pytest.raises(DataError, match="next to them: extra"):
        open_catalog(tree("train/cat/1.png", "test/cat/2.png", "extra/cat/3.png"))


def test_a_class_beside_the_splits_is_refused_by_name(tree):
    with pytest.raises(DataError, match="next to them: cat"):
        open_catalog(tree("train/cat/1.png", "test/cat/2.png", "cat/3.png"))


def test_a_folder_without_classes_beside_the_splits_is_left_out(tree):
    data = open_catalog(tree("train/cat/1.png", "train/dog/2.png", "test1/3.png"))
    assert len(data) == 2
    assert [x.reason for x in data.left_out] == ["is a folder without classes, next to the splits"]


def test_folders_around_the_classes_in_each_split(tree, root):
    data = open_catalog(tree(*(f"{s}/images/{c}/1.png" for s in ("train", "val") for c in "ab")))
    assert [(p.label, p.split) for p in data.pictures] == [
        ("a", "train"), ("b", "train"), ("a", "val"), ("b", "val"),
    ]  # fmt: skip


def test_splits_within_the_classes(tree):
    data = open_catalog(
        tree(*(f"{c}/{s}/1.png" for c in ("cat", "dog") for s in ("train", "test")))
    )
    assert [(p.label, p.split) for p in data.pictures] == [
        ("cat", "test"), ("cat", "train"), ("dog", "test"), ("dog", "train"),
    ]  # fmt: skip


def test_a_class_with_folders_that_are_no_splits_is_a_class(tree):
    data = open_catalog(tree("cat/train/1.png", "cat/left/2.png", "dog/train/3.png"))
    assert data.splits == ()
    assert data.classes == ("cat", "dog")


def test_hidden_and_system_files_are_passed_over(tree, root):
    tree("cat/1.png", "cat/.2.png", "cat/.git/3.png", ".Trash-1000/4.png", "dog/5.png", ".6.png")
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    data = open_catalog(root)
    assert [r[0] for r in rows(data, root)] == ["cat/1.png", "dog/5.png"]
    assert data.left_out == ()


def test_a_file_that_does_not_end_as_a_picture_is_left_out_but_not_called_unreadable(tree, root):
    tree("cat/1.png", "dog/2.png")
    (root / "cat" / "notes.txt").write_text("x")
    (left,) = open_catalog(root).left_out
    assert (Path(left.path).name, left.label, left.unreadable) == ("notes.txt", "cat", False)


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (("a/1.png", "b/2.png"), ""),
        (("train/a/1.png", "test/b/2.png"), ""),
        (("train/a/1.png", "test/b/2.png"), "train"),
    ],
)
def test_nothing_beside_the_classes_vanishes_without_a_word(tree, root, names, place):
    tree(*names)
    (root / place / "gone").symlink_to("/nowhere")
    (root / place / "loop").symlink_to("loop")
    (root / place / "notes.txt").write_text("x")
    (root / place / "Thumbs.db").write_bytes(b"x")
    data = open_catalog(root)
    assert data.classes == ("a", "b")
    assert [(Path(x.path).name, x.reason, x.kind) for x in data.left_out] == [
        ("gone", "is a broken link, to /nowhere", "file.link"),
        ("loop", "is a broken link, to loop", "file.link"),
        ("notes.txt", "is not a picture, by its suffix", "file.ignored"),
    ]
    assert {(x.label, x.split, x.unreadable) for x in data.left_out} == {
        (None, place or None, False)
    }


def test_a_class_folder_without_pictures_is_left_out_with_the_reason(tree, root):
    tree("cat/1.png", "dog/2.png")
    (root / "eel").mkdir()
    (root / "fox").mkdir()
    (root / "fox" / "notes.txt").write_text("x")
    data = open_catalog(root)
    assert data.classes == ("cat", "dog")
    assert [(Path(x.path).name, x.label, x.unreadable) for x in data.left_out] == [
        ("eel", "eel", False),
        ("notes.txt", "fox", False),
        ("fox", "fox", False),
    ]
    assert data.left_out[0].reason == "is a folder without pictures"


def test_a_split_folder_without_pictures_is_left_out_with_the_reason(tree, root):
    tree("train/cat/1.png", "train/dog/2.png")
    (root / "val").mkdir()
    data = open_catalog(root)
    assert [(Path(x.path).name, x.split, x.reason) for x in data.left_out] == [
        ("val", "val", "is a folder without pictures")
    ]


def test_a_table_of_what_was_left_out_does_not_call_it_unreadable(tree, root, tmp_path):
    tree("cat/1.png", "dog/2.png")
    (root / "eel").mkdir()
    (root / "gone").symlink_to("/nowhere")
    (root / "notes.txt").write_text("x")
    open_catalog(root).save(tmp_path / "catalog.csv")
    data = open_catalog(tmp_path / "catalog.csv")
    assert [(x.unreadable, x.kind) for x in data.left_out] == [(False, "")] * 3


@pytest.mark.parametrize(
    "name", ["A.JPG", "a.jpeg", "a.jfif", "a.webp", "a.TIFF", "a.avif", "a.pgm"]
)
def test_endings_of_pictures_in_any_case(tree, name):
    data = open_catalog(tree(f"cat/{name}"))
    assert len(data) == 1


@pytest.mark.parametrize(
    ("names", "stray", "split"),
    [
        (("cat/1.png", "dog/2.png"), "stray.png", None),
        (("train/cat/1.png", "test/dog/2.png"), "train/stray.png", "train"),
        (("train/cat/1.png", "test/dog/2.png"), "stray.png", None),
    ],
)
def test_a_picture_outside_the_classes_is_left_out_for_want_of_a_label(
    tree, root, names, stray, split
):
    data = open_catalog(tree(*names, stray))
    (left,) = data.left_out
    assert left.path == str(root / stray)
    assert (left.label, left.split, left.unreadable) == (None, split, False)
    assert "no label" in left.reason
    assert len(data) == 2


def test_pictures_a_level_too_high_are_refused_with_a_hint(tree):
    with pytest.raises(DataError, match=r"1 picture, but no class folders.*itself one of the"):
        open_catalog(tree("1.png"))


@pytest.mark.parametrize("names", [(), (".git/1.png",)])
def test_a_folder_without_labelled_pictures_is_refused_with_what_is_expected(tree, root, names):
    root.mkdir()
    with pytest.raises(DataError, match=r"no labelled pictures.*CLASS/picture\.jpg"):
        open_catalog(tree(*names))


ODD_NAMES = ["a b.png", "two\nlines.png", 'quo"te,.png', " .png", "größe 猫.png", "caf\udce9.png"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_file_name_that_the_system_allows(tree, name):
    (picture,) = open_catalog(tree(f"cat/{name}")).pictures
    assert os.path.basename(picture.path) == name  # noqa: PTH119
    assert picture.read()


def test_the_order_of_files_is_by_name(tree, root):
    names = ["cat/b.png", "cat/B.png", "cat/10.png", "cat/9.png", "cat/ä.png"]
    assert [r[0] for r in rows(open_catalog(tree(*names)), root)] == sorted(names, key=os.fsencode)


# --- bad folders ----------------------------------------------------------------------------------


@pytest.fixture
def unlistable(monkeypatch):
    """Return ``unlistable(name)``: folders of that name cannot be listed, as those of others."""
    scandir = os.scandir

    def make(name):
        def refuse(folder="."):
            if Path(os.fspath(folder)).name == name:
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(folder))
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", refuse)

    return make


@pytest.mark.parametrize("names", [("cat/1.png", "dog/2.png"), ("cat/deep/1.png", "dog/2.png")])
def test_a_folder_that_cannot_be_listed_is_left_out_with_the_reason(tree, unlistable, names):
    root = tree(*names)
    hidden = root / Path(names[0]).parent
    unlistable(hidden.name)
    data = open_catalog(root)
    assert data.classes == ("dog",)
    (left,) = data.left_out
    assert (left.path, left.label, left.kind) == (str(hidden), "cat", "file.unreadable")
    assert left.reason == "cannot be listed: Permission denied"


@pytest.mark.parametrize("name", ["photos", "train"])
def test_a_root_or_split_that_cannot_be_listed_is_refused_by_name(tree, unlistable, name):
    root = tree("train/cat/1.png", "test/cat/2.png")
    unlistable(name)
    with pytest.raises(DataError, match=f"{name} cannot be listed: Permission denied"):
        open_catalog(root)


def test_links_in_a_loop_end(tree, root):
    tree("cat/1.png", "dog/2.png")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat" / "self")
    (root / "self").symlink_to(root / "self")
    (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
    data = open_catalog(root)
    assert [r[0] for r in rows(data, root)] == ["cat/1.png", "cat/self.png", "dog/2.png"]
    kinds = {Path(x.path).name: x.kind for x in data.left_out}
    assert kinds == {"up": "file.link", "self": "file.link"}
    assert len(data.left_out) == 3


def test_a_class_that_leads_back_to_the_whole_is_left_out(tree, root):
    tree("cat/1.png")
    (root / "all").symlink_to(root)
    (root / "above").symlink_to(root.parent)
    data = open_catalog(root)
    assert data.classes == ("cat",)
    assert [(x.label, x.kind) for x in data.left_out] == [
        ("above", "file.link"),
        ("all", "file.link"),
    ]


def test_a_class_may_be_a_link(tree, root, tmp_path, write_picture):
    tree("cat/1.png")
    write_picture(tmp_path / "elsewhere" / "2.png")
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    assert open_catalog(root).counts() == {"cat": 1, "dog": 1}


def test_things_that_are_no_files_are_read_and_refused_later(tree, root):
    tree("cat/1.png")
    os.mkfifo(root / "cat" / "pipe.png")
    os.mkfifo(root / "stray.png")
    data = open_catalog(root)
    pipe = next(p for p in data.pictures if p.path.endswith("pipe.png"))
    with pytest.raises(OSError, match="no regular file"):
        pipe.read()


def test_a_class_name_of_any_bytes(root, write_picture):
    write_picture(root / os.fsdecode(b"caf\xe9") / "1.png")
    (picture,) = open_catalog(root).pictures
    assert os.fsencode(picture.label) == b"caf\xe9"


def test_a_folder_is_listed_once_however_many_names_it_has(tree, root, monkeypatch):
    tree("train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
    for i in range(300):
        (root / "train" / "cat" / f"more{i}.png").touch()
    listed, scandir = [], os.scandir

    def count(folder="."):
        listed.append(os.fspath(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", count)
    assert len(open_catalog(root)) == 303
    assert max(Counter(listed).values()) == 1


# --- paths that are not folders -----------------------------------------------------------------


def test_a_path_that_is_not_there_is_refused_with_what_is_allowed(root):
    with pytest.raises(UsageError, match=r"There is no .*photos\. Give a folder.*digits"):
        open_catalog(root)
    with pytest.raises(UsageError, match="There is no"):
        open_catalog(root / "list.csv")


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "x.doc").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"x\.doc is not a folder or a table"):
        open_catalog(tmp_path / "x.doc")
    (tmp_path / "x.tar.gz").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"x\.tar\.gz is an archive: unpack it"):
        open_catalog(tmp_path / "x.tar.gz")


@pytest.mark.parametrize("data", [None, 3, [1], (1, 2, 3)])
def test_data_of_another_type_is_refused(data):
    with pytest.raises(UsageError, match=f"Data is a {type(data).__name__}"):
        open_catalog(data)


def test_a_catalog_and_arrays_are_taken_as_they_are():
    data = Catalog((Picture("x", "cat"),))
    assert open_catalog(data) is data
    arrays = open_catalog((np.zeros((2, 4, 4, 3), np.uint8), ["cat", "dog"]))
    assert arrays.classes == ("cat", "dog")


def test_digits_come_by_name():
    data = open_catalog("digits")
    assert len(data) == 1797
    assert data.classes == tuple("0123456789")
    assert data.source == "digits"
    assert max(p.read().max() for p in data.pictures) == 255


def test_a_folder_goes_before_a_data_set_of_the_same_name(tmp_path, monkeypatch, write_picture):
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "digits" / "one" / "1.png")
    assert open_catalog("digits").classes == ("one",)


# --- tables -------------------------------------------------------------------------------------


def test_a_csv_table_with_paths_relative_to_it(table, root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data = open_catalog(table("path,label\ncat/1.png,cat\ndog/2.png,dog\n"))
    assert rows(data, root) == [("cat/1.png", "cat", None), ("dog/2.png", "dog", None)]
    assert all(p.read() for p in data.pictures)


def test_absolute_paths_other_columns_and_their_order(table, root):
    text = f"note,split,label,path\nx,train,cat,{root / 'cat/1.png'}\n,test,dog,dog/2.png\n"
    data = open_catalog(table(text))
    assert rows(data, root) == [("cat/1.png", "cat", "train"), ("dog/2.png", "dog", "test")]


def test_a_csv_table_as_a_spreadsheet_writes_it(table, root):
    data = open_catalog(table('\ufeffpath,label\r\n"cat/1.png","a, ""b"""\r\n', "list.CSV"))
    assert rows(data, root) == [("cat/1.png", 'a, "b"', None)]


def test_paths_of_any_bytes(tree, root):
    tree("cat/caf\udce9.png")
    path = root / "list.csv"
    path.write_bytes(b"path,label\ncat/caf\xe9.png,cat\n")
    (picture,) = open_catalog(path).pictures
    assert picture.read()


@pytest.mark.parametrize("name", ["valid", "VALIDATION", "val"])
def test_split_names_in_a_table(table, name):
    text = f"path,label,split\ncat/1.png,cat,Train\ndog/2.png,dog,{name}\n"
    assert open_catalog(table(text)).splits == ("train", "val")


def test_an_unknown_split_is_refused_by_name(table):
    with pytest.raises(DataError, match=r"unknown split 'holdout'\. Allowed: train, .*test"):
        open_catalog(table("path,label,split\ncat/1.png,cat,holdout\n"))


def test_a_split_given_to_some_rows_only_is_refused(table):
    with pytest.raises(DataError, match=r"a split for some rows only.*dog/2\.png"):
        open_catalog(table("path,label,split\ncat/1.png,cat,train\ndog/2.png,dog,\n"))


def test_an_empty_split_column_is_none(table):
    data = open_catalog(table("path,label,split\ncat/1.png,cat,\ndog/2.png,dog,\n"))
    assert data.splits == ()


@pytest.mark.parametrize(
    ("header", "lacks", "has"),
    [
        ("path,class", "label", "path, class"),
        ("a,b", "path and label", "a, b"),
    ],
)
def test_a_missing_column_is_named_with_those_that_are_there(table, header, lacks, has):
    with pytest.raises(DataError, match=f"lacks the columns? {lacks}.*it has {has}"):
        open_catalog(table(f"{header}\n1,2\n"))


def test_rows_without_a_file_or_a_label_are_left_out_with_the_reason(table):
    data = open_catalog(table("path,label\ncat/1.png,cat\ncat/0.png,cat\ndog/2.png,\n,dog\nx\n"))
    assert len(data) == 1
    found = {Path(x.path).name: (x.reason, x.label, x.unreadable) for x in data.left_out}
    assert found["0.png"] == ("is named in the table but is not there", "cat", True)
    assert found["2.png"] == ("has no label in the table", None, False)
    assert len(data.left_out) == 4


def test_a_row_that_names_a_folder_says_so(table):
    (left,) = open_catalog(table("path,label\ncat/1.png,cat\ndog,dog\n")).left_out
    assert left.reason == "is a folder, where the table should name a file"
    assert left.unreadable


def test_rows_that_the_table_leaves_out_are_left_out_and_not_held_against_the_data(table):
    data = open_catalog(table("path,label,left_out\ncat/1.png,cat,\ndog/2.png,dog,blurred\n"))
    (left,) = data.left_out
    assert left.reason == "blurred"
    assert data.unreadable_share == 0


def test_a_table_without_a_usable_picture_says_why(table):
    with pytest.raises(DataError, match=r"usable picture.*nope\.png is named in the table but"):
        open_catalog(table("path,label\nnope.png,cat\n"))
    with pytest.raises(DataError, match="lists no usable picture"):
        open_catalog(table("path,label\n"))


@pytest.mark.parametrize("text", ['path,label\n"cat/1.png,cat\n', 'path,label\n"a"b,cat\n'])
def test_a_broken_csv_is_refused(table, text):
    with pytest.raises(DataError, match="cannot be read as CSV"):
        open_catalog(table(text))


def test_bytes_that_are_no_table_are_refused(table):
    with pytest.raises(DataError):
        open_catalog(table(bytes(range(256))))


def test_a_parquet_table(tree, root):
    tree("cat/1.png", "dog/2.png")
    columns = {
        "path": ["cat/1.png", "dog/2.png"],
        "label": ["cat", "dog"],
        "split": ["train", "test"],
    }
    parquet.write_table(pyarrow.table(columns), root / "list.parquet")
    data = open_catalog(root / "list.parquet")
    assert rows(data, root) == [("cat/1.png", "cat", "train"), ("dog/2.png", "dog", "test")]


def test_numbers_and_gaps_in_a_parquet_table(tree, root):
    tree("cat/1.png", "dog/2.png")
    columns = {"path": ["cat/1.png", "dog/2.png"], "label": [0, None], "split": [None, None]}
    parquet.write_table(pyarrow.table(columns), root / "list.parquet")
    data = open_catalog(root / "list.parquet")
    assert rows(data, root) == [("cat/1.png", "0", None)]
    assert len(data.left_out) == 1


def test_a_broken_parquet_file_is_refused_in_one_line(table):
    with pytest.raises(DataError, match="cannot be read as Parquet") as caught:
        open_catalog(table("nonsense", "list.parquet"))
    assert "\n" not in str(caught.value)


def test_a_data_set_that_cannot_be_downloaded_is_refused_with_a_way_out(monkeypatch):
    class Datasets:
        def CIFAR10(self, *_, **__):
            raise RuntimeError("no network")

    class Torchvision:
        datasets = Datasets()

    monkeypatch.setattr("ilk.operators.import_torchvision", Torchvision)
    with pytest.raises(DataError, match=r"'cifar10' is not in .* cannot be downloaded: no network"):
        open_catalog("cifar10")


def test_a_downloaded_data_set_keeps_its_splits_and_names(monkeypatch):
    class Data:
        classes = ("plane", "car")

        def __init__(self, folder, train, download):
            self.data = np.full((3, 4, 4, 3), 200 if train else 100, np.uint8)
            self.targets = [0, 1, 0]

    class Torchvision:
        class datasets:
            CIFAR10 = Data

    monkeypatch.setattr("ilk.operators.import_torchvision", Torchvision)
    data = open_catalog("cifar10")
    assert data.counts() == {"plane": 4, "car": 2}
    assert [len(data.of(s)) for s in ("train", "test")] == [3, 3]
    assert data.of("test")[0].read().mean() == 100
    assert len({p.path for p in data.pictures}) == 6


# --- pictures to predict ------------------------------------------------------------------------


def paths(found):
    return [p.path for p in found.pictures]


def test_files_are_kept_in_order_and_as_they_were_named(tree, root, monkeypatch):
    tree("b.png", "a.png", "notes.txt")
    monkeypatch.chdir(root)
    found = find_pictures(["b.png", "./a.png", "notes.txt", "missing.png"])
    assert paths(found) == ["b.png", "./a.png", "notes.txt", "missing.png"]
    assert {p.label for p in found.pictures} == {None}


def test_a_folder_gives_its_pictures_at_any_depth(tree, root):
    tree("b.png", "a/c.jpg", "a/notes.txt", ".hidden.png")
    assert sorted(paths(find_pictures([str(root)]))) == [str(root / "a/c.jpg"), str(root / "b.png")]


def test_a_pattern_gives_the_files_that_match_sorted(tree, root):
    tree("b.png", "a.png", "c.jpg", "deep/er/d.png", "folder.png/x.jpg")
    assert paths(find_pictures([str(root / "*.png")])) == [str(root / "a.png"), str(root / "b.png")]
    assert str(root / "deep/er/d.png") in paths(find_pictures([str(root / "**/*.png")]))


def test_patterns_do_not_follow_links_in_circles(tree, root, monkeypatch):
    tree("a.png", "cat/b.png", "cat/deep/c.png")
    for name in ("one", "two"):
        (root / name).symlink_to(".")
    expected = ["a.png", "cat/b.png", "cat/deep/c.png"]
    whole = [str(root / name) for name in expected]
    for pattern in ("**/*.png", "**", "**/**/*.png", "**/*.p*"):
        assert paths(find_pictures([str(root / pattern)])) == whole
    monkeypatch.chdir(root)
    assert paths(find_pictures(["**/*.png"])) == expected
    assert paths(find_pictures(["c*/**/*.png"])) == expected[1:]
    assert paths(find_pictures(["./**/deep/*"])) == ["./cat/deep/c.png"]


def deep(folder, depth=1500):
    """Make folders within one another; a path to the last would be too long for the system."""
    folder.mkdir(parents=True, exist_ok=True)
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


@pytest.fixture
def remove_deep(root):
    yield
    os.system(f"rm -rf '{root}'")  # shutil.rmtree would recurse


@pytest.mark.usefixtures("remove_deep")
def test_what_is_nested_too_deep_in_a_class_is_left_out(tree, root):
    tree("cat/1.png", "cat/d/d/2.png", "dog/3.png")
    deep(root / "dog")
    data = open_catalog(root)
    assert len(data.pictures) == 3
    assert ["nested too deep" in x.reason for x in data.left_out] == [True]
    assert len(find_pictures([str(root)]).pictures) == 3
    assert len(find_pictures([str(root / "**/*.png")]).pictures) == 3


@pytest.mark.usefixtures("remove_deep")
def test_a_root_that_is_nested_too_deep_is_refused(root):
    deep(root)
    with pytest.raises(DataError, match="nested too deep: more than 100 folders"):
        open_catalog(root)


@pytest.mark.usefixtures("remove_deep")
def test_a_table_finds_moved_files_beside_deep_folders(table, root):
    path = table("path,label\nold/1.png,cat\ncat/1.png,cat\n2.png,dog\n")
    deep(root / "deep")
    assert str(root / "dog/2.png") in paths(open_catalog(path))


def test_a_table_of_very_many_columns_is_refused(table):
    wide = ",".join(["path", "label", *(f"c{i}" for i in range(6000))])
    with pytest.raises(DataError, match=r"has 6,002 columns; up to 5,000 are allowed"):
        open_catalog(table(wide + "\ncat/1.png,cat\n"))


def test_a_table_of_very_many_short_lines_is_refused(table):
    wide = ",".join(["path", "label", *(f"c{i}" for i in range(4000))])
    with pytest.raises(DataError, match=r"cells are missing"):
        open_catalog(table(wide + "\n" + "cat/1.png,cat\n" * 3000))


def test_a_pattern_that_matches_nothing_is_kept_for_the_error():
    assert paths(find_pictures(["nothing*.png"])) == ["nothing*.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree, root):
    tree("a[1].png", "a1.png")
    assert paths(find_pictures([str(root / "a[1].png")])) == [str(root / "a[1].png")]


@pytest.mark.parametrize(
    ("stdin", "names"),
    [
        ("a b.png\nc.png\n", ["a b.png", "c.png"]),
        ("a.png\n\nb.png", ["a.png", "b.png"]),
        ("two\nlines.png\0b.png\0", ["two\nlines.png", "b.png"]),
        ("", []),
    ],
)
def test_a_dash_stands_for_the_names_on_stdin(stdin, names):
    assert paths(find_pictures(["first.png", "-", "last.png"], stdin)) == [
        "first.png",
        *names,
        "last.png",
    ]


def test_every_named_data_set_is_offered_in_the_message(root):
    with pytest.raises(UsageError) as caught:
        open_catalog(root)
    assert all(name in str(caught.value) for name in sources.NAMED)


# --- as people and tools write them -------------------------------------------------------------

AS_WRITTEN = {
    "semicolons": b"path;label\ncat/1.png;cat\ndog/2.png;dog\n",
    "tabs": b"path\tlabel\ncat/1.png\tcat\ndog/2.png\tdog\n",
    "spaces": b"path, label\ncat/1.png, cat \ndog/2.png , dog\n",
    "capitals": b"Path,LABEL\ncat/1.png,cat\ndog/2.png,dog\n",
    "UTF-16": "path,label\ncat/1.png,cat\ndog/2.png,dog\n".encode("utf-16"),
    "UTF-16 without a mark": "path,label\ncat/1.png,cat\ndog/2.png,dog\n".encode("utf-16-le"),
    "a byte order mark": "\ufeffpath,label\ncat/1.png,cat\ndog/2.png,dog\n".encode(),
    "Windows line ends": b"path,label\r\ncat/1.png,cat\r\ndog/2.png,dog\r\n",
    "backslashes": b"path,label\ncat\\1.png,cat\n.\\dog\\2.png,dog\n",
    "no endings": b"path,label\ncat/1,cat\ndog/2,dog\n",
}


@pytest.mark.parametrize("text", AS_WRITTEN.values(), ids=AS_WRITTEN)
def test_a_table_as_other_tools_write_it(table, text):
    data = open_catalog(table(text))
    assert [Path(p.path).name for p in data.pictures] == ["1.png", "2.png"]
    assert [p.label for p in data.pictures] == ["cat", "dog"]
    assert data.left_out == ()


def test_files_given_as_addresses(table, root):
    data = open_catalog(table(f"path,label\nfile://{root}/cat/1.png,cat\n"))
    assert [Path(p.path) for p in data.pictures] == [root / "cat" / "1.png"]


def test_an_ending_is_not_guessed_where_several_files_have_the_name(tree, root):
    tree("cat/1.png", "cat/1.jpg", "dog/2.png")
    (root / "t.csv").write_text("path,label\ncat/1,cat\ndog/2.png,dog\n")
    data = open_catalog(root / "t.csv")
    assert [x.reason for x in data.left_out] == ["is named in the table but is not there"]


def test_labels_in_latin_1(table):
    data = open_catalog(table("path,label\ncat/1.png,B\xe4r\ndog/2.png,dog\n".encode("latin-1")))
    assert [p.label for p in data.pictures] == ["B\xe4r", "dog"]


def test_an_empty_table_says_so(table):
    with pytest.raises(DataError, match=r"list\.csv is empty\. Expected a line path,label"):
        open_catalog(table(""))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_refused_in_a_sentence(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(content)
    with contextlib.suppress(DataError):
        open_catalog(file)


@pytest.mark.parametrize(
    "names",
    [("Training/cat/1.png", "Testing/cat/2.png"), ("TRAIN/cat/1.png", "Dev/cat/2.png"),
     ("seg_train/seg_train/cat/1.png", "seg_test/seg_test/cat/2.png"),
     ("archive/train/cat/1.png", "archive/val/cat/2.png"),
     ("archive/data/train/cat/1.png", "archive/data/test/cat/2.png")],
)  # fmt: skip
def test_splits_as_the_field_names_and_wraps_them(tree, names):
    data = open_catalog(tree(*names))
    assert [p.label for p in data.pictures] == ["cat", "cat"]
    assert len(data.splits) == 2


@pytest.mark.parametrize("around", ["PetImages", "archive/PetImages", "a/b/c"])
def test_a_folder_around_the_classes_is_looked_into(tree, around):
    data = open_catalog(tree(f"{around}/cat/1.png", f"{around}/dog/2.png"))
    assert data.classes == ("cat", "dog")


def test_a_single_class_is_not_taken_for_a_folder_around_classes(tree):
    assert open_catalog(tree("cat/1.png")).classes == ("cat",)
    assert open_catalog(tree("cat/in/1.png", "cat/2.png")).classes == ("cat",)


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN"])
def test_folders_of_systems_and_tools_are_skipped(tree, name):
    data = open_catalog(tree(
        "train/cat/1.png", "test/cat/2.png", f"{name}/cat/3.png", f"train/cat/{name}/4.png"
    ))  # fmt: skip
    assert [Path(p.path).name for p in data.pictures] == ["2.png", "1.png"]


def test_a_class_may_begin_with_a_dot(tree):
    assert open_catalog(tree(".22 LR/1.png", "9 mm/2.png")).classes == (".22 LR", "9 mm")


# --- what several sources and renamed columns give ------------------------------------------------


@pytest.mark.parametrize(
    "columns", ["path=image,label=choice", {"path": "Image", "label": "choice"}]
)
def test_columns_that_a_table_calls_otherwise(table, root, columns):
    path = table("image,choice,label\ncat/1.png,cat,ignored\ndog/2.png,dog,ignored\n")
    data = open_catalog(path, columns)
    assert [p.label for p in data.pictures] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ("image", UsageError, r"'image=' is not understood. .*path, label, split"),
        ("file=image", UsageError, "'file=image' is not understood"),
        ("path=photo", DataError, "has no such column; it has image, choice"),
    ],
)
def test_columns_that_are_not_there_are_refused(table, columns, error, message):
    with pytest.raises(error, match=message):
        open_catalog(table("image,choice\ncat/1.png,cat\n"), columns)


def test_columns_apply_to_tables_only(tree):
    with pytest.raises(UsageError, match="--columns path=x applies to tables"):
        open_catalog(tree("cat/1.png", "dog/1.png"), "path=x")


def test_a_table_with_other_column_names_says_which_may_be_meant(table):
    with pytest.raises(DataError, match="Perhaps --columns path=image,label=class"):
        open_catalog(table("id,image,class\n1,cat/1.png,cat\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat/1.png,cat\ndog/2.png,dog\n", [("cat", None), ("dog", None)]),
        ("cat/1.png,cat,train\ndog/2.png,dog,Test\n", [("cat", "train"), ("dog", "test")]),
        ("sep=;\r\npath;label\r\ncat/1.png;cat\r\n", [("cat", None)]),
        ("path,cat,dog\ncat/1.png,1.0,0.0\ndog/2.png,0.0,1.0\n", [("cat", None), ("dog", None)]),
    ],
    ids=["without a header", "with splits", "separator line", "a column a class"],
)
def test_tables_that_need_no_change(table, text, expected):
    assert [(p.label, p.split) for p in open_catalog(table(text)).pictures] == expected


def test_several_classes_of_a_row_are_not_guessed(table):
    with pytest.raises(DataError, match="lacks the column label; it has path, cat, dog"):
        open_catalog(table("path,cat,dog\ncat/1.png,1,1\ndog/2.png,0,1\n"))


@pytest.mark.parametrize(
    "name", ["1.png", "1", "/home/someone/data/cat/1.png", "C:\\data\\cat\\1.png", "x/cat/1"]
)
def test_a_file_in_another_folder_is_found_by_its_name(table, root, name, caplog):
    data = open_catalog(table(f"path,label\n{name},cat\n"))
    assert [p.path for p in data.pictures] == [str(root / "cat/1.png")]
    assert "1 path of" in caplog.text


@pytest.mark.parametrize("name", ["eel/1.png", "3.png", "../cat/x/1.png"])
def test_a_file_of_another_folder_is_not_taken_for_one_that_is_missing(table, tree, name):
    path = table(f"path,label\n{name},cat\ncat/1.png,cat\n")
    tree("dog/3.png", "cat/3.png")
    (left,) = open_catalog(path).left_out
    assert left.reason == "is named in the table but is not there"


def test_a_data_frame_is_a_table(tree, root, monkeypatch):
    pandas = pytest.importorskip("pandas")
    tree("cat/1.png", "dog/2.png", "dog/3.png")
    monkeypatch.chdir(root)
    frame = pandas.DataFrame(
        {"path": ["cat/1.png", "dog/2.png", "dog/3.png"], "label": ["cat", "dog", None]}
    )
    data = open_catalog(frame)
    assert [(p.path, p.label) for p in data.pictures] == [
        ("cat/1.png", "cat"),
        ("dog/2.png", "dog"),
    ]
    assert [x.reason for x in data.left_out] == ["has no label in the table"]


@pytest.mark.parametrize("container", [list, tuple])
def test_several_sources_are_opened_together(tree, table, root, container):
    folder = tree("more/cat/7.png", "more/eel/8.png")
    path = table("path,label\ncat/1.png,cat\nmore/cat/7.png,eel\n")
    data = open_catalog(container([folder / "more", path]))
    assert rows(data, root) == [
        ("more/cat/7.png", "eel", None),
        ("more/eel/8.png", "eel", None),
        ("cat/1.png", "cat", None),
    ]


@pytest.mark.parametrize("name", ["IMG_0001", "12", "photo.1"])
def test_a_picture_without_an_ending_is_known_by_its_content(tree, root, write_picture, name):
    tree("cat/1.png")
    write_picture(root / "x.png", 5)
    (root / "x.png").rename(root / "cat" / name)
    (root / "cat" / "README").write_text("about these")
    data = open_catalog(root)
    assert {Path(p.path).name for p in data.pictures} == {"1.png", name}
    assert [Path(x.path).name for x in data.left_out] == ["README"]
    assert paths(find_pictures([str(root / "cat")])) == sorted(p.path for p in data.pictures)


def test_masks_beside_photos_are_passed_over_and_named(tree, root):
    data = open_catalog(tree("cat/1.png", "cat/1_mask.png", "dog/2.png"))
    assert [p.path for p in data.pictures] == [str(root / "cat/1.png"), str(root / "dog/2.png")]
    assert [x.reason for x in data.left_out] == ["is a mask of 1.png, by its name"]


def test_what_a_folder_to_predict_has_besides_pictures_is_left_out_by_name(tree, root):
    tree("a.png", "b.txt")
    found = find_pictures([str(root)])
    assert [(Path(x.path).name, x.reason) for x in found.left_out] == [
        ("b.txt", "is not a picture, by its suffix")
    ]


cells = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@settings(max_examples=60)
@given(
    header=st.lists(cells, min_size=1, max_size=4),
    body=st.lists(st.lists(cells, min_size=1, max_size=4), max_size=4),
    separator=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    columns=st.sampled_from([None, "path=a,label=b"]),
)
def test_any_table_is_read_or_refused_in_a_sentence(
    tmp_path_factory, header, body, separator, encoding, columns
):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    lines = [separator.join(row) for row in [header, *body]]
    path.write_bytes("\n".join(lines).encode(encoding, "replace"))
    with pytest.raises((DataError, UsageError)) as caught:
        open_catalog(path, columns)
    assert len(str(caught.value)) < 1500


def test_a_file_that_another_row_names_is_not_taken_for_one_that_is_gone(table):
    data = open_catalog(table("path,label,split\ntrain/cat/1.png,cat,train\ncat/1.png,cat,val\n"))
    assert [(p.path.endswith("photos/cat/1.png"), p.split) for p in data.pictures] == [
        (True, "val")
    ]
    assert [x.reason for x in data.left_out] == ["is named in the table but is not there"]


def test_a_file_in_several_rows_counts_once(table, caplog):
    text = "path,label,split\ncat/1.png,cat,val\ncat/1.png,cat,train\ndog/2.png,dog,train\n"
    data = open_catalog(table(text))
    assert [(p.label, p.split) for p in data.pictures] == [("cat", "train"), ("dog", "train")]
    assert "1 row names a file" in caplog.text


def test_a_file_with_several_labels_is_left_out_with_them(table):
    data = open_catalog(table("path,label\ncat/1.png,rust\ncat/1.png,scab\ndog/2.png,rust\n"))
    assert [p.label for p in data.pictures] == ["rust"]
    assert [x.reason for x in data.left_out] == ["has several labels in the table: rust, scab"]


@pytest.mark.parametrize("header", ["path,label,Label", "path,label,label", "path,path,label"])
def test_a_column_that_is_there_twice_is_refused(table, header):
    with pytest.raises(DataError, match="is there 2 times"):
        open_catalog(table(f"{header}\ncat/1.png,cat,dog\n"))


@pytest.mark.parametrize("path", ["file://[x/y.jpg", "a\0b/c", "x" * 5000])
def test_a_cell_that_no_file_can_be_called_loses_itself_only(table, path):
    data = open_catalog(table(f"path,label\n{path},cat\ncat/1.png,cat\n"))
    assert len(data) == 1
    assert len(data.left_out) == 1


def test_a_name_that_no_file_can_have_is_refused(root):
    with pytest.raises(UsageError, match="There is no xxx"):
        open_catalog("x" * 5000)


def test_many_files_of_one_name_are_looked_up_quickly(tmp_path, write_picture):
    write_picture(tmp_path / "first.png", 0)
    for i in range(300):
        (tmp_path / f"P{i}").mkdir()
        os.link(tmp_path / "first.png", tmp_path / f"P{i}" / "0.png")
    lines = (f"/old/place/P{i}/0.png,{'ab'[i % 2]}" for i in range(300))
    (tmp_path / "t.csv").write_text("path,label\n" + "\n".join(lines))
    assert len(open_catalog(tmp_path / "t.csv")) == 300


def test_a_header_in_windows_1252_is_read(table):
    data = open_catalog(table("path,label,Gr\u00f6\u00dfe\ncat/1.png,cat,1\n".encode("cp1252")))
    assert data.pictures[0].columns == {"Gr\u00f6\u00dfe": "1"}


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "Validation", "Testing")])
def test_sources_that_are_named_as_splits_are_splits(tree, root, names):
    tree(*(f"{name}/{c}/{name}.png" for name in names for c in ("cat", "dog")))
    data = open_catalog([root / name for name in names])
    assert [p.split for p in data.of("train")] == ["train", "train"]
    assert len(data.splits) == len(names)


def test_the_column_is_valid_is_a_split(table):
    data = open_catalog(table("path,label,is_valid\ncat/1.png,cat,False\ndog/2.png,dog,True\n"))
    assert [p.split for p in data.pictures] == ["train", "val"]


def test_splits_without_classes_are_refused_with_the_table(tree, root):
    tree("train/1.png", "test/2.png")
    with pytest.raises(DataError, match=r"split folders test, train, but no class folders"):
        open_catalog(root)
    (root / "labels.csv").write_text("id,label\n")
    with pytest.raises(DataError, match=r"give that: .*labels\.csv"):
        open_catalog(root)


@pytest.mark.parametrize("inner", [False, True])
def test_folders_of_masks_beside_images_are_left_out(tree, root, inner):
    form = "{1}/{0}/1.png" if inner else "{0}/{1}/1.png"
    data = open_catalog(tree(*(form.format(k, c) for k in ("images", "masks") for c in "ab")))
    assert data.classes == ("a", "b")
    assert len(data) == 2
    reasons = {x.reason for x in data.left_out}
    assert reasons == {"is a folder of masks beside the pictures, by its name"}


def test_arrays_of_several_sources_stay_apart():
    arrays = np.zeros((2, 8, 8, 3), np.uint8)
    data = open_catalog([ilk.from_arrays(arrays, ["a", "b"]), ilk.from_arrays(arrays, ["b", "a"])])
    assert [p.label for p in data.pictures] == ["a", "b", "b", "a"]
    assert len({p.path for p in data.pictures}) == 4


def test_labels_of_paths_and_images(tree, root):
    tree("1.png", "2.png")
    with Image.open(root / "2.png") as image:
        data = open_catalog(([root / "1.png", image], ["cat", "dog"]))
    assert [p.label for p in data.pictures] == ["cat", "dog"]
    assert data.pictures[0].path == str(root / "1.png")


def test_a_one_hot_table_with_another_name_of_the_path_says_what_suffices(table):
    with pytest.raises(DataError, match=r"Perhaps --columns path=image\. "):
        open_catalog(table("image,cat,dog\ncat/1.png,1,0\ndog/2.png,0,1\n"))
