from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ilk.data.inspection.facts import facts_of

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


def test_a_camera_with_an_endless_name_is_cut_short(encoded, noise):
    exif = Image.Exif()
    exif[0x0110] = "x" * 50_000
    assert len(facts_of(encoded(noise(), "JPEG", exif=exif)).camera) == 64
