"""Plain Pillow: a picture's pixels without ilk, by the lines that docs/export.md shows."""

from __future__ import annotations

import io
from typing import Any, TypeGuard

import numpy as np
from PIL import Image, ImageOps

from ilk.arrays import Pixels
from ilk.data.decode import GREY, REDUCING_GAP, RESAMPLING
from ilk.spec import Preprocess


def is_jpeg(content: Any) -> TypeGuard[bytes]:
    """Say whether a picture's content is an encoded JPEG."""
    return isinstance(content, bytes) and content.startswith(b"\xff\xd8\xff")


def by_pillow(data: bytes, preprocess: Preprocess) -> Pixels:
    """Return the pixels ``uint8 [imgsz, imgsz, 3]`` of an encoded picture."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    size = (preprocess.imgsz, preprocess.imgsz)
    method = RESAMPLING[preprocess.interpolation]
    if preprocess.resize == "crop":
        image = ImageOps.fit(image, size, method)
    elif preprocess.resize == "pad":
        image = ImageOps.pad(image, size, method, color=GREY)
    else:
        image = image.resize(size, method, reducing_gap=REDUCING_GAP)
    return np.asarray(image)
