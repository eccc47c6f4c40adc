from __future__ import annotations

import io
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.in_memory import from_arrays
from ilk.data.inspection import inspect as module
from ilk.data.inspection.facts import facts_of
from ilk.data.inspection.inspect import inspect
from ilk.data.inspection.statistics import statistics_of
from ilk.errors import DecodeError

CAMERA, ORIENTATION = 0x0110, 0x0112


def scene(seed=0, size=(160, 120), mode="RGB"):
    """A picture of large soft spots with a little grain, as a photo has them."""
    rng = np.random.default_rng(seed)
    spots = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(size)
    grain = rng.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(spots) + grain).clip(0, 255).astype(np.uint8)).convert(mode)


def exif(orientation=6, camera="Brownie 127"):
    record = Image.Exif()
    record[ORIENTATION], record[CAMERA] = orientation, camera
    return record


@pytest.fixture
def folder(tmp_path, encoded):
    """Return ``folder(name=bytes, ...)``: a catalog of files, in the order given."""

    def make(**files):
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        return Catalog(tuple(Picture(str(tmp_path / name), "cat", "train") for name in files))

    return make


def test_each_row_belongs_to_its_picture(encoded):
    data = from_arrays([np.full((6, 5 + i, 3), i, np.uint8) for i in range(200)], ["a"] * 200)
    found = inspect(data, workers=4)
    assert [f.width for f in found.facts] == [5 + i for i in range(200)]
    assert np.allclose(found.statistic("brightness") * 255, np.arange(200), atol=0.01)
    assert [p.path for p in found.catalog.pictures] == [p.path for p in data.pictures]
    assert all(len(p.digest) == 32 for p in found.catalog.pictures)
    assert found.sketches.shape == (200, 63)


def test_files_that_cannot_be_read_are_left_out_with_the_kind_of_their_trouble(folder, encoded):
    png = encoded(scene(), "PNG")
    data = folder(
        good=png, empty=b"", text=b"There was a picture here.\n" * 40, cut=png[: len(png) // 2]
    )
    data = Catalog((*data.pictures, Picture("nowhere.png", "dog")))
    found = inspect(data)
    assert [os.path.basename(p.path) for p in found.catalog.pictures] == ["good"]  # noqa: PTH119
    kinds = [(os.path.basename(x.path), x.kind) for x in found.catalog.left_out]  # noqa: PTH119
    assert kinds == [
        ("empty", "file.empty"),
        ("text", "file.not_a_picture"),
        ("cut", "file.truncated"),
        ("nowhere.png", "file.unreadable"),
    ]
    assert found.catalog.left_out[-1].reason == "cannot be opened: No such file or directory"
    assert all(x.unreadable for x in found.catalog.left_out)
    assert found.catalog.left_out[0].label == "cat"
    assert len(found.facts) == len(found.statistics) == len(found.sketches) == 1


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9, 0.95])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("AVIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
    ],
)
def test_every_truncated_file_is_called_so(folder, encoded, name, options, share):
    data = encoded(scene(size=(640, 480)), name, **options)
    (left,) = inspect(folder(x=data[: round(share * len(data))])).catalog.left_out
    assert left.kind == "file.truncated"


def test_a_truncated_file_whose_picture_is_whole_is_kept_and_marked(folder, encoded):
    data = encoded(scene(), "GIF", save_all=True, append_images=[scene(1), scene(2)])
    found = inspect(folder(x=data[: len(data) // 2]))
    assert found.facts[0].ends_early


def test_a_bomb_is_left_out_by_its_header(folder, encoded, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    (left,) = inspect(folder(x=encoded(scene(), "PNG"))).catalog.left_out
    assert left.kind == "file.bomb"


def test_what_was_left_out_before_stays_so(folder, encoded):
    before = (LeftOut("notes.txt", "is not a picture, by its suffix", unreadable=False),)
    data = folder(x=encoded(scene(), "PNG"))
    assert inspect(Catalog(data.pictures, before)).catalog.left_out == before


def test_what_pillow_warns_of_disturbs_nobody(folder, encoded, recwarn):
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12")
    assert len(inspect(folder(x=data)).facts) == 1
    assert not recwarn.list


def test_a_catalog_without_pictures():
    found = inspect(Catalog(()))
    assert (len(found.catalog), found.facts, len(found.statistics)) == (0, (), 0)
    assert found.sketches.shape == (0, 63)


def test_what_was_looked_at_before_is_not_decoded_again(folder, encoded, monkeypatch):
    data = folder(a=encoded(scene(), "JPEG"), b=encoded(scene(1), "PNG"))
    first = inspect(data)
    monkeypatch.setattr(module, "statistics_of", None)
    again = inspect(data)
    assert again.facts == first.facts
    assert np.array_equal(again.statistics, first.statistics)
    assert np.array_equal(again.sketches, first.sketches)


def test_a_file_remembers_when_it_was_changed(folder, encoded):
    data = folder(a=encoded(scene(), "PNG"))
    os.utime(data.pictures[0].path, ns=(1, 1_234_567_890_123_456_789))
    assert inspect(data).facts[0].modified == 1_234_567_890_123_456_789
    assert inspect(from_arrays(np.zeros((1, 4, 4, 3), np.uint8))).facts[0].modified == 0


def test_progress_counts_every_picture(folder, encoded, telling):
    told = []
    inspect(folder(a=encoded(scene(), "PNG"), b=b""), progress=telling(told))
    assert sum(told) == 2


def test_without_some_pictures():
    found = inspect(from_arrays([np.full((4, 4, 3), i, np.uint8) for i in range(5)], "abcde"))
    path = found.catalog.pictures[2].path
    less = found.without({path: "lost"})
    assert [p.label for p in less.catalog.pictures] == list("abde")
    assert less.catalog.left_out[0].reason == "lost"
    assert np.allclose(less.statistic("brightness") * 255, [0, 1, 3, 4], atol=0.01)
    assert len(less.facts) == len(less.sketches) == 4
    assert found.without({}) is found


# --- hostile bytes ------------------------------------------------------------------------------


def seeds():
    image, files = scene(size=(17, 13)), []
    for name, options in [
        ("JPEG", {"exif": exif()}),
        ("JPEG", {"progressive": True}),
        ("PNG", {"exif": exif()}),
        ("GIF", {"save_all": True, "append_images": [scene(1, (17, 13))]}),
        ("WEBP", {}),
        ("TIFF", {"save_all": True, "append_images": [scene(1, (17, 13))]}),
        ("AVIF", {}),
        ("BMP", {}),
    ]:
        buffer = io.BytesIO()
        image.save(buffer, name, **options)
        files.append(buffer.getvalue())
    return files


@pytest.mark.filterwarnings("ignore")  # Pillow's, about EXIF: what counts is that nothing is raised
@settings(max_examples=300, deadline=None, database=None)
@given(st.sampled_from(seeds()), st.integers(0, 2**32), st.integers(1, 8))
def test_damaged_files_are_only_ever_left_out_or_looked_at(seed, chance, number):
    data, rng = bytearray(seed), random.Random(chance)
    for _ in range(number):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        facts = facts_of(bytes(data))
        assert facts.orientation in range(1, 9)
        assert np.isfinite(statistics_of(bytes(data))).all()
    except DecodeError as error:
        assert error.kind.startswith("file.")
