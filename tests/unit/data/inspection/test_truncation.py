from __future__ import annotations

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ilk.data.inspection.truncation import ends_early

WAYS = {
    "jpeg": ("RGB", "JPEG", {}),
    "progressive": ("RGB", "JPEG", {"progressive": True}),
    "restarts": ("RGB", "JPEG", {"restart_marker_rows": 1}),
    "cmyk": ("CMYK", "JPEG", {}),
    "png": ("RGB", "PNG", {}),
    "palette": ("P", "PNG", {}),
    "webp": ("RGB", "WEBP", {}),
    "lossless": ("RGBA", "WEBP", {"lossless": True}),
    "gif": ("P", "GIF", {}),
    "avif": ("RGB", "AVIF", {}),
    "tiff": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
}
ways = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def whole(noise, encoded):
    """Return ``whole(way)``: the bytes of a picture that is encoded in one of WAYS."""

    def make(way, size=(120, 90)):
        mode, file_format, options = WAYS[way]
        return encoded(noise(1, size).convert(mode), file_format, **options)

    return make


@ways
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (120, 90)])
def test_a_whole_file_does_not_end_early(whole, way, size):
    assert not ends_early(whole(way, size))


@ways
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99])
def test_a_file_that_was_cut_off_ends_early(whole, way, share):
    data = whole(way)
    assert ends_early(data[: round(share * len(data))])


@pytest.mark.parametrize("way", ["jpeg", "png", "webp", "gif"])
@pytest.mark.parametrize("tail", [b"\0", b"\0" * 1000, b"appended by a phone" * 50])
def test_bytes_after_the_end_do_not_matter(whole, way, tail):
    assert not ends_early(whole(way) + tail)


@pytest.mark.parametrize("way", ["jpeg", "png"])
def test_zeros_in_place_of_the_rest_are_no_end(whole, way):
    """A broken download into a file that was made at its full size."""
    data = whole(way)
    assert ends_early(data[: len(data) // 2] + bytes(len(data) // 2))


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture(noise, encoded):
    exif = b"Exif\0\0" + encoded(noise(2, (16, 16)), "JPEG")
    data = encoded(noise(1, (120, 90)), "JPEG", exif=exif)
    assert not ends_early(data)
    assert ends_early(data[: len(data) * 3 // 4])


def test_an_animation_that_ends_after_its_first_frame_ends_early(noise, encoded):
    frames = [noise(seed, (60, 40)) for seed in range(4)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert not ends_early(data)
    cut = data[: len(data) // 2]
    with Image.open(io.BytesIO(cut)) as image:
        image.load()  # the first frame is whole
    assert ends_early(cut)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"RIFF\xff\xff\xff\x7fWAVEfmt ", b"BM", bytes(100), b"<svg/>"]
)
def test_of_other_content_nothing_is_said(data):
    assert not ends_early(data)


@settings(max_examples=200, deadline=None, database=None)
@given(st.sampled_from(sorted(WAYS)), st.integers(0, 2**32), st.integers(1, 20))
def test_damaged_files_never_raise(way, chance, number):
    mode, file_format, options = WAYS[way]
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), "red").convert(mode).save(buffer, file_format, **options)
    data, rng = bytearray(buffer.getvalue()), random.Random(chance)
    for _ in range(number):
        data[rng.randrange(len(data))] = rng.randrange(256)
    assert ends_early(bytes(data)) in {True, False}
