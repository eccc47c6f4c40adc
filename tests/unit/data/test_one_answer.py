"""A picture gives the same pixels, however it is handed over."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ilk.data.decode import GREY, decode
from ilk.data.inputs import pictures_of
from ilk.errors import DecodeError
from ilk.spec import Preprocess

SIDE = 24
ORIENTATION = 0x0112
SIZES = [
    (1, 1),
    (3, 2),
    (17, 13),
    (SIDE, SIDE),
    (61, 47),
    (200, 3),
    (2, 150),
    (191, 193),
    (300, 250),
]
KINDS = [
    *({"format": "JPEG", "subsampling": kind} for kind in ("4:4:4", "4:2:2", "4:2:0")),
    {"format": "JPEG", "quality": 30},
    {"format": "JPEG", "quality": 100, "progressive": True},
    {"format": "JPEG", "restart_marker_blocks": 1},
    {"format": "JPEG", "keep_rgb": True},
    {"format": "PNG"},
    {"format": "WEBP", "lossless": True},
    {"format": "WEBP"},
]


@st.composite
def files(draw):
    """Encoded pictures of all kinds, some of them turned by EXIF."""
    width, height = draw(st.sampled_from(SIZES))
    options = dict(draw(st.sampled_from(KINDS)))
    jpeg = options["format"] == "JPEG"
    mode = draw(st.sampled_from(["RGB", "L", "CMYK"] if jpeg else ["RGB", "RGBA"]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 4), np.uint8), "RGBA").convert("RGB")
    image = coarse.resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[ORIENTATION] = draw(st.integers(1, 8))
    if mode != "RGB":
        options.pop("keep_rgb", None)
    out = io.BytesIO()
    image.save(out, exif=exif, **options)
    return out.getvalue()


def by_pillow(data):
    """Upright RGB pixels, over white, without any of ilk."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size, "white")
        image.paste(rgba, mask=rgba)
    return image.convert("RGB")


def inputs(data, folder):
    """The same picture in all the ways in which a caller may have it."""
    path = folder / "picture.jpg"
    path.write_bytes(data)
    return {
        "path": path,
        "bytes": data,
        "file object": io.BytesIO(data),
        "PIL image": Image.open(io.BytesIO(data)),
        "PIL image, made upright": by_pillow(data),
        "array": np.asarray(by_pillow(data)),
    }


def pixels_of(given, preprocess):
    return decode(pictures_of(given)[0].read(), preprocess)


BICUBIC = Image.Resampling.BICUBIC
AS_DOCUMENTED = {
    "squash": lambda image: image.resize((SIDE, SIDE), BICUBIC, reducing_gap=4),
    "crop": lambda image: ImageOps.fit(image, (SIDE, SIDE), BICUBIC),
    "pad": lambda image: ImageOps.pad(image, (SIDE, SIDE), BICUBIC, color=GREY),
}


@pytest.mark.parametrize("resize", AS_DOCUMENTED)
@pytest.mark.parametrize("strip", [300, None])
def test_each_way_gives_the_pixels_of_pillow(tmp_path, monkeypatch, resize, strip):
    preprocess = Preprocess(imgsz=SIDE, resize=resize)
    if strip:
        monkeypatch.setattr("ilk.data.upright.STRIP", strip)

    @settings(max_examples=40, deadline=None, database=None)
    @given(files())
    def same(data):
        image = by_pillow(data)
        # Of so thin a strip Pillow leaves nothing, and ilk one row.
        assume(resize != "pad" or max(image.size) < 2 * SIDE * min(image.size))
        expected = np.asarray(AS_DOCUMENTED[resize](image))
        for way, given_picture in inputs(data, tmp_path).items():
            assert np.array_equal(pixels_of(given_picture, preprocess), expected), way

    same()


def test_the_nearest_pixel_is_that_of_the_whole_picture(noise, encoded):
    data = encoded(noise(1, (400, 300)), "JPEG")
    pixels = decode(data, Preprocess(imgsz=8, interpolation="nearest"))
    whole = by_pillow(data).resize((8, 8), Image.Resampling.NEAREST)
    assert np.array_equal(pixels, np.asarray(whole))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"format": "PNG"}])
def test_a_truncated_file_gives_the_same_error_each_way(noise, tmp_path, share, options):
    out = io.BytesIO()
    noise(1, (90, 70)).save(out, **{"format": "JPEG", **options})
    data = out.getvalue()[: int(len(out.getvalue()) * share)]
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    reasons = set()
    for given_picture in (path, data, io.BytesIO(data), Image.open(io.BytesIO(data))):
        with pytest.raises(DecodeError) as caught:
            pixels_of(given_picture, Preprocess(imgsz=SIDE))
        reasons.add((str(caught.value), caught.value.kind))
    assert len(reasons) == 1
