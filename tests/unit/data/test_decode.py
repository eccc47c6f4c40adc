from __future__ import annotations

import io
import random
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, MpoImagePlugin, WebPImagePlugin

from ilk.data.catalog import Picture
from ilk.data.decode import FORMATS, GREY, decode, reduced, thumbnail
from ilk.errors import DecodeError
from ilk.spec import Preprocess

SIDE = 16
SMALL = Preprocess(imgsz=SIDE)
ORIENTATION = 0x0112


def solid(mode, colour, size=(SIDE, SIDE)):
    return Image.new(mode, size, colour)


def read(data):
    return Image.open(io.BytesIO(data))


def far(a, b):
    """Return the mean distance of two pictures, in grey levels."""
    return np.abs(np.asarray(a, float) - np.asarray(b, float)).mean()


def smooth(size):
    """A picture without detail that a smaller one could not show."""
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    waves = [np.sin(x + y), np.cos(x - y), np.sin(2 * x) * np.cos(y)]
    return Image.fromarray(np.uint8(127 + 120 * np.stack(waves, -1)))


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_formats_without_loss_come_out_exactly(noise, encoded, file_format):
    image = noise(1, (SIDE, SIDE))
    pixels = decode(encoded(image, file_format), SMALL)
    assert np.array_equal(pixels, np.asarray(image))
    assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_formats_with_loss_come_out_closely(encoded, file_format):
    image = smooth((SIDE, SIDE))
    assert far(decode(encoded(image, file_format), SMALL), image) < 8


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 100}])
def test_jpegs_of_other_kinds(encoded, options):
    image = smooth((SIDE, SIDE))
    assert far(decode(encoded(image, "JPEG", **options), SMALL), image) < 8


def test_the_content_decides_not_the_ending(noise, encoded, tmp_path):
    image = noise(1, (SIDE, SIDE))
    (tmp_path / "x.jpg").write_bytes(encoded(image, "PNG"))
    pixels = decode(Picture(str(tmp_path / "x.jpg")).read(), SMALL)
    assert np.array_equal(pixels, np.asarray(image))


def test_an_animation_gives_its_first_frame(encoded):
    frames = [solid("RGB", colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read(data).n_frames == 3
    assert (decode(data, SMALL) == (255, 0, 0)).all()


@pytest.mark.parametrize(("made", "allowed"), [("PNG", "JPEG"), ("JPEG", "PNG"), ("GIF", "WEBP")])
def test_a_format_that_is_not_allowed_is_refused_naming_those_that_are(
    noise, encoded, made, allowed
):
    data = encoded(noise(), made)
    assert decode(data, SMALL, formats=(made,)).shape == (SIDE, SIDE, 3)
    with pytest.raises(DecodeError, match=rf"format that is read \({allowed}\)"):
        decode(data, SMALL, formats=(allowed,))


def test_formats_beyond_the_list_are_refused(noise, encoded):
    for other in ("ICO", "TGA", "PDF"):
        assert other not in FORMATS
        with pytest.raises(DecodeError):
            decode(encoded(noise(), other), SMALL)


# --- colours ------------------------------------------------------------------------------------


def palette_with_a_hole(transparency):
    """A palette picture: red on the left, and on the right green that is transparent."""
    image = Image.new("P", (SIDE, SIDE), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (SIDE // 2, 0, SIDE, SIDE))
    image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
def test_transparent_palette_colours_are_put_over_white(encoded, transparency):
    data = encoded(palette_with_a_hole(transparency), "PNG")
    assert read(data).mode == "P"
    pixels = decode(data, SMALL)
    assert (pixels[:, : SIDE // 2] == (255, 0, 0)).all()
    assert (pixels[:, SIDE // 2 :] == 255).all()


def test_a_transparent_gif_is_put_over_white(encoded):
    pixels = decode(encoded(palette_with_a_hole(1), "GIF", transparency=1), SMALL)
    assert (pixels[:, SIDE // 2 :] == 255).all()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (0, 0, 255, 255), (0, 0, 255)),
        ("RGBA", (0, 0, 255, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 255, 51), (204, 204, 255)),
        ("LA", (100, 255), (100, 100, 100)),
        ("LA", (100, 0), (255, 255, 255)),
        ("L", 100, (100, 100, 100)),
        ("1", 1, (255, 255, 255)),
        ("1", 0, (0, 0, 0)),
        ("P", 0, (0, 0, 0)),
    ],
)
def test_modes_become_rgb_over_white(encoded, mode, colour, expected):
    data = encoded(solid(mode, colour), "PNG")
    assert read(data).mode == mode
    assert (decode(data, SMALL) == expected).all()


def test_a_colour_key_is_put_over_white(encoded):
    data = encoded(solid("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert (decode(data, SMALL) == 255).all()


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(encoded, file_format):
    values = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    data = encoded(Image.fromarray(values), file_format)
    assert read(data).mode.startswith("I;16")
    pixels = decode(data, SMALL)
    assert np.array_equal(pixels[..., 0], np.round(values / 257))
    assert (pixels[..., :1] == pixels).all()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.fromarray(np.full((4, 4), 0.5, np.float32)), "floating-point"),
        (Image.fromarray(np.full((4, 4), 70000, np.int32)), "32-bit"),
        (Image.fromarray(np.full((4, 4), -1, np.int32)), "32-bit"),
    ],
)
def test_pixels_without_an_agreed_range_are_refused(encoded, image, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(encoded(image, "TIFF"), SMALL)


@pytest.mark.parametrize(
    ("cmyk", "expected"),
    [
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 255, 0), (0, 255, 0)),
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_a_cmyk_jpeg_becomes_rgb(encoded, cmyk, expected):
    data = encoded(solid("CMYK", cmyk), "JPEG", quality=100)
    assert read(data).mode == "CMYK"
    assert far(decode(data, SMALL), np.broadcast_to(expected, (SIDE, SIDE, 3))) < 3


def test_a_grey_jpeg_becomes_rgb(encoded):
    pixels = decode(encoded(solid("L", 100), "JPEG"), SMALL)
    assert far(pixels, np.full((SIDE, SIDE, 3), 100)) < 2


# --- orientation --------------------------------------------------------------------------------


def with_orientation(value):
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


def upright(data, preprocess=SMALL):
    """What Pillow makes of it."""
    image = ImageOps.exif_transpose(read(data)).convert("RGB")
    return np.asarray(image.resize((preprocess.imgsz,) * 2, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_orientation_is_applied_exactly_as_pillow_does(noise, encoded, file_format, orientation):
    data = encoded(noise(1, (24, 16)), file_format, exif=with_orientation(orientation))
    assert np.array_equal(decode(data, SMALL), upright(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_orientation_is_applied_to_formats_with_loss(encoded, file_format, orientation):
    image = smooth((48, 32))
    data = encoded(image, file_format, exif=with_orientation(orientation), quality=95)
    assert far(decode(data, SMALL), upright(data)) < 3
    plain = encoded(image, file_format, quality=95)
    assert orientation == 1 or far(decode(plain, SMALL), upright(data)) > 20


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_jpeg_that_is_scaled_while_decoding(encoded, orientation):
    data = encoded(smooth((480, 320)), "JPEG", exif=with_orientation(orientation), quality=95)
    assert far(decode(data, SMALL), upright(data)) < 3


def test_orientation_of_a_cmyk_jpeg(encoded):
    data = encoded(smooth((48, 32)).convert("CMYK"), "JPEG", exif=with_orientation(6), quality=95)
    assert far(decode(data, SMALL), upright(data)) < 3


def test_orientation_behind_much_other_metadata(encoded):
    data = encoded(smooth((48, 32)), "JPEG", exif=with_orientation(6), quality=95)
    segment = b"\xff\xe3" + (60_000).to_bytes(2, "big") + bytes(59_998)
    start = data.index(b"\xff\xe1")
    late = data[:start] + 2 * segment + data[start:]
    assert np.array_equal(decode(late, SMALL), decode(data, SMALL))


def test_orientation_from_xmp(encoded):
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(smooth((48, 32)), "JPEG", xmp=xmp, quality=95)
    assert read(data).getexif()[ORIENTATION] == 6
    assert far(decode(data, SMALL), upright(data)) < 3


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_asks_nothing(noise, encoded, value):
    image = noise(1, (SIDE, SIDE))
    data = encoded(image, "PNG", exif=with_orientation(value))
    assert np.array_equal(decode(data, SMALL), np.asarray(image))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03"]
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_damaged_exif_block_asks_nothing(encoded, exif, file_format, action):
    image = smooth((SIDE, SIDE))
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        pixels = decode(encoded(image, file_format, exif=exif), SMALL)
    assert np.array_equal(pixels, decode(encoded(image, file_format), SMALL))


# --- bytes that are no picture ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
        (b"\xff\xd8\xff\xe0", "is "),
        (b"\x89PNG\r\n\x1a\n", "is "),
        (bytes(1000), "is not a picture"),
    ],
)
def test_what_is_no_picture_is_refused(data, reason):
    with pytest.raises(DecodeError, match=reason):
        decode(data, SMALL)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_truncated_file_is_refused(noise, encoded, file_format, share):
    data = encoded(noise(1, (200, 150)), file_format)
    with pytest.raises(DecodeError, match=r"^is "):
        decode(data[: int(len(data) * share)], SMALL)


def test_a_truncated_progressive_jpeg_is_refused(noise, encoded):
    data = encoded(noise(1, (200, 150)), "JPEG", progressive=True)
    with pytest.raises(DecodeError):
        decode(data[: len(data) // 2], SMALL)


def test_a_reason_is_one_line_without_the_files_name(noise, encoded):
    data = encoded(noise(), "PNG")
    with pytest.raises(DecodeError) as caught:
        decode(data[:-30], SMALL)
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


@pytest.mark.parametrize("limit", [100, 300])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "TIFF"])
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_picture_with_too_many_pixels_is_refused(
    noise, encoded, monkeypatch, limit, file_format, action
):
    data = encoded(noise(1, (24, 16)), file_format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with warnings.catch_warnings(), pytest.raises(DecodeError, match=f"limit of {limit}"):
        warnings.simplefilter(action)
        decode(data, SMALL)


@pytest.mark.parametrize("limit", [384, None])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_picture_within_the_limit_is_read(noise, encoded, monkeypatch, limit, file_format):
    data = encoded(noise(1, (24, 16)), file_format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert decode(data, SMALL).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_bomb_is_refused_by_what_its_header_says(noise, encoded, file_format):
    data = bytearray(encoded(noise(), file_format))
    if file_format == "PNG":
        data[16:24] = (60_000).to_bytes(4, "big") * 2
    else:
        start = data.index(b"\xff\xc0")
        data[start + 5 : start + 9] = (60_000).to_bytes(2, "big") * 2
    with pytest.raises(DecodeError):
        decode(bytes(data), SMALL)


# --- hostile bytes ------------------------------------------------------------------------------


def seeds():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8))
    palette = image.convert("P")
    variants = [
        (image, "JPEG", {"exif": with_orientation(6)}),
        (image, "JPEG", {"progressive": True}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "PNG", {"exif": with_orientation(6)}),
        (palette, "PNG", {"transparency": 3}),
        (palette, "GIF", {}),
        (image, "WEBP", {}),
        (image, "AVIF", {}),
        (image, "BMP", {}),
        (image, "TIFF", {}),
        (image, "PPM", {}),
    ]
    files = []
    for picture, file_format, options in variants:
        buffer = io.BytesIO()
        picture.save(buffer, file_format, **options)
        files.append(buffer.getvalue())
    return files


SEEDS = seeds()


def decodes_or_is_refused(data):
    try:
        pixels = decode(data, SMALL)
    except DecodeError as error:
        assert str(error)
    else:
        assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)


@settings(max_examples=150, deadline=None, database=None)
@given(st.sampled_from([b"", *(seed[:12] for seed in SEEDS)]), st.binary(max_size=200))
def test_random_bytes_are_only_ever_refused(start, rest):
    decodes_or_is_refused(start + rest)


@settings(max_examples=400, deadline=None, database=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(1, 8))
def test_damaged_pictures_are_only_ever_refused_or_read(seed, chance, number):
    data, rng = bytearray(seed), random.Random(chance)
    for _ in range(number):
        place = rng.randrange(rng.choice([len(data), min(len(data), 100)]))
        data[place : place + rng.randrange(2)] = rng.choice(
            [b"", b"\0", b"\xff", b"\x7f", rng.randbytes(1), rng.randbytes(3)]
        )
    decodes_or_is_refused(bytes(data))


# --- size ---------------------------------------------------------------------------------------


def rule(name, **changes):
    return Preprocess(imgsz=SIDE, resize=name, interpolation="nearest", **changes)


@pytest.fixture(params=["encoded", "array"])
def content(request, encoded):
    """Turn an image into what `decode` takes: an encoded file, or pixels."""
    return np.asarray if request.param == "array" else lambda image: encoded(image, "PNG")


def flag(wide):
    """Red, then twice green, then blue: in a row if wide, else in a column."""
    row = np.repeat(np.uint8([[[255, 0, 0], [0, 255, 0], [0, 255, 0], [0, 0, 255]]]), 16, axis=1)
    pixels = np.repeat(row, 32, axis=0)
    return Image.fromarray(pixels if wide else pixels.transpose(1, 0, 2).copy())


def along(pixels, wide):
    """The colours along the middle of the picture, in the flag's direction."""
    line = pixels[SIDE // 2] if wide else pixels[:, SIDE // 2]
    return [tuple(int(v) for v in colour) for colour in line]


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize("wide", [True, False])
def test_squash_keeps_all_of_the_picture(content, wide):
    pixels = decode(content(flag(wide)), rule("squash"))
    assert along(pixels, wide) == [RED] * 4 + [GREEN] * 8 + [BLUE] * 4


@pytest.mark.parametrize("wide", [True, False])
def test_crop_keeps_the_middle_and_the_shape(content, wide):
    pixels = decode(content(flag(wide)), rule("crop"))
    assert along(pixels, wide) == [GREEN] * 16


@pytest.mark.parametrize("wide", [True, False])
def test_pad_keeps_all_of_the_picture_and_the_shape_between_grey_bars(content, wide):
    pixels = decode(content(flag(wide)), rule("pad"))
    assert along(pixels, wide) == [RED] * 4 + [GREEN] * 8 + [BLUE] * 4
    bars = pixels if wide else pixels.transpose(1, 0, 2)
    assert (bars[:4] == GREY).all()
    assert (bars[-4:] == GREY).all()
    assert not (bars[4:-4] == GREY).all(axis=-1).any()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 700), (SIDE, SIDE)])
def test_any_shape_becomes_a_square(encoded, content, resize, size):
    image = Image.new("RGB", size, "red")
    assert decode(content(image), rule(resize)).shape == (SIDE, SIDE, 3)
    assert decode(encoded(image, "JPEG"), rule(resize)).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_the_interpolation_is_the_one_that_was_asked_for(noise, encoded, method):
    image = noise(1, (40, 30))
    pixels = decode(encoded(image, "PNG"), Preprocess(imgsz=SIDE, interpolation=method))
    expected = image.resize((SIDE, SIDE), Image.Resampling[method.upper()])
    assert np.array_equal(pixels, np.asarray(expected))


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("size", [(640, 480), (301, 997), (129, 130)])
def test_a_jpeg_scaled_while_decoding_is_close_to_full_decode_and_resize(encoded, resize, size):
    data = encoded(smooth(size), "JPEG", quality=95)
    preprocess = Preprocess(imgsz=64, resize=resize)
    full = decode(np.asarray(read(data).convert("RGB")), preprocess)
    assert far(decode(data, preprocess), full) < 2.5


def test_a_scaled_jpeg_keeps_the_detail_that_the_size_can_show(encoded):
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, np.arange(512) % 16 < 8] = 255  # 2 pixels each at the size that is asked for
    data = encoded(Image.fromarray(stripes), "JPEG", quality=95)
    contrast = [decode(x, Preprocess(imgsz=128)).std() for x in (data, stripes)]
    assert contrast[0] > 0.9 * contrast[1] > 50


def test_pixels_of_the_right_size_are_left_alone(noise):
    pixels = np.asarray(noise(1, (SIDE, SIDE)))
    for resize in ("squash", "crop", "pad"):
        assert np.array_equal(decode(pixels, Preprocess(imgsz=SIDE, resize=resize)), pixels)


# --- huge pictures ------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "CMYK", "I;16", "I", "key"])
@pytest.mark.parametrize("size", [(61, 40), (7, 300), (300, 7)])
def test_a_picture_taken_in_strips_gives_the_same_pixels(
    noise, encoded, monkeypatch, mode, orientation, size
):
    options = {"exif": with_orientation(orientation)}
    image = noise(1, size, "RGBA")
    if mode in {"I;16", "I"}:
        image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257 + 5)
    elif mode == "key":
        options["transparency"] = image.getpixel((0, 0))[:3]
        image = image.convert("RGB")
    image = (
        image.convert("RGB").convert("P")
        if mode == "P"
        else image.convert("RGB" if mode == "key" else mode)
    )
    data = encoded(image, "TIFF" if mode in {"CMYK", "I"} else "PNG", **options)

    def results():
        for resize in ("squash", "crop", "pad"):
            for method in ("nearest", "bicubic"):
                yield decode(data, Preprocess(imgsz=SIDE, resize=resize, interpolation=method))
        yield reduced(data, SIDE)
        yield np.asarray(thumbnail(data, SIDE))

    whole = list(results())
    monkeypatch.setattr("ilk.data.upright.STRIP", 50)
    assert all(np.array_equal(a, b) for a, b in zip(whole, results(), strict=True))


def test_a_strip_without_an_agreed_range_is_refused(encoded, monkeypatch):
    monkeypatch.setattr("ilk.data.upright.STRIP", 50)
    values = np.zeros((40, 40), np.int32)
    values[-1, -1] = 70_000
    with pytest.raises(DecodeError, match="32-bit"):
        decode(encoded(Image.fromarray(values), "TIFF"), SMALL)


@pytest.mark.parametrize("size", [(65_536, 1), (1, 70_000)])
@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_a_side_that_is_too_long_is_refused_however_few_the_pixels(encoded, size, file_format):
    data = encoded(Image.new("L", size), file_format)
    for read_by in (decode, reduced, thumbnail):
        with pytest.raises(DecodeError, match=r"no side may be longer than 65,535") as caught:
            read_by(data, SMALL if read_by is decode else SIDE)
        assert caught.value.kind == "file.bomb"


PEAK = r"""
import struct, sys, zlib
from ilk.data.decode import decode
from ilk.spec import Preprocess

def status(name):
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith(name)) / 1024

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

def blank(width, height):
    packer, row = zlib.compressobj(1), bytes(1 + width * depth * channels // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")

width, height, depth, colour, channels = map(int, sys.argv[1:])
data, size = blank(width, height), Preprocess(imgsz=224)
decode(blank(300, 300), size)
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = status("VmRSS")
decode(data, size)
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    ("width", "height", "depth", "colour", "channels"),
    [
        (4472, 4472, 16, 0, 1),
        (305, 65_535, 8, 6, 4),
        (4472, 4472, 16, 2, 3),
        (305, 65_535, 8, 4, 2),
    ],
)
def test_a_picture_of_20_megapixels_takes_little_memory(width, height, depth, colour, channels):
    argv = [sys.executable, "-c", PEAK, *map(str, (width, height, depth, colour, channels))]
    found = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert float(found.stdout) < 4 * 20 + 50  # megabytes: what Pillow keeps, and strips


@pytest.mark.parametrize(
    ("file_format", "reader"),
    [("WEBP", WebPImagePlugin.WebPImageFile), ("MPO", MpoImagePlugin.MpoImageFile)],
)
def test_of_decoders_that_need_much_memory_one_runs_at_a_time(
    noise, encoded, monkeypatch, file_format, reader
):
    monkeypatch.setattr("ilk.data.decode.MOST_BYTES", 1000)
    running, most, gate = [0], [0], threading.Lock()
    load = reader.load

    def counted(image):
        with gate:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with gate:
            running[0] -= 1
        return load(image)

    data = encoded(noise(0), file_format, save_all=True, append_images=[noise(1)])
    data += b"film" if file_format == "MPO" else b""  # or Pillow does not come to decode it
    assert read(data).format == file_format
    monkeypatch.setattr(reader, "load", counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decode(data, SMALL), range(8)))
    assert most == [1]


def test_an_array_of_floats_is_refused_without_a_range_of_values():
    with pytest.raises(DecodeError, match="floating-point"):
        decode(np.zeros((4, 4, 3)), SMALL)


# --- PIL images ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "I;16"])
def test_a_pil_image_is_treated_as_its_file_is(noise, encoded, mode):
    if mode == "I;16":
        image = Image.fromarray(np.arange(24 * 16, dtype=np.uint16).reshape(16, 24) * 100)
    else:
        image = noise(1, (24, 16), "RGBA").convert("RGB").convert(mode)
    data = encoded(image, "PNG", exif=with_orientation(6))
    assert np.array_equal(decode(read(data), SMALL), decode(data, SMALL))


def test_a_pil_image_that_cannot_be_converted_is_a_decode_error():
    with pytest.raises(DecodeError, match="floating-point"):
        decode(Image.new("F", (4, 4)), SMALL)


# --- thumbnails ---------------------------------------------------------------------------------


def test_a_thumbnail_keeps_the_shape_and_stands_upright(noise, encoded):
    data = encoded(noise(1, (300, 200)), "JPEG", exif=with_orientation(6))
    assert thumbnail(data, 60).size == (40, 60)
    assert thumbnail(np.asarray(noise(1, (300, 200))), 60).size == (60, 40)
    assert thumbnail(noise(1, (300, 200)).convert("CMYK"), 60).mode == "RGB"


def test_a_thumbnail_is_never_larger_than_the_picture_and_leaves_it_alone(noise):
    image = noise(1, (24, 16))
    assert thumbnail(image, 60).size == (24, 16)
    thumbnail(image, 10)
    assert image.size == (24, 16)


def test_a_thumbnail_of_what_is_no_picture_is_refused():
    with pytest.raises(DecodeError, match="is not a picture"):
        thumbnail(b"nothing", 60)


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded(noise, encoded):
    whole = encoded(noise(0), "JPEG", progressive=True)
    scans = whole.count(b"\xff\xda")
    assert scans > 5
    assert decode(whole, SMALL).shape == (SIDE, SIDE, 3)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    bomb = whole[:-2] + 1000 * last
    for data in (bomb + whole[-2:], bomb, bomb + b"\xff\xd9" + bytes(9), with_payload(bomb)):
        with pytest.raises(DecodeError, match="has more than 100 scans: save it again"):
            decode(data, SMALL)


def with_payload(data, payload=200 * b"\xff\xd9"):
    """Put bytes into an APP1 segment, as a thumbnail is."""
    return data[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + data[2:]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_what_looks_like_scans_in_metadata_or_behind_a_jpeg_does_not_count(encoded, options):
    image = smooth((SIDE, SIDE))
    data = encoded(image, "JPEG", **options)
    for other in (data + 8_000 * b"film\xff\xda", with_payload(data, 8_000 * b"\xff\xda")):
        assert far(decode(other, SMALL), image) < 8


def test_the_end_of_a_picture_does_not_hide_scans_that_are_decoded(encoded):
    """An end within a segment, or a marker of no meaning, is passed over by decoders."""
    whole = encoded(smooth((SIDE, SIDE)), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    for between in (b"\xff\xfe\0\4\xff\xd9", b"\xff\x02\xff\xff", b"\xff\xff\xff", b"\xff\0"):
        with pytest.raises(DecodeError, match="scans"):
            decode(whole[:-2] + between + 1000 * last + whole[-2:], SMALL)


def test_a_jpeg_of_countless_segments_is_refused(encoded):
    data = encoded(smooth((SIDE, SIDE)), "JPEG")
    hostile = data[:2] + 100_000 * b"\xff\xfe\0\2" + 200 * b"\xff\xda" + data[2:]
    with pytest.raises(DecodeError, match="more than 10,000 segments"):
        decode(hostile, SMALL)


def test_transparent_parts_are_over_white():
    image = Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, SIDE // 2, SIDE))
    image.putpixel((SIDE - 1, 0), (0, 0, 0, 128))
    found = decode(image, SMALL)
    assert found[0, 0].tolist() == [0, 0, 255]
    assert found[0, SIDE - 2].tolist() == [255, 255, 255]
    assert found[0, SIDE - 1].tolist() == [127, 127, 127]
