from __future__ import annotations

import io
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps

from ilk.data import inspection as module
from ilk.data.catalog import Catalog, LeftOut, Picture, from_arrays
from ilk.data.inspection import LOOKS, WIDTH, facts_of, inspect, look_at, mirrored, sketch
from ilk.errors import DecodeError

CAMERA, ORIENTATION = 0x0110, 0x0112


def looks(content):
    return dict(zip(LOOKS, look_at(content).tolist(), strict=False))


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


# --- facts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_facts_of_every_format(encoded, name):
    data = encoded(scene(), name)
    facts = facts_of(data)
    assert (facts.format, facts.width, facts.height, facts.bytes) == (name, 160, 120, len(data))
    assert facts.mode == ("P" if name == "GIF" else "RGB")
    assert (facts.orientation, facts.camera, facts.animated) == (1, "", False)
    assert not facts.ends_early


@pytest.mark.parametrize(
    ("mode", "name", "stored", "transparent"),
    [
        ("L", "JPEG", "L", False),
        ("CMYK", "JPEG", "CMYK", False),
        ("1", "PNG", "1", False),
        ("P", "PNG", "P", False),
        ("RGBA", "PNG", "RGBA", True),
        ("LA", "PNG", "LA", True),
        ("RGBA", "WEBP", "RGBA", True),
    ],
)
def test_facts_of_every_mode(encoded, mode, name, stored, transparent):
    image = scene(mode=mode)
    if transparent:
        image.putalpha(100)
    facts = facts_of(encoded(image, name))
    assert (facts.mode, facts.transparent) == (stored, transparent)


def test_a_transparent_colour_counts(encoded):
    assert facts_of(encoded(scene(mode="P"), "PNG", transparency=3)).transparent
    assert facts_of(encoded(scene(), "PNG", transparency=(1, 2, 3))).transparent


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bits_of_grey_are_told_from_8(encoded, name):
    values = np.arange(0, 60_000, 100, dtype=np.uint16).reshape(20, 30)
    assert "16" in facts_of(encoded(Image.fromarray(values), name)).mode


def test_16_bits_of_colour_are_told_from_8():
    import struct
    import zlib

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = b"".join(b"\0" + bytes(6 * 4) for _ in range(3))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 3, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert facts_of(data).mode == "RGB;16"


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames_are_noticed(encoded, name):
    frames = [scene(seed) for seed in range(3)]
    assert facts_of(encoded(frames[0], name, save_all=True, append_images=frames[1:])).animated


def test_the_second_view_of_a_phones_photo_is_no_animation(encoded):
    facts = facts_of(encoded(scene(), "MPO", save_all=True, append_images=[scene(1)]))
    assert (facts.format, facts.animated) == ("MPO", False)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_what_exif_tells(encoded, name):
    facts = facts_of(encoded(scene(), name, exif=exif()))
    assert (facts.orientation, facts.camera) == (6, "Brownie 127")


def test_the_orientation_may_stand_in_xmp(encoded):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    assert facts_of(encoded(scene(), "JPEG", xmp=xmp)).orientation == 8


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated")
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
@pytest.mark.parametrize("damaged", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0"])
def test_damaged_exif_tells_nothing(encoded, name, damaged):
    facts = facts_of(encoded(scene(), name, exif=damaged))
    assert (facts.orientation, facts.camera, facts.width) == (1, "", 160)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_is_upright(encoded, value):
    assert facts_of(encoded(scene(), "PNG", exif=exif(value))).orientation == 1


def test_facts_of_pixels_and_images_in_memory():
    facts = facts_of(np.zeros((3, 5, 3), np.uint8))
    assert (facts.width, facts.height, facts.format, facts.bytes) == (5, 3, "", 0)
    facts = facts_of(scene(mode="CMYK"))
    assert (facts.width, facts.height, facts.mode, facts.format) == (160, 120, "CMYK", "")


# --- looks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ("black", {"brightness": 0, "shadow": 0, "highlight": 0, "colour": 0}),
        ("white", {"brightness": 1, "shadow": 1, "highlight": 1, "colour": 0}),
        ((255, 0, 0), {"brightness": 0.299, "colour": 1}),
        ((100, 100, 100), {"brightness": 100 / 255, "shadow": 100 / 255, "colour": 0}),
    ],
)
def test_looks_of_one_colour(colour, expected):
    found = looks(Image.new("RGB", (40, 30), colour))
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.003)
    same = {"contrast": 0, "entropy": 0, "sharpness": 0, "flat": 1}
    assert {name: found[name] for name in same} == pytest.approx(same, abs=1e-5)


def test_looks_of_stripes():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    found = looks(stripes)
    assert found["brightness"] == pytest.approx(0.5)
    assert found["contrast"] == pytest.approx(0.5)
    assert found["entropy"] == pytest.approx(1)
    assert found["sharpness"] == pytest.approx(2)  # the Laplacian is twice the step, up and down
    assert found["flat"] == 0
    assert (found["shadow"], found["highlight"]) == (0, 1)


def test_contrast_is_the_standard_deviation_of_the_luma(noise):
    pixels = np.asarray(noise(1, (60, 50)))
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    found = looks(pixels)
    assert found["contrast"] == pytest.approx(luma.std() / 255, rel=1e-3)
    assert found["brightness"] == pytest.approx(luma.mean() / 255, rel=1e-3)
    assert found["shadow"] == pytest.approx(np.quantile(luma, 0.05) / 255, abs=0.01)
    assert found["highlight"] == pytest.approx(np.quantile(luma, 0.99) / 255, abs=0.01)


def test_a_blurred_picture_is_less_sharp(noise):
    image = noise(1, (60, 45)).resize((500, 375))
    blurred = image.filter(ImageFilter.GaussianBlur(6))
    assert looks(blurred)["sharpness"] < 0.5 * looks(image)["sharpness"]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (2000, 1)])
def test_pictures_of_any_size_have_looks(encoded, size):
    row = look_at(encoded(Image.new("RGB", size, "red"), "PNG"))
    assert row.shape == (WIDTH,)
    assert row.dtype == np.float32
    assert np.isfinite(row).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"])
def test_an_image_in_memory_looks_as_its_file_does(encoded, mode):
    image = scene(mode=mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    assert np.allclose(look_at(image), look_at(data), atol=1e-5)


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "AVIF", "PNG", "BMP"])
def test_the_format_hardly_changes_the_looks(encoded, name):
    image = scene(size=(500, 375))
    one, other = look_at(np.asarray(image)), look_at(encoded(image, name))
    assert np.abs(one - other)[[LOOKS.index(n) for n in ("brightness", "contrast")]].max() < 0.02
    assert one[len(LOOKS) :] @ other[len(LOOKS) :] > 0.99


def test_a_picture_looks_as_it_stands_upright(encoded):
    image = scene()
    turned = encoded(ImageOps.exif_transpose(image).transpose(Image.Transpose.ROTATE_90), "PNG")
    stored = encoded(image, "PNG", exif=exif(8))
    assert np.allclose(look_at(stored), look_at(turned), atol=1e-6)


# --- sketches -----------------------------------------------------------------------------------


def luma_of(image):
    return np.asarray(image.convert("L"), np.float32)


def test_a_sketch_is_of_unit_length_and_that_of_a_blank_picture_zero():
    assert np.linalg.norm(sketch(luma_of(scene()))) == pytest.approx(1)
    assert not sketch(np.full((50, 40), 120, np.float32)).any()


def test_sketches_of_copies_agree_and_of_others_do_not():
    image = luma_of(scene())
    copy = luma_of(scene().resize((90, 70))) * 0.8 + 20
    assert sketch(image) @ sketch(copy) > 0.99
    assert sketch(image) @ sketch(luma_of(scene(1))) < 0.6


def test_mirrored_is_the_sketch_of_the_mirror_image():
    image = scene()
    expected = sketch(luma_of(ImageOps.mirror(image)))
    assert np.allclose(mirrored(sketch(luma_of(image))[None])[0], expected, atol=0.01)


# --- the pass over a catalog --------------------------------------------------------------------


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
    assert np.allclose(found.look("brightness") * 255, np.arange(200), atol=0.01)
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
    assert len(found.facts) == len(found.looks) == len(found.sketches) == 1


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
    before = (LeftOut("notes.txt", "its ending is not a picture's", unreadable=False),)
    data = folder(x=encoded(scene(), "PNG"))
    assert inspect(Catalog(data.pictures, before)).catalog.left_out == before


def test_what_pillow_warns_of_disturbs_nobody(folder, encoded, recwarn):
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12")
    assert len(inspect(folder(x=data)).facts) == 1
    assert not recwarn.list


def test_a_catalog_without_pictures():
    found = inspect(Catalog(()))
    assert (len(found.catalog), found.facts, len(found.looks)) == (0, (), 0)
    assert found.sketches.shape == (0, 63)


def test_what_was_looked_at_before_is_not_decoded_again(folder, encoded, monkeypatch):
    data = folder(a=encoded(scene(), "JPEG"), b=encoded(scene(1), "PNG"))
    first = inspect(data)
    monkeypatch.setattr(module, "look_at", None)
    again = inspect(data)
    assert again.facts == first.facts
    assert np.array_equal(again.looks, first.looks)
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
    assert np.allclose(less.look("brightness") * 255, [0, 1, 3, 4], atol=0.01)
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
        assert np.isfinite(look_at(bytes(data))).all()
    except DecodeError as error:
        assert error.kind.startswith("file.")
