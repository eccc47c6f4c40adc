from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ilk.data.decode import decode, reduced, thumbnail
from ilk.errors import DecodeError
from ilk.spec import Conversion, Preprocess

SIDE = 16
GREYS = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)


def reading(low=None, high=None, channels=None):
    span = None if low is None else (low, high)
    return Preprocess(imgsz=SIDE, conversion=Conversion(range=span, channels=channels))


def stored(values, name="TIFF", **options):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, name, **options)
    return buffer.getvalue()


def as_grey(pixels):
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize(
    ("values", "name", "span"),
    [
        (GREYS.astype(np.uint16), "PNG", (0, 255)),
        (GREYS.astype(np.uint16) * 16, "PNG", (0, 255 * 16)),
        (GREYS.astype(np.uint16) * 16, "TIFF", (0, 255 * 16)),
        (GREYS.astype(np.int32), "TIFF", (0, 255)),
        (GREYS.astype(np.int32) * 100_000 - 7, "TIFF", (-7, 255 * 100_000 - 7)),
        (GREYS.astype(np.float32) / 255, "TIFF", (0, 1)),
    ],
)  # fmt: skip
def test_values_within_the_range_become_the_same_grey_as_in_8_bits(values, name, span):
    assert np.array_equal(as_grey(decode(stored(values, name), reading(*span))), GREYS)


@pytest.mark.parametrize("form", ["bytes", "image", "array"])
def test_a_picture_reads_the_same_as_file_image_and_array(form):
    values = GREYS.astype(np.uint16) * 16
    content = {
        "bytes": stored(values),
        "image": Image.fromarray(values),
        "array": np.repeat(values[:, :, None], 3, axis=2),
    }[form]
    pre = reading(0, 255 * 16)
    assert np.array_equal(as_grey(decode(content, pre)), GREYS)
    assert np.array_equal(as_grey(reduced(content, SIDE, pre.conversion)), GREYS)
    assert np.array_equal(as_grey(np.asarray(thumbnail(content, SIDE, pre.conversion))), GREYS)


def test_values_beyond_the_range_are_cut_and_nan_is_black():
    values = np.full((SIDE, SIDE), 0.5, np.float32)
    values[0, :4] = np.nan, np.inf, -np.inf, 9
    pixels = as_grey(decode(stored(values), reading(0, 1)))
    assert pixels[0, :5].tolist() == [0, 255, 0, 255, 128]


def test_a_picture_without_a_finite_value_is_refused():
    values = np.full((4, 4), np.nan, np.float32)
    with pytest.raises(DecodeError, match="no finite values"):
        decode(stored(values), reading(0, 1))


def test_8_bit_pictures_are_taken_as_they_are_whatever_the_range(encoded, noise):
    for name in ("PNG", "TIFF"):
        image = noise(1, (SIDE, SIDE))
        assert np.array_equal(decode(encoded(image, name), reading(0, 4095)), np.asarray(image))


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_colours_use_the_range(name, colours_of_16_bits):
    values = np.stack([GREYS, GREYS.T, GREYS[::-1]], axis=-1)
    data = colours_of_16_bits(values.astype(np.uint16) * 16 + 3, name)
    assert np.array_equal(decode(data, reading(3, 255 * 16 + 3)), values)
    assert decode(data, reading()).max() <= 16  # without a range, they are taken as 0 to 65535


def test_without_a_range_16_bit_grey_is_scaled_from_the_whole_of_it():
    values = GREYS.astype(np.uint16) * 257
    assert np.array_equal(as_grey(decode(stored(values), reading())), GREYS)


def test_without_a_range_8_bit_values_stored_in_32_are_not_black():
    assert np.array_equal(as_grey(decode(stored(GREYS.astype(np.int32)), reading())), GREYS)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_without_a_range_other_types_are_refused_naming_the_flag(kind):
    with pytest.raises(DecodeError, match="--range LOW:HIGH"):
        decode(stored(np.full((4, 4), -1, kind)), reading())


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_a_truncated_picture_of_many_bits_is_refused_or_read_but_never_crashes(name, share):
    rng = np.random.default_rng(0)
    data = stored(rng.integers(0, 4096, (64, 64)).astype(np.uint16), name)
    try:
        pixels = decode(data[: int(share * len(data))], reading(0, 4095))
    except DecodeError:
        return
    assert pixels.shape == (SIDE, SIDE, 3)


def test_damaged_bytes_of_a_tiff_never_raise_anything_but_a_decode_error():
    rng = np.random.default_rng(1)
    data = stored(rng.integers(0, 4096, (32, 32)).astype(np.uint16), compression="tiff_lzw")
    for _ in range(200):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 4):
            broken[place] = rng.integers(256)
        for pre in (reading(0, 4095), reading(0, 4095, (0,)), reading()):
            try:
                decode(bytes(broken), pre)
            except DecodeError:
                continue
