"""TIFF of every type, byte order and layout; ``write_tiff`` writes them byte by byte."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from ilk.data import decode as decode_module
from ilk.data import tiff
from ilk.data.decode import decode, opened, reduced
from ilk.data.inspection.facts import facts_of
from ilk.data.tiff import planes_of, read_planes
from ilk.errors import DecodeError
from ilk.spec import Conversion, Preprocess

SIDE = 16
GREYS = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
CUBE = np.stack([GREYS, GREYS.T, GREYS[::-1], GREYS[:, ::-1], 255 - GREYS], axis=-1)


def read(data, span=(0, 255), channels=None):
    conversion = Conversion(range=span, channels=channels)
    return decode(data, Preprocess(imgsz=SIDE, conversion=conversion))


@pytest.mark.parametrize("kind", ["u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("options", [{}, {"compress": True}, {"compress": True, "predictor": 2}])
def test_every_type_of_values_is_read_as_it_is(write_tiff, kind, order, options):
    if options.get("predictor") == 2 and kind[0] == "f":
        pytest.skip("predictor 2 is for integers")
    top = 127 if kind == "i1" else 255
    values = (GREYS // (255 // top)).astype(kind)
    data = write_tiff(values, order=order, **options)
    found = read(data, (0, top))[..., 0].astype(int)
    assert np.abs(found - GREYS).max() <= 255 // top


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("options", [{}, {"compress": True}, {"compress": True, "predictor": 2}])
def test_channels_are_chosen_by_number(write_tiff, kind, planar, options):
    if options.get("predictor") == 2 and kind == "f4":
        pytest.skip("predictor 2 is for integers")
    data = write_tiff(CUBE.astype(kind), planar=planar, **options)
    assert np.array_equal(read(data)[..., 0], GREYS)  # the first, if none is chosen
    assert np.array_equal(read(data, channels=(3,))[..., 0], CUBE[..., 3])
    assert np.array_equal(read(data, channels=(4, 0, 2)), CUBE[..., [4, 0, 2]])


def test_pages_are_chosen_by_number(write_tiff):
    data = write_tiff(*np.moveaxis(CUBE, 2, 0).astype(np.uint16))
    assert np.array_equal(read(data)[..., 0], GREYS)
    assert np.array_equal(read(data, channels=(0, 1, 4)), CUBE[..., [0, 1, 4]])


def test_channels_count_on_through_the_pages(write_tiff):
    data = write_tiff(CUBE[..., :2].astype(np.uint16), CUBE[..., 2:4].astype(np.uint16))
    assert np.array_equal(read(data, channels=(3,))[..., 0], CUBE[..., 3])


def test_a_channel_that_is_not_there_is_refused_with_the_number_there_is(write_tiff):
    with pytest.raises(DecodeError, match=r"has 5 pages or channels, and --channels 5 asks"):
        read(write_tiff(CUBE.astype(np.uint16)), channels=(5,))
    with pytest.raises(DecodeError, match=r"has 1 page or channel"):
        read(write_tiff(GREYS), channels=(0, 1, 2))


def test_pages_of_another_size_are_previews(write_tiff):
    pages = planes_of(write_tiff(CUBE.astype(np.uint16), CUBE[::2, ::2].astype(np.uint16)))
    assert [page.samples for page in pages] == [5]


def test_rgb_with_more_channels_is_rgb(write_tiff):
    data = write_tiff(CUBE.astype(np.uint16), photometric=2)
    assert np.array_equal(read(data), CUBE[..., :3])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u2", "i4", "f4"])
def test_white_is_zero_is_turned_round(write_tiff, order, kind):
    data = write_tiff((255 - GREYS).astype(kind), order=order, photometric=0)
    assert np.array_equal(read(data)[..., 0], GREYS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(write_tiff, orientation):
    wide = np.tile(GREYS, (1, 2)).astype(np.uint16)
    upright = read_planes(write_tiff(wide), None)[0]
    turned = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
              5: upright.T, 6: np.rot90(upright, -1), 7: np.rot90(upright.T, 2),
              8: np.rot90(upright)}[orientation]  # fmt: skip
    data = write_tiff(wide, more=[(274, "H", [orientation])])
    assert np.array_equal(read_planes(data, None)[0], turned)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_orientation_is_applied_once_with_and_without_a_range(write_tiff, orientation, kind):
    wide = np.tile(GREYS, (1, 2))
    tag = [(274, "H", [orientation])]
    expected = reduced(write_tiff(wide, more=tag), 100)
    conversion = Conversion(range=(0, 255))
    found = reduced(write_tiff(wide.astype(kind), more=tag), 100, conversion)
    assert np.array_equal(found, expected)
    chosen = Conversion(range=(0, 255), channels=(1,))
    pages = wide.astype(kind), wide.astype(kind)
    assert np.array_equal(reduced(write_tiff(*pages, more=tag), 100, chosen), expected)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("span", [None, (0, 65535)])
def test_white_is_zero_is_turned_round_with_and_without_a_range(write_tiff, order, span):
    data = write_tiff(((255 - GREYS) * 257.0).astype("u2"), order=order, photometric=0)
    assert np.array_equal(read(data, span)[..., 0], GREYS)
    if order == ">":
        return  # Pillow does not open it
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(read(image, span)[..., 0], GREYS)


def test_countless_channels_are_refused_before_anything_is_made_of_them(write_tiff):
    data = write_tiff(GREYS.astype("u2"), GREYS.astype("u2"))
    entry = struct.pack("<HHI", 277, 3, 1) + struct.pack("<I", 1)
    assert entry in data
    data = data.replace(entry, struct.pack("<HHI", 277, 4, 1) + struct.pack("<I", 400_000_000))
    with pytest.raises(DecodeError, match="channels"):
        read(data, channels=(0,))


def test_of_planes_only_those_that_are_chosen_are_decoded(write_tiff, monkeypatch):
    copies, real = [], tiff._with_directory
    monkeypatch.setattr(tiff, "_with_directory", lambda *a: copies.append(1) or real(*a))
    data = write_tiff(CUBE.astype("u2"), planar=True)
    assert np.array_equal(read(data, channels=(3,))[..., 0], CUBE[..., 3])
    assert len(copies) == 1


def test_a_picture_of_many_channels_is_decoded_alone(write_tiff, monkeypatch):
    monkeypatch.setattr("ilk.data.decode.MOST_BYTES", SIDE * SIDE * 20)
    needed, real = [], decode_module._alone_if
    monkeypatch.setattr(decode_module, "_alone_if", lambda n: needed.append(n) or real(n))
    read(write_tiff(np.repeat(CUBE, 20, axis=2)))
    assert needed[0] >= SIDE * SIDE * CUBE.shape[2] * 20


def test_tags_that_pages_share_are_not_read_for_each(write_tiff):
    more = [(65000, "I", list(range(20_000)))]
    data = write_tiff(GREYS, GREYS, more=more)
    assert all(65000 not in page.tags for page in planes_of(data))
    assert len(planes_of(data)) == 2


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("channels", [None, (0,)])
def test_tiles_beyond_the_limit_are_refused(write_tiff, kind, channels):
    tiles = [(322, "I", [20_000]), (323, "I", [40_000]), (324, "I", [8]), (325, "I", [9])]
    with pytest.raises(DecodeError, match="20000 x 40000"):
        read(write_tiff(GREYS.astype(kind), more=tiles), channels=channels)


def test_facts_count_pages_and_channels_but_not_those_of_a_usual_picture(
    write_tiff, encoded, noise
):
    assert facts_of(write_tiff(CUBE.astype(np.uint16))).planes == 5
    assert facts_of(write_tiff(GREYS, GREYS)).planes == 2
    assert facts_of(write_tiff(CUBE[..., :3], photometric=2)).planes == 1
    assert facts_of(encoded(noise(), "TIFF")).planes == 1


def test_a_tiff_of_a_type_that_nothing_reads_is_refused(write_tiff):
    data = write_tiff(GREYS.astype(np.uint16), photometric=0)
    odd = data.replace(
        b"\x02\x01\x03\x00\x01\x00\x00\x00\x10\x00", b"\x02\x01\x03\x00\x01\x00\x00\x00\x0b\x00"
    )
    with pytest.raises(DecodeError):
        read(odd)


def test_a_page_with_more_pixels_than_the_limit_is_refused_before_it_is_decoded(
    write_tiff, monkeypatch
):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for channels in (None, (1,)):
        with pytest.raises(DecodeError, match="--max-pixels"):
            read(write_tiff(CUBE.astype(np.uint16)), channels=channels)


def test_pages_in_a_loop_end(write_tiff):
    data = bytearray(write_tiff(GREYS, GREYS))
    first = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[first : first + 2], "little")
    after = first + 2 + 12 * entries
    second = int.from_bytes(data[after : after + 4], "little")
    entries = int.from_bytes(data[second : second + 2], "little")
    after = second + 2 + 12 * entries
    data[after : after + 4] = first.to_bytes(4, "little")
    assert len(planes_of(bytes(data))) == 2


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(write_tiff, share):
    data = write_tiff(CUBE.astype(np.uint16), compress=True)
    with pytest.raises(DecodeError):
        read(data[: int(share * len(data))], channels=(1,))


def test_damaged_files_are_refused_or_read_but_raise_nothing_else(write_tiff):
    rng = np.random.default_rng(0)
    data = write_tiff(CUBE.astype(np.uint16), CUBE.astype(np.uint16), compress=True, predictor=2)
    for _ in range(300):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            broken[place] = rng.integers(256)
        for channels in (None, (1,), (0, 1, 2)):
            try:
                with opened(bytes(broken)):
                    read(bytes(broken), channels=channels)
            except DecodeError:
                continue


def test_the_limit_counts_pixels_and_not_the_bytes_of_their_channels(write_tiff, monkeypatch):
    from PIL import Image

    cube = np.repeat(CUBE.astype(np.uint16), 4, axis=2)[..., :4]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE)
    assert np.array_equal(read(write_tiff(cube), channels=(0,))[..., 0], GREYS)  # 8 bytes a pixel
    with pytest.raises(DecodeError, match=r"takes .* MB with all its channels, .*--max-pixels"):
        read(write_tiff(CUBE.astype(np.uint16)), channels=(0,))
