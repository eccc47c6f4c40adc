"""Decode: bytes from outside become ``uint8`` RGB pixels of the size that a network takes.

The one decoder: training, evaluation, prediction and serving all call `decode`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from ilk.arrays import Pixels
from ilk.data.catalog import Content
from ilk.errors import DecodeError
from ilk.spec import Preprocess

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM")
GREY = (127, 127, 127)
MOST_SCANS = 100  # of a JPEG; encoders write 10 or so
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION_TAG = 0x0112
_ORIENTATION_CARRIERS = (b"Exif\x00\x00", b"http://ns.adobe.com/xap")
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"  # how it starts, and how each of its scans does
_HEADER_BYTES = 2**20  # colour profiles and thumbnails may come before the orientation
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(content: Content, preprocess: Preprocess, formats: tuple[str, ...] = FORMATS) -> Pixels:
    """Turn an encoded picture, or pixels of any size, into pixels for the network.

    The content decides the format, never a file's ending. EXIF orientation is applied, transparent
    parts are put over white, 16-bit grey is scaled to 8, CMYK becomes RGB, and an animation gives
    its first frame.

    Parameters
    ----------
    content : bytes, uint8 array [H, W, 3], or PIL image
        An encoded picture, RGB pixels, or an image of any mode.
    preprocess : Preprocess
        Size, resize rule and interpolation.
    formats : tuple of str
        Pillow's names of the formats that are accepted.

    Returns
    -------
    uint8 array [imgsz, imgsz, 3], RGB

    Raises
    ------
    DecodeError
        The content is not a picture, is damaged, or has more pixels than
        ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    image = _image(content, preprocess.imgsz, formats)
    return np.asarray(_resized(image, preprocess))


def size_of(content: Content) -> tuple[int, int]:
    """Return width and height, as far as a picture's header tells them.

    Raises
    ------
    DecodeError
        The content is not a picture.
    """
    if isinstance(content, np.ndarray):
        return content.shape[1], content.shape[0]
    if not isinstance(content, bytes):
        return content.size
    with opened(content) as image:
        return image.size


@contextmanager
def opened(data: bytes, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """Open an encoded picture for a look at its header.

    Raises
    ------
    DecodeError
        The content is not a picture.
    """
    if not data:
        raise DecodeError("is empty", "file.empty")
    with _as_decode_error(formats), Image.open(io.BytesIO(data), formats=formats) as image:
        yield image


def thumbnail(content: Content, size: int) -> Image.Image:
    """Return a small picture for people to look at: its shape kept, no side above ``size`` pixels.

    Raises
    ------
    DecodeError
        As for `decode`.
    """
    image = _image(content, size, FORMATS).copy()  # shrunk in place
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2)
    return image


def reduced(content: Content, size: int) -> Pixels:
    """Return upright RGB pixels ``uint8 [H, W, 3]``, squashed to at most ``size`` along each side.

    Raises
    ------
    DecodeError
        As for `decode`.
    """
    image = _image(content, size, FORMATS)
    target = (min(size, image.width), min(size, image.height))
    return np.asarray(image.resize(target, Image.Resampling.BILINEAR, reducing_gap=1))


def _image(content: Content, imgsz: int, formats: tuple[str, ...]) -> Image.Image:
    """Return an upright RGB image; a JPEG may be scaled down already, to no less than ``imgsz``."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    if isinstance(content, bytes):
        return _open(content, imgsz, formats)
    with _as_decode_error():
        return _oriented(_to_rgb(content), content)


def _open(data: bytes, imgsz: int, formats: tuple[str, ...]) -> Image.Image:
    if not data:
        raise DecodeError("is empty", "file.empty")
    _refuse_many_scans(data)
    image = _open_jpeg(data, imgsz) if "JPEG" in formats and simplejpeg.is_jpeg(data) else None
    return image or _open_any(data, formats)


def _open_jpeg(data: bytes, imgsz: int) -> Image.Image | None:
    """Decode a plain JPEG by libjpeg-turbo, already scaled down by its DCT where that is enough.

    Returns None where Pillow should decide: CMYK, too large, or a stream with flaws.
    """
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if colorspace in {"CMYK", "YCCK"} or _too_large(width, height):
            return None
        pixels = simplejpeg.decode_jpeg(
            data, fastdct=True, fastupsample=True, min_height=imgsz, min_width=imgsz
        )
    except ValueError:
        return None
    image = Image.fromarray(pixels)
    if any(data.find(carrier, 0, _HEADER_BYTES) >= 0 for carrier in _ORIENTATION_CARRIERS):
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as header:
                return _oriented(image, header)
        except Exception:  # a header that only Pillow finds fault with asks no turn
            return image
    return image


def _open_any(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    with _as_decode_error(formats), Image.open(io.BytesIO(data), formats=formats) as image:
        _refuse_if_too_large(image)
        return _oriented(_to_rgb(image), image)


@contextmanager
def _as_decode_error(formats: tuple[str, ...] = FORMATS) -> Iterator[None]:
    """Turn whatever Pillow raises into a DecodeError."""
    try:
        yield
    except DecodeError:
        raise
    except UnidentifiedImageError:
        names = ", ".join(formats)  # HEIC, for one, is not among them
        reason = f"is not a picture in a format that is read ({names})"
        raise DecodeError(reason, "file.not_a_picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        reason = f"has more pixels than the limit of {Image.MAX_IMAGE_PIXELS:,}: make it smaller"
        raise DecodeError(reason, "file.bomb") from None
    # Pillow's parsers meet hostile bytes with errors of many kinds (OSError, SyntaxError,
    # struct.error, IndexError, ...): each means the same here.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        kind = "file.truncated" if "truncated" in reason.lower() else "file.unreadable"
        raise DecodeError(f"is damaged: {reason}", kind) from None


def _refuse_many_scans(data: bytes) -> None:
    """Refuse a JPEG that has thousands of passes over all its pixels: few bytes, and minutes."""
    scans = data.count(_SCAN) if data.startswith(_JPEG) else 0
    if scans > MOST_SCANS:
        raise DecodeError(
            f"has {scans} scans, over the limit of {MOST_SCANS}: save it again", "file.bomb"
        )


def _refuse_if_too_large(image: Image.Image) -> None:
    if _too_large(*image.size):
        raise DecodeError(
            f"has {image.width} x {image.height} pixels, over the limit of "
            f"{Image.MAX_IMAGE_PIXELS:,}: make it smaller",
            "file.bomb",
        )


def _too_large(width: int, height: int) -> bool:
    limit = Image.MAX_IMAGE_PIXELS
    return limit is not None and width * height > limit


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the picture's first frame in RGB."""
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    if image.mode == "F":
        raise DecodeError("has floating-point pixels without an agreed range: save it as 8 bit")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        over = Image.new("RGB", rgba.size, "white")
        over.paste(rgba, mask=rgba)
        return over
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale grey of 0..65535 to 0..255; Pillow's own conversion would clip it."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise DecodeError("has 32-bit pixels without an agreed range: save it as 8 or 16 bit")
    return Image.fromarray(np.round(values / 257).astype(np.uint8))


def _oriented(image: Image.Image, header: Image.Image) -> Image.Image:
    """Turn a picture as its header's EXIF orientation asks; a damaged EXIF block asks nothing."""
    try:
        turn = _TURNS.get(header.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # Pillow's EXIF and XMP parsers, as above
        return image
    return image if turn is None else image.transpose(turn)


def _resized(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    size = (preprocess.imgsz, preprocess.imgsz)
    method = RESAMPLING[preprocess.interpolation]
    if preprocess.resize == "squash":
        return image.resize(size, method)
    if preprocess.resize == "crop":
        return ImageOps.fit(image, size, method)
    return ImageOps.pad(image, size, method, color=GREY)
