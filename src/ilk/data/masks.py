"""Masks: pictures of outlines that lie beside the photos, as in data sets for segmentation."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from ilk.data.names import has_picture_suffix

_MASK = re.compile(
    r"(.+?)[ _.-]+(?:mask|masks|seg|segmentation|annotation|gt|groundtruth)(?:[ _-]?\d+)?", re.I
)
MOST_VALUES = 32  # of a mask's pixels
LARGEST = 100_000_000  # pixels
SMALL = 256  # pixels along each side suffice to count them


def masks_of(folder: str, names: Iterable[str]) -> dict[str, str]:
    """Return the masks among the files of a folder, each with the picture that it belongs to.

    A mask has the name of another picture with an ending such as ``_mask``; or the same name as a
    photo in another format, and few grey levels.
    """
    stems: dict[str, list[str]] = {}
    for name in names:
        if has_picture_suffix(name):
            stems.setdefault(os.path.splitext(name)[0], []).append(name)  # noqa: PTH122
    masks: dict[str, str] = {}
    for stem, alike in stems.items():
        found = _MASK.fullmatch(stem)
        if found and found[1] in stems:
            masks |= dict.fromkeys(alike, stems[found[1]][0])
        elif len(alike) > 1:
            flat = [name for name in alike if _is_flat(Path(folder, name))]
            if len(flat) == 1:
                photo = next(name for name in alike if name != flat[0])
                masks[flat[0]] = photo
    return masks


def _is_flat(path: Path) -> bool:
    """Return whether a file is a PNG, BMP or GIF in grey or with a palette, of few values."""
    if path.suffix.lower() not in {".png", ".bmp", ".gif"}:
        return False
    try:
        with Image.open(path) as image:
            if image.mode not in {"1", "L", "P"} or image.width * image.height > LARGEST:
                return False
            image.thumbnail((SMALL, SMALL), Image.Resampling.NEAREST)
            return image.getcolors(MOST_VALUES) is not None
    except Exception:  # what cannot be read is reported where it is read
        return False
