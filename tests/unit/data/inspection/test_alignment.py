from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ilk.data.inspection.alignment import (
    amount_of_detail,
    blurred,
    likeness,
    likeness_of_detail,
    registered,
)


def picture(seed, size=64):
    rng = np.random.default_rng(seed)
    return sum(
        np.asarray(
            Image.fromarray(rng.uniform(0, 255 / cells, (cells, cells)).astype(np.float32)).resize(
                (size, size), Image.Resampling.BICUBIC
            )
        )
        for cells in (2, 4, 8, 16)
    )


def squashed(pixels, box=(0, 0, 64, 64)):
    return np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BOX, box=box))


NOWHERE = np.zeros((1, 4), np.float32)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 64, 64), (0, 0, 0, 0)),
        ((4, 0, 64, 64), (0, 0, -1 / 16, 1 / 32)),
        ((0, 0, 64, 60), (-1 / 16, -1 / 32, 0, 0)),
        ((3, 3, 61, 61), (-3 / 32, 0, -3 / 32, 0)),
    ],
)
def test_where_a_part_lies_in_the_whole_is_found(box, expected):
    one, other = squashed(picture(0))[None], squashed(picture(0), box)[None]
    place = registered(blurred(one), blurred(other))
    np.testing.assert_allclose(place[0], expected, atol=0.01)
    assert likeness_of_detail(one, other, NOWHERE)[0] < 0.9 or not any(expected)
    assert likeness_of_detail(one, other, place)[0] > 0.9


def test_the_whole_is_found_from_a_part_too():
    one, other = squashed(picture(0), (4, 4, 64, 64))[None], squashed(picture(0))[None]
    assert likeness(one, other, registered(blurred(one), blurred(other)))[0] > 0.98


def test_brightness_and_contrast_do_not_matter():
    one = squashed(picture(0))[None]
    other = one * np.float32(0.5) + np.float32(40)
    place = registered(blurred(one), blurred(other))
    np.testing.assert_allclose(place, 0, atol=1e-3)
    assert likeness_of_detail(one, other, place)[0] == pytest.approx(1, abs=0.05)


def test_each_pair_is_judged_for_itself():
    pictures = np.stack([squashed(picture(seed)) for seed in (0, 1, 2)])
    others = np.stack([squashed(picture(seed)) for seed in (0, 3, 2)])
    alike = likeness_of_detail(pictures, others, registered(pictures, others))
    assert (alike > 0.9).tolist() == [True, False, True]


@pytest.mark.parametrize("blank", [np.zeros((1, 32, 32)), np.full((1, 32, 32), 7.0)])
def test_what_is_blank_is_like_nothing(blank):
    blank, other = blank.astype(np.float32), squashed(picture(0))[None]
    for one, two in ((blank, other), (other, blank), (blank, blank)):
        assert abs(likeness_of_detail(one, two, registered(one, two))[0]) < 0.5
    assert amount_of_detail(blank)[0] == pytest.approx(0, abs=1e-3)


def test_a_photo_has_more_detail_than_a_stroke():
    stroke = np.zeros((1, 32, 32), np.float32)
    stroke[:, 8:24, 14:18] = 255
    assert amount_of_detail(stroke)[0] < 20 < amount_of_detail(squashed(picture(0))[None])[0]
