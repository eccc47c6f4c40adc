from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from ilk.training.augment.trivial_augment import FIXED, OPERATIONS, apply

NAMES = list(OPERATIONS)


def noise(number=1, size=16, low=0, high=256):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(low, high, (number, size, size, 3), dtype=torch.uint8, generator=draw)


def applied(name, pixels, magnitude=1.0, strength=1.0):
    operations = torch.full((len(pixels),), NAMES.index(name))
    return apply(pixels, operations, torch.full((len(pixels),), magnitude), strength)


def differs(one, two):
    return int((one.int() - two.int()).abs().max())


def in_pillow(pixels, change):
    pictures = [np.asarray(change(Image.fromarray(picture))) for picture in pixels.numpy()]
    return torch.from_numpy(np.stack(pictures))


def enhanced(pixels, what, factor):
    return in_pillow(pixels, lambda image: getattr(ImageEnhance, what)(image).enhance(factor))


@pytest.fixture
def dot():
    """A grey picture, the grey of what lies outside, with a white square off its middle."""

    def make(x, y, size=29):
        pixels = torch.full((1, size, size, 3), 127, dtype=torch.uint8)
        pixels[:, size // 2 + y - 1 : size // 2 + y + 2, size // 2 + x - 1 : size // 2 + x + 2] = (
            255
        )
        return pixels

    return make


def where(pixels):
    """Return the centre of what is not grey, in pixels right of and below the middle."""
    mass = (pixels[0, ..., 0].float() - 127).clamp(min=0)
    offsets = torch.arange(len(mass)) - len(mass) // 2
    return [round(float((mass.sum(axis) * offsets).sum() / mass.sum()), 1) for axis in (0, 1)]


def test_it_is_the_wide_set():
    assert len(NAMES) == 14


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strength", [0.0, 1e-6])
def test_strength_0_changes_nothing(name, strength):
    pixels = noise(3)
    assert torch.equal(applied(name, pixels, -1.0, strength), pixels)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FIXED])
def test_strength_multiplies_the_magnitude(name):
    pixels = noise(3)
    assert torch.equal(applied(name, pixels, 0.8, 0.5), applied(name, pixels, 0.4, 1.0))


@pytest.mark.parametrize("name", FIXED)
def test_what_knows_no_magnitude_is_blended_in_by_the_strength(name):
    pixels = noise(3, low=30, high=200)
    whole = applied(name, pixels, 0.1)
    assert differs(whole, pixels) > 20
    assert differs(applied(name, pixels, 0.1, 0.5), (whole / 2 + pixels / 2)) <= 1
    assert torch.equal(applied(name, pixels, -0.7, 2.0), whole)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_without_content_survive(name):
    for value in (0, 127, 255):
        plain = torch.full((1, 8, 8, 3), value, dtype=torch.uint8)
        assert applied(name, plain).shape == plain.shape


def test_each_picture_gets_its_own_operation_and_magnitude():
    pixels = noise(56)
    draw = torch.Generator().manual_seed(1)
    operations = torch.arange(14).repeat(4)[torch.randperm(56, generator=draw)]
    magnitudes = torch.rand(56, generator=draw) * 2 - 1
    together = apply(pixels, operations, magnitudes, 1.0)
    for i in range(56):
        alone = apply(pixels[i : i + 1], operations[i : i + 1], magnitudes[i : i + 1], 1.0)
        assert differs(together[i : i + 1], alone) <= 1, NAMES[operations[i]]


# --- what each one does ---------------------------------------------------------------------------


def test_identity():
    assert torch.equal(applied("identity", noise()), noise())


def test_translate(dot):
    middle = dot(0, 0, 29)
    assert where(applied("translate x", middle, -1.0)) == [4.1, 0]  # 29 / 7
    assert where(applied("translate x", middle, 1.0)) == [-4.1, 0]
    assert where(applied("translate y", middle, -0.5)) == [0, 2.1]


def test_translate_brings_grey_in():
    moved = applied("translate x", noise(size=28), -1.0)
    assert (moved[:, :, :3] == 127).all()
    assert differs(moved[:, :, 4:], noise(size=28)[:, :, :-4]) == 0


def test_rotate(dot):
    assert where(applied("rotate", dot(8, 0), 2 / 3)) in ([0, 8], [0, -8])  # 90 degrees
    right, left = (where(applied("rotate", dot(8, 0), m)) for m in (1.0, -1.0))  # 135 degrees
    assert right[0] == left[0] == pytest.approx(-(8**0.5) * 2, abs=0.15)
    assert right[1] == -left[1] == pytest.approx(-(8**0.5) * 2, abs=0.15)


def test_shear_keeps_the_edge_and_moves_the_rest_in_proportion(dot):
    # The top row stays; y rows further down, pixels have moved by y times the slope.
    for y in (-8, 0, 8):
        x, same = where(applied("shear x", dot(0, y), 0.2))
        assert (x, same) == (pytest.approx(-0.198 * (y + 14.5), abs=0.2), pytest.approx(y, abs=0.2))
        same, x = where(applied("shear y", dot(y, 0), 0.2))
        assert (x, same) == (pytest.approx(-0.198 * (y + 14.5), abs=0.2), pytest.approx(y, abs=0.2))
    assert where(applied("shear x", dot(0, 0), -0.2))[0] > 2


@pytest.mark.parametrize("magnitude", [-1.0, -0.3, 0.4, 1.0])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("brightness", "Brightness"), ("contrast", "Contrast"), ("colour", "Color")],
)
def test_factors_of_colour_are_as_in_pillow(name, theirs, magnitude):
    pixels = noise(2)
    expected = enhanced(pixels, theirs, 1 + 0.99 * magnitude)
    assert differs(applied(name, pixels, magnitude), expected) <= 2  # they cut off decimals


def test_brightness_darkens_and_lightens():
    assert applied("brightness", noise(), -1.0).max() <= 3
    assert applied("brightness", noise(high=100), 1.0).float().mean() > 90


def test_contrast_and_colour_make_grey_at_the_lower_end():
    pixels = noise()
    flat = applied("contrast", pixels, -1.0)
    assert flat.max() - flat.min() <= 3
    grey = applied("colour", pixels, -1.0).int()
    assert (grey.amax(-1) - grey.amin(-1)).max() <= 3
    assert grey.amax() - grey.amin() > 100


@pytest.mark.parametrize("magnitude", [-1.0, 0.5, 1.0])
def test_sharpness_is_as_in_pillow_but_at_the_edges(magnitude):
    pixels = noise(2)
    expected = enhanced(pixels, "Sharpness", 1 + 0.99 * magnitude)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert differs(applied("sharpness", pixels, magnitude)[inner], expected[inner]) <= 2


def test_sharpness_blurs_and_sharpens_edges_too():
    pixels = noise(low=100, high=156)
    for picture in (slice(None), slice(0, 1)):
        spread = [
            float(applied("sharpness", pixels, m)[:, picture].float().std()) for m in (-1, 0, 1)
        ]
        assert spread == sorted(spread)
        assert spread[0] < 0.6 * spread[1]


@pytest.mark.parametrize(("magnitude", "bits"), [(0.05, 8), (0.5, 5), (-0.5, 5), (1.0, 2)])
def test_posterize_keeps_the_upper_bits(magnitude, bits):
    posterized = applied("posterize", noise(), magnitude)
    assert torch.equal(
        posterized, in_pillow(noise(), lambda image: ImageOps.posterize(image, bits))
    )
    assert len(posterized.unique()) == 2**bits or bits == 8


def test_posterize_leaves_at_least_one_bit():
    assert applied("posterize", noise(), 1.0, 3.0).unique().tolist() == [0, 128]


@pytest.mark.parametrize("magnitude", [0.25, -0.5, 1.0])
def test_solarize_inverts_what_is_light(magnitude):
    threshold = 256 * (1 - abs(magnitude))
    solarized = applied("solarize", noise(), magnitude)
    assert torch.equal(
        solarized, in_pillow(noise(), lambda image: ImageOps.solarize(image, threshold))
    )


def test_solarize_at_the_upper_end_inverts_all():
    assert torch.equal(applied("solarize", noise()), 255 - noise())


def test_autocontrast_stretches_each_channel():
    pixels = noise(3, low=40, high=180)
    pixels[0, ..., 1] = 77
    stretched = applied("autocontrast", pixels)
    assert stretched.amin((1, 2))[1:].unique().tolist() == [0]
    assert stretched.amax((1, 2))[1:].unique().tolist() == [255]
    assert (stretched[0, ..., 1] == 77).all()
    assert (
        differs(stretched, in_pillow(pixels, ImageOps.autocontrast)) <= 1
    )  # they cut off decimals


def test_equalize_makes_values_equally_frequent():
    dark = (noise(2, 64).float() ** 2 / 255).byte()
    dark[0, ..., 2] = 9
    equalized = applied("equalize", dark)
    assert torch.equal(equalized, in_pillow(dark, ImageOps.equalize))
    assert (equalized[0, ..., 2] == 9).all()
    assert abs(equalized[1].float().mean() - 127) < 10
