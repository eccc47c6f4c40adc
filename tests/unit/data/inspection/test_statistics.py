from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from ilk.data.inspection.statistics import STATISTICS, WIDTH, mirrored, sketch, statistics_of

ORIENTATION = 0x0112


def looks(content):
    return dict(zip(STATISTICS, statistics_of(content).tolist(), strict=False))


def scene(seed=0, size=(160, 120), mode="RGB"):
    """A picture of large soft spots with a little grain, as a photo has them."""
    rng = np.random.default_rng(seed)
    spots = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(size)
    grain = rng.normal(0, 4, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(spots) + grain).clip(0, 255).astype(np.uint8)).convert(mode)


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


def test_edges_of_a_straight_line_and_lumps_of_its_two_levels():
    half = np.zeros((32, 32, 3), np.uint8)
    half[:, 16:] = 255
    found = looks(half)
    # Of 1,024 pixels 30 are edges, along the line; Pillow leaves the border as it is: 62 are white.
    share = (30 + 62) / 1024
    assert found["edges"] == pytest.approx((share * (1 - share)) ** 0.5, rel=1e-3)
    levels = np.zeros(256)
    levels[[0, 255]] = 512
    assert found["lumps"] == pytest.approx(levels.std())


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
    row = statistics_of(encoded(Image.new("RGB", size, "red"), "PNG"))
    assert row.shape == (WIDTH,)
    assert row.dtype == np.float32
    assert np.isfinite(row).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"])
def test_an_image_in_memory_looks_as_its_file_does(encoded, mode):
    image = scene(mode=mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    assert np.allclose(statistics_of(image), statistics_of(data), atol=1e-5)


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "AVIF", "PNG", "BMP"])
def test_the_format_hardly_changes_the_looks(encoded, name):
    image = scene(size=(500, 375))
    one, other = statistics_of(np.asarray(image)), statistics_of(encoded(image, name))
    assert (
        np.abs(one - other)[[STATISTICS.index(n) for n in ("brightness", "contrast")]].max() < 0.02
    )
    assert one[len(STATISTICS) :] @ other[len(STATISTICS) :] > 0.99


def test_a_picture_looks_as_it_stands_upright(encoded):
    image = scene()
    turned = encoded(ImageOps.exif_transpose(image).transpose(Image.Transpose.ROTATE_90), "PNG")
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    stored = encoded(image, "PNG", exif=exif)
    assert np.allclose(statistics_of(stored), statistics_of(turned), atol=1e-6)


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
