from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.inspect import inspect
from ilk.data.ranges import measured_range, natural
from ilk.errors import ModelError, UsageError
from ilk.recipe import Recipe
from ilk.spec import Conversion, Preprocess, channels_of, range_of

RNG = np.random.default_rng(0)
PHOTO = np.clip(RNG.normal(120, 60, (10, 64, 64)), 0, 255).astype(np.uint8)


def pictures(arrays, split=None):
    found = []
    for i, values in enumerate(arrays):
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "TIFF")
        found.append(Picture(f"{split}-{i}", "a", split, content=buffer.getvalue()))
    return found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (PHOTO.astype(np.uint16), (0, 255)),
        (PHOTO.astype(np.int32), (0, 255)),
        (PHOTO.astype(np.uint16) * 4, (0, 1023)),
        (PHOTO.astype(np.uint16) * 16, (0, 4095)),
        (PHOTO.astype(np.uint16) * 257, (0, 65535)),
        ((PHOTO / 255).astype(np.float32), (0, 1)),
    ],
)
def test_values_that_fill_a_number_of_bits_have_its_range(values, expected):
    assert measured_range(pictures(values)) == expected


def test_other_values_have_their_own_range_whatever_few_of_them_are():
    values = RNG.normal(-300, 50, (10, 64, 64)).astype(np.float32)
    values[0, 0, :3] = 1e9, np.nan, -np.inf
    low, high = measured_range(pictures(values))
    assert -470 < low < -420
    assert -180 < high < -120


def test_the_range_is_of_the_pictures_of_many_bits_alone():
    mixed = [*pictures(PHOTO), *pictures(PHOTO.astype(np.uint16) * 4)]
    assert measured_range(mixed) == (0, 1023)
    assert measured_range(pictures(PHOTO)) is None
    assert measured_range([]) is None


def test_blank_and_damaged_pictures_give_a_range_that_can_be_used():
    low, high = measured_range(pictures([np.full((8, 8), 700, np.uint16)]))
    assert low < high
    assert measured_range([Picture("a", content=b"II*\0 broken")]) is None


def test_the_range_is_measured_on_the_training_pictures_if_there_are_splits():
    train = pictures(PHOTO.astype(np.uint16) * 16, "train")
    test = pictures(PHOTO.astype(np.uint16) * 257, "test")
    assert inspect(Catalog((*train, *test))).catalog.conversion.range == (0, 4095)


def test_statistics_are_those_of_the_scaled_picture():
    plain = inspect(Catalog(tuple(pictures(PHOTO)))).statistics
    found = inspect(Catalog(tuple(pictures(PHOTO.astype(np.uint16) * 16))))
    assert np.abs(found.statistic("brightness") - plain[:, 0]).max() < 0.01
    full = inspect(Catalog(tuple(pictures(PHOTO.astype(np.uint16) * 16))), pixel_range="full")
    assert full.statistic("brightness").max() < 0.1  # almost black, as asked
    given = inspect(Catalog(tuple(pictures(PHOTO.astype(np.float32)))), pixel_range="0:255")
    assert given.catalog.conversion.range == (0, 255)


def test_pictures_keep_their_order_though_some_have_to_wait_for_the_range():
    deep, plain = pictures(PHOTO.astype(np.uint16)), pictures(PHOTO)
    mixed = tuple(p for pair in zip(deep, plain, strict=True) for p in pair)
    found = inspect(Catalog((*mixed, Picture("bad", content=b"II*\0"))))
    assert [p.content for p in found.catalog.pictures] == [p.content for p in mixed]
    assert [fact.deep for fact in found.facts] == [True, False] * len(PHOTO)
    assert len(found.catalog.left_out) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", None), ("full", None), ("0:4095", (0, 4095)), ("-1000:400", (-1000, 400)),
        (" 0.5 : 1e3 ", (0.5, 1000)), ("-.5:+.5", (-0.5, 0.5)),
    ],
)  # fmt: skip
def test_ranges_as_text(text, expected):
    assert range_of(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "5", "5:5", "9:1", "0:nan", "0:inf", "1:2:3", "-1e999:1"]
)
def test_texts_that_are_no_range_are_refused(text):
    with pytest.raises(UsageError, match=r"--range .*give auto, full"):
        range_of(text)
    with pytest.raises(UsageError, match="--range"):
        Recipe(range=text)


@pytest.mark.parametrize("given", ["0:4095", (0, 4095), [0, 4095]])
def test_a_recipe_takes_a_range_as_text_or_numbers(given):
    assert Recipe(range=given).range == "0:4095"


@pytest.mark.parametrize(
    ("given", "expected"), [("2", (2,)), (2, (2,)), ("0,1,2", (0, 1, 2)), ((3, 0, 1), (3, 0, 1))]
)
def test_channels_as_text_and_numbers(given, expected):
    assert channels_of(Recipe(channels=given).channels) == expected


@pytest.mark.parametrize("given", ["", "a", "-1", "0,1", "0,1,2,3", "1.5", (0, 1), "99999"])
def test_other_channels_are_refused(given):
    with pytest.raises(UsageError, match="--channels"):
        Recipe(channels=given)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_natural_ranges_of_no_spread(kind):
    low, high = natural(np.zeros(100, kind))
    assert low < high


def test_each_conversion_has_a_key_of_its_own_and_the_usual_one_none():
    every = [
        Conversion(),
        Conversion(range=(-5, 10)),
        Conversion(range=(5, 10)),
        Conversion(channels=(1,)),
        Conversion(channels=(1, 2, 3)),
        Conversion(range=(5, 10), channels=(1,)),
    ]
    assert len({one.key for one in every}) == len(every)
    assert Conversion().key == ""


def test_a_spec_of_before_has_no_conversion():
    assert Preprocess.model_validate({"imgsz": 224}).conversion == Conversion()


@pytest.mark.parametrize(
    "bad", [{"range": [5, 1]}, {"range": [0]}, {"channels": [0, 1]}, {"channels": [-1]}, {"x": 1}]
)
def test_a_damaged_conversion_in_a_spec_is_refused(bundle, bad):
    import json

    record = json.loads(bundle.spec.to_json())
    record["preprocess"]["conversion"] = bad
    with pytest.raises(ModelError, match="damaged Spec"):
        type(bundle.spec).from_json(json.dumps(record), "m")
