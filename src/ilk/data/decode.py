"""Decode: bytes from outside become ``uint8`` RGB pixels of the size that a network takes.

The one decoder: training, evaluation, prediction and serving all call `decode`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from ilk.arrays import Pixels
from ilk.data.catalog import Content
from ilk.data.containers import FORMATS, open_image
from ilk.data.depth import converted, scaled
from ilk.data.jpeg import in_one_pass, refuse_many_scans
from ilk.data.limits import most_pixels, refuse_too_large, too_many, too_many_of_a_jpeg
from ilk.data.tiff import StoredTiff, refuse_large_tiles
from ilk.data.upright import Upright
from ilk.errors import DecodeError
from ilk.spec import PLAIN, Conversion, Preprocess
from ilk.text import error_text

GREY = (127, 127, 127)
# What pixels depend on: features that are cached were computed from the same ones.
DECODER = f"2-pillow-{PIL.__version__}-simplejpeg-{simplejpeg.__version__}"
REDUCING_GAP = 4  # of Pillow's resize: what is 8 times as large or more is halved first, and so on
MOST_BYTES = 300_000_000  # that decoders may take at once; of those that need more, one runs alone
BYTES_OF_DECODERS = {  # a pixel, at most
    **dict.fromkeys(("JPEG", "MPO", "PNG"), 12),
    **dict.fromkeys(("WEBP", "AVIF", "HEIF", "JXL", "TIFF", "JPEG2000", "DICOM"), 16),
}
ALONE = Lock()
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_ORIENTATION_TAG = 0x0112
_ORIENTATION_CARRIERS = (b"Exif\x00\x00", b"http://ns.adobe.com/xap")
_PROGRESSIVE = b"\xff\xc2"
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
    parts are put over white, CMYK becomes RGB, and an animation gives its first frame. More than 8
    bits a channel are scaled to 8, and channels chosen, as ``preprocess.conversion`` says.

    Parameters
    ----------
    content : bytes, array [H, W, 3], or PIL image
        An encoded picture, RGB pixels (``uint8``; other types if there is a range of values), or an
        image of any mode.
    preprocess : Preprocess
        Size, resize rule, interpolation, and conversion to 8-bit RGB.
    formats : tuple of str
        Pillow's names of the formats that are accepted.

    Returns
    -------
    uint8 array [imgsz, imgsz, 3], RGB

    Raises
    ------
    DecodeError
        The content is not a picture, is damaged, has more pixels than
        ``PIL.Image.MAX_IMAGE_PIXELS``, or a side of more than ``LONGEST``.
    """
    with _upright(content, preprocess.conversion, formats) as picture:
        return np.asarray(_resized(picture, preprocess))


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
    with _as_decode_error(formats), open_image(data, formats) as image:
        yield image


def thumbnail(content: Content, size: int, conversion: Conversion = PLAIN) -> Image.Image:
    """Return a small picture for people to look at: its shape kept, no side above ``size`` pixels.

    Raises
    ------
    DecodeError
        As for `decode`.
    """
    with _upright(content, conversion, least=size) as picture:
        factor = max(picture.size) // (4 * size) or 1  # thereafter it is still four times as large
        image = picture.reduce(factor, factor)
    image.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2)
    return image


def reduced(content: Content, size: int, conversion: Conversion = PLAIN) -> Pixels:
    """Return upright RGB pixels ``uint8 [H, W, 3]``, squashed to at most ``size`` along each side.

    Raises
    ------
    DecodeError
        As for `decode`.
    """
    with _upright(content, conversion, least=size) as picture:
        width, height = picture.size
        target = (min(size, width), min(size, height))
        across, down = width // target[0], height // target[1]
        box = (0, 0, width / across, height / down)
        image = picture.reduce(across, down).resize(target, Image.Resampling.BILINEAR, box)
    return np.asarray(image)


@contextmanager
def _upright(
    content: Content,
    conversion: Conversion,
    formats: tuple[str, ...] = FORMATS,
    least: int | None = None,
) -> Iterator[Upright]:
    """Give the picture; a JPEG may be scaled by its DCT, to sides of ``least`` pixels or more.

    Scaled pixels are not what others see: enough to look at a picture, not to classify it.
    """
    if isinstance(content, np.ndarray):
        yield Upright(scaled(content, False, conversion.range))
        return
    with _as_decode_error(formats):
        if isinstance(content, bytes):
            with _open(content, conversion, formats, least) as picture:
                yield picture
        else:  # loading turns a TIFF already
            yield Upright(converted(content, None, conversion), _turn(content))


def _open(
    data: bytes, conversion: Conversion, formats: tuple[str, ...], least: int | None
) -> AbstractContextManager[Upright]:
    if not data:
        raise DecodeError("is empty", "file.empty")
    refuse_many_scans(data)
    picture = _open_jpeg(data, least) if "JPEG" in formats and simplejpeg.is_jpeg(data) else None
    return nullcontext(picture) if picture else _open_any(data, conversion, formats)


def _open_jpeg(data: bytes, least: int | None) -> Upright | None:
    """Decode a plain JPEG by libjpeg-turbo, to the pixels that Pillow gives, in less time.

    Returns None where Pillow should decide: CMYK, too large, or a stream with flaws.
    """
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if colorspace in {"CMYK", "YCCK"} or too_many_of_a_jpeg(width, height):
            return None
        huge = too_many(width, height)
        if huge and not in_one_pass(data):
            return None
        smallest = (least or height, least or width)
        if huge:
            smallest = (min(smallest[0], height // 2), min(smallest[1], width // 2))
        with _alone_if(9 * width * height if _PROGRESSIVE in data else 0):
            pixels = simplejpeg.decode_jpeg(data, min_height=smallest[0], min_width=smallest[1])
    except ValueError:
        return None
    if any(data.find(carrier, 0, _HEADER_BYTES) >= 0 for carrier in _ORIENTATION_CARRIERS):
        try:
            with open_image(data, ("JPEG",)) as header:
                return Upright(pixels, _turn(header))
        except Exception:  # a header that only Pillow finds fault with asks no turn
            return Upright(pixels)
    return Upright(pixels)


@contextmanager
def _open_any(data: bytes, conversion: Conversion, formats: tuple[str, ...]) -> Iterator[Upright]:
    with open_image(data, formats) as image:
        refuse_too_large(*image.size)
        needed = image.width * image.height * _bytes_of_a_pixel(image)
        refuse_large_tiles(getattr(image, "tag_v2", {}))
        with _alone_if(needed):
            pixels = converted(image, data, conversion)
            # A TIFF is upright by now, whether Pillow or `ilk.data.tiff` has read it.
            yield Upright(pixels, None if image.format == "TIFF" else _turn(image))


def _bytes_of_a_pixel(image: Image.Image) -> int:
    """Return what a decoder takes for a pixel, at most."""
    usual = BYTES_OF_DECODERS.get(image.format or "", 0)
    if isinstance(image, StoredTiff):
        return max(usual, 3 * image.bytes_of_a_pixel)  # packed, without its predictor, and as cut
    return usual


def _alone_if(needed: int) -> AbstractContextManager[object]:
    """Let one decoder at a time run, of those that need this many bytes if they are many."""
    return ALONE if needed > MOST_BYTES else nullcontext()


@contextmanager
def _as_decode_error(formats: tuple[str, ...] = FORMATS) -> Iterator[None]:
    """Turn whatever Pillow raises into a DecodeError."""
    try:
        yield
    except DecodeError:
        raise
    except UnidentifiedImageError:
        names = ", ".join(formats)
        reason = f"is not a picture in a format that is read ({names})"
        raise DecodeError(reason, "file.not_a_picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = f"{most_pixels():,}"
        reason = f"has more pixels than the limit of {limit}: make it smaller, or use --max-pixels"
        raise DecodeError(reason, "file.bomb") from None
    # Pillow's parsers meet hostile bytes with errors of many kinds (OSError, SyntaxError,
    # struct.error, IndexError, ...): each means the same here.
    except Exception as error:
        reason = error_text(error)
        kind = "file.truncated" if "truncated" in reason.lower() else "file.unreadable"
        raise DecodeError(f"is damaged: {reason}", kind) from None


def _turn(header: Image.Image) -> Image.Transpose | None:
    """Return how a picture is turned upright, by EXIF; a damaged EXIF block asks nothing."""
    try:
        return _TURNS.get(header.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # Pillow's EXIF and XMP parsers, as above
        return None


def _resized(picture: Upright, preprocess: Preprocess) -> Image.Image:
    side = preprocess.imgsz
    method = RESAMPLING[preprocess.interpolation]
    width, height = picture.size
    if preprocess.resize == "squash":
        return picture.resize((side, side), method, reducing_gap=REDUCING_GAP)
    if preprocess.resize == "crop":
        kept = min(width, height)
        left, top = (width - kept) / 2, (height - kept) / 2
        return picture.resize((side, side), method, (left, top, left + kept, top + kept))
    longest = max(width, height)
    within = (round(width / longest * side) or 1, round(height / longest * side) or 1)
    return ImageOps.pad(picture.resize(within, method), (side, side), method, color=GREY)
