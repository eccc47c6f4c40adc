from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ilk.data.masks import masks_of


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        ("benign (1).png", "benign (1)_mask.png"), ("benign (1).png", "benign (1)_mask_1.png"),
        ("a.jpg", "a-seg.png"), ("a.jpg", "a.Mask.PNG"), ("b.jpg", "b_segmentation.png"),
    ],
)  # fmt: skip
def test_a_mask_is_known_by_its_name(photo, mask, tmp_path):
    assert masks_of(str(tmp_path), [photo, mask]) == {mask: photo}


@pytest.mark.parametrize(
    "names",
    [["face.jpg", "facemask.jpg"], ["gas_mask.jpg"], ["a_mask.jpg", "b.jpg"], ["a.txt", "a.csv"]],
)
def test_other_pictures_are_no_masks(names, tmp_path):
    assert masks_of(str(tmp_path), names) == {}


def test_a_flat_picture_of_the_same_name_is_a_mask(tmp_path):
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8))
    for name in ("a.jpg", "b.jpg", "b.png"):
        photo.save(tmp_path / name)
    Image.fromarray(rng.integers(0, 2, (40, 40), np.uint8) * 255).save(tmp_path / "a.png")
    assert masks_of(str(tmp_path), ["a.jpg", "a.png", "b.jpg", "b.png"]) == {"a.png": "a.jpg"}


def test_a_broken_file_of_the_same_name_is_no_mask(tmp_path):
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(b"junk")
    assert masks_of(str(tmp_path), ["a.jpg", "a.png"]) == {}
