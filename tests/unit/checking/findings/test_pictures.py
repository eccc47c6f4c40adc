from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ilk.checking.findings import pictures
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.kinds import KINDS
from ilk.data.catalog import Catalog, Picture
from ilk.data.inspection.inspect import inspect


def photo(seed=0, size=(160, 120)):
    """Detail of every scale, as a photo has it."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8)).resize(size))
        for n in (3, 9, 27, 81)
    ]
    return Image.fromarray(np.mean(layers, axis=0).astype(np.uint8))


def placeholder(size=(160, 120), background="#eeeeee", ink="#999999"):
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(10, size[0] // 12))
    draw.text((size[0] // 8, size[1] // 2), "image not found", fill=ink, font=font)
    draw.rectangle((size[0] // 8, 10, size[0] // 2, size[1] // 3), outline=ink, width=2)
    return image


def check(*images, labels=None, usual=30):
    """Return the findings among ordinary photos, each with the numbers of the pictures given."""
    every = [*images, *(photo(1000 + i) for i in range(usual))]
    labels = labels or ["cat"] * len(every)
    catalog = Catalog(
        tuple(
            Picture(str(i), label, content=np.asarray(image.convert("RGB")))
            for i, (image, label) in enumerate(zip(every, labels, strict=True))
        )
    )
    return list(pictures.find(Evidence(inspect(catalog))))


def told(findings):
    return [(f.kind, f.severity, *f.paths) for f in findings]


def levels(image, low, high):
    return Image.fromarray((low + np.asarray(image) * ((high - low) / 255)).astype(np.uint8))


def test_of_ordinary_photos_nothing_is_said():
    assert check(photo(1), photo(2, (500, 375)), photo(3, (32, 32)), photo(4, (90, 700))) == []


def test_every_kind_has_a_name_and_something_to_do():
    assert set(pictures.ACTIONS) <= set(KINDS)
    assert all(pictures.ACTIONS.values())


def test_without_pictures_nothing_is_said():
    assert check(usual=0) == []


@pytest.mark.parametrize("colour", ["black", "white", (90, 140, 30)])
@pytest.mark.parametrize("noise", [0, 1])
def test_a_blank_picture_is_blank_and_nothing_else(colour, noise):
    plain = np.asarray(Image.new("RGB", (300, 200), colour)).astype(float)
    plain += np.random.default_rng(0).normal(0, noise, plain.shape)
    blank = Image.fromarray(plain.clip(0, 255).astype(np.uint8))
    assert told(check(blank)) == [("picture.blank", "warning", "0")]


@pytest.mark.parametrize("size", [(100, 80), (240, 180), (640, 480)])
@pytest.mark.parametrize(
    ("background", "ink"), [("#eeeeee", "#999999"), ("white", "black"), ("#204080", "white")]
)
def test_a_placeholder_among_photos(size, background, ink):
    found = check(placeholder(size, background, ink))
    assert ("picture.placeholder", "warning", "0") in told(found)
    assert "picture.grey" not in {f.kind for f in found}


def test_the_same_placeholder_under_many_names():
    """So many that they are no outliers of their class any more."""
    found = told(check(*[placeholder()] * 20, usual=25))
    assert sum(kind == "picture.placeholder" for kind, *_ in found) == 20


def test_where_most_pictures_are_graphics_none_is_a_placeholder():
    graphics = [placeholder(ink=(i, 2 * i, 3 * i)) for i in range(40)]
    assert not any(f.kind == "picture.placeholder" for f in check(*graphics, usual=10))


def test_a_class_of_graphics_has_no_placeholders():
    graphics = [placeholder(ink=(i, 2 * i, 3 * i)) for i in range(12)]
    labels = [*["icons"] * 12, *["cat"] * 30]
    assert not any(f.kind == "picture.placeholder" for f in check(*graphics, labels=labels))


def test_small_pictures_are_never_called_placeholders():
    """A bird in a clear sky of 32 pixels is as plain as a graphic."""
    bird = placeholder((32, 32), "white", "black")
    assert not any(f.kind == "picture.placeholder" for f in check(bird))


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [(0, 70, ["picture.dark"]), (0, 180, []), (243, 255, ["picture.bright"]), (160, 255, [])],
)
def test_dark_and_bright_pictures(low, high, kind):
    stripes = photo(1).point(lambda v: 255 if v > 127 else 0)
    assert [f.kind for f in check(levels(stripes, low, high))] == kind


def test_a_night_scene_with_lights_is_not_dark():
    night = levels(photo(1), 0, 40)
    night.paste((255, 240, 200), (40, 40, 60, 60))
    assert check(night) == []


def test_pure_blue_is_not_dark():
    shades = np.zeros((60, 80, 3), np.uint8)
    shades[..., 2] = np.linspace(150, 255, 80)
    assert "picture.dark" not in {f.kind for f in check(Image.fromarray(shades))}


@pytest.mark.parametrize(("radius", "named"), [(0, False), (8, True)])
def test_a_blurred_picture(radius, named):
    image = photo(1, (500, 375)).filter(ImageFilter.GaussianBlur(radius))
    found = told(check(image))
    assert (("picture.blurred", "info", "0") in found) == named


def test_blur_that_cannot_be_seen_at_the_size_of_a_network_is_not_told():
    image = photo(1, (2000, 1500)).filter(ImageFilter.GaussianBlur(2))
    assert check(image) == []


def test_a_grey_picture_among_coloured_ones():
    assert told(check(photo(1).convert("L"))) == [("picture.grey", "info", "0")]


def test_where_many_are_grey_none_is_unusual():
    assert check(*[photo(i).convert("L") for i in range(10)]) == []
    assert check(*[photo(i).convert("L") for i in range(30)], usual=1) == []


def test_what_most_pictures_are_like_is_told_once():
    dark = [levels(photo(i), 0, 60) for i in range(30)]
    (finding,) = check(*dark, usual=10)
    assert (finding.kind, finding.severity, finding.paths) == ("picture.dark", "info", ())
    assert finding.detail.startswith("30 of 40 pictures: each is dark")


def test_a_picture_without_a_label_is_judged_among_its_like():
    labels = [None] * 31
    assert told(check(placeholder(), labels=labels))[0][0] == "picture.placeholder"
