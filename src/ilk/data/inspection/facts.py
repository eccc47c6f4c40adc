"""Facts: properties of a file and its header, read without decoding the picture."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ilk.data.catalog import Content
from ilk.data.decode import opened
from ilk.data.depth import is_deep, plane_count
from ilk.data.inspection.truncation import ends_early

STILL = ("MPO",)  # a phone's photo with a second view in it, no animation
_CAMERA_TAG, _ORIENTATION_TAG, _CHANGED_TAG = 0x0110, 0x0112, 0x0132
_DETAILS_TAG, _TAKEN_TAG = 0x8769, 0x9003
_DAY = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)")
LONGEST_NAME = 64  # characters of a camera's: so that no picture can fill the memory
_CARRIERS = {"exif", "xmp", "Raw profile type exif"}  # where Pillow finds EXIF


@dataclass(frozen=True, slots=True)
class Facts:
    """Properties of a file and its header, as stored.

    Attributes
    ----------
    bytes : int
        Its size; 0 of pixels in memory.
    format, mode : str
        As Pillow names them; the mode of what is stored in 16 bits a channel ends with ``;16``.
    width, height : int
        In pixels, before it is turned.
    animated : bool
        There are several frames or pages.
    deep : bool
        There are more than 8 bits a channel.
    planes : int
        The channels of all pages of a TIFF, or the frames of a DICOM file; 1 of other formats.
    orientation : int
        By EXIF, 1 to 8; 1 stands upright.
    camera : str
        Its model, by EXIF.
    day : str
        When it was taken, by EXIF: ``2026-11-25``.
    transparent : bool
        There is an alpha channel, or a colour that is transparent.
    ends_early : bool
        Its end is missing, although a picture could be decoded.
    modified : int
        When the file was last changed before it was read, in nanoseconds; 0 of what is no file.
    """

    bytes: int = 0
    format: str = ""
    mode: str = "RGB"
    width: int = 0
    height: int = 0
    animated: bool = False
    deep: bool = False
    planes: int = 1
    orientation: int = 1
    camera: str = ""
    day: str = ""
    transparent: bool = False
    ends_early: bool = False
    modified: int = 0


def facts_of(content: Content, modified: int = 0) -> Facts:
    """Read a picture's header; ``modified`` is when its file was last changed.

    Raises
    ------
    DecodeError
        The content is no picture.
    """
    if isinstance(content, np.ndarray):
        deep = content.dtype != np.uint8
        mode = str(content.dtype) if deep else "RGB"
        height, width = content.shape[:2]
        return Facts(mode=mode, width=width, height=height, deep=deep, modified=modified)
    if not isinstance(content, bytes):
        return _facts(content, b"", modified)
    with opened(content) as image:
        return _facts(image, content, modified)


def _facts(image: Image.Image, data: bytes, modified: int) -> Facts:
    orientation, camera, day = _exif(image)
    deep = ";16" in str(getattr(image, "tile", "")) and ";16" not in image.mode
    return Facts(
        bytes=len(data),
        format=image.format or "",
        mode=f"{image.mode};16" if deep else image.mode,
        width=image.width,
        height=image.height,
        orientation=orientation,
        camera=camera,
        day=day,
        transparent=image.has_transparency_data,
        ends_early=ends_early(data),
        deep=is_deep(image),
        planes=plane_count(image, data),
        modified=modified,
        animated=_is_animated(image),  # last, as looking for frames moves on
    )


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False)) and image.format not in STILL
    except Exception:  # as in _exif: what is wrong behind the first frame does no harm
        return False


def _exif(image: Image.Image) -> tuple[int, str, str]:
    """Return the orientation, the camera's model and the day; what is damaged tells nothing."""
    # Asked for EXIF that is not in the header, Pillow decodes a whole PNG to search behind it.
    if image.format != "TIFF" and _CARRIERS.isdisjoint(image.info):
        return 1, "", ""
    try:
        exif = image.getexif()
        orientation, camera = exif.get(_ORIENTATION_TAG, 1), exif.get(_CAMERA_TAG, "")
        taken = exif.get_ifd(_DETAILS_TAG).get(_TAKEN_TAG) or exif.get(_CHANGED_TAG, "")
    except Exception:  # Pillow's EXIF and XMP parsers meet hostile bytes with errors of many kinds
        return 1, "", ""
    day = "-".join(found.groups()) if (found := _DAY.match(str(taken))) else ""
    upright = not isinstance(orientation, int) or orientation not in range(1, 9)
    return 1 if upright else orientation, str(camera).strip("\0 ")[:LONGEST_NAME], day
