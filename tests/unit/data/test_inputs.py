from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ilk.data.in_memory import from_arrays
from ilk.data.inputs import pictures_of
from ilk.errors import DataError, UsageError

PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


class Table(dict):
    """Looks as a DataFrame does, as far as ilk looks."""

    columns = property(list)


def test_paths_in_any_container(tmp_path):
    expected = ["a.png", "b.png"]
    for given in (expected, tuple(expected), iter(expected), np.array(expected),
                  np.array(expected, object), Table(path=expected, label=["x", "y"])):  # fmt: skip
        assert [p.path for p in pictures_of(given)] == expected


def test_a_table_without_paths_is_refused_with_what_it_has():
    with pytest.raises(UsageError, match=r"has the columns image, label; give .* 'path'"):
        pictures_of(Table(image=["a.png"], label=["x"]))


def test_open_files_are_read(tmp_path, write_picture):
    file = write_picture(tmp_path / "a.png", 1) or tmp_path / "a.png"
    content = (tmp_path / "a.png").read_bytes()
    with (tmp_path / "a.png").open("rb") as opened:
        (picture,) = pictures_of(opened)
    assert (picture.content, picture.path) == (content, str(tmp_path / "a.png"))
    assert [p.content for p in pictures_of(io.BytesIO(content))] == [content]
    assert [p.content for p in pictures_of([io.BytesIO(content), content])] == [content] * 2
    assert file


def test_a_file_opened_as_text_is_refused():
    with pytest.raises(UsageError, match=r"is of type str; .* binary mode"):
        pictures_of(io.StringIO("x"))


@pytest.mark.parametrize(
    "given", [PIXELS, torch.tensor(PIXELS), torch.tensor(PIXELS).permute(0, 3, 1, 2)]
)
def test_batches_with_channels_last_or_of_a_tensor_first(given):
    for picture, expected in zip(pictures_of(given), PIXELS, strict=True):
        np.testing.assert_array_equal(picture.content, expected)
    for picture, expected in zip(from_arrays(given).pictures, PIXELS, strict=True):
        np.testing.assert_array_equal(picture.content, expected)


def test_one_tensor_is_one_picture():
    (picture,) = pictures_of(torch.tensor(PIXELS[0]).permute(2, 0, 1))
    np.testing.assert_array_equal(picture.content, PIXELS[0])


def test_floats_are_refused_with_type_and_shape():
    with pytest.raises(DataError, match=r"float32 \[4, 5, 3\]; give uint8"):
        pictures_of(torch.tensor(PIXELS).float())


def test_a_name_of_any_length_is_a_picture():
    assert pictures_of(["x" * 300 + ".jpg"])[0].path == "x" * 300 + ".jpg"


@pytest.mark.parametrize("given", [3, SimpleNamespace(), {"a": 1}])
def test_other_things_are_refused_by_type(given):
    with pytest.raises(UsageError, match=type(given).__name__):
        pictures_of(given)


@pytest.mark.parametrize(
    "labels, expected",
    [
        (np.array([[1, 0], [0, 1]]), ("0", "1")),
        (np.array([[0.0, 1.0], [1.0, 0.0]]), ("1", "0")),
        (torch.tensor([[1, 0], [0, 1]]), ("0", "1")),
        (np.array([[3], [7]]), ("3", "7")),
        (np.array(["a", "b"]), ("a", "b")),
        ([float("nan"), "b"], (None, "b")),
        (np.array([np.nan, 2.0]), (None, "2.0")),
    ],
)
def test_labels_as_the_field_gives_them(labels, expected):
    assert tuple(p.label for p in from_arrays(PIXELS, labels).pictures) == expected


@pytest.mark.parametrize("labels", [np.ones((2, 3)), np.zeros((2, 2)), np.ones((2, 1, 1))])
def test_labels_of_another_shape_are_refused_with_it(labels):
    with pytest.raises(UsageError, match=r"labels are float64 \[2, .*give one label a picture"):
        from_arrays(PIXELS, labels)
