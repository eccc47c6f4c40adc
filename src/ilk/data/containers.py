"""Containers: what a file's first bytes say it is, and opening it by the package that reads it.

Pillow reads most formats itself. Those of ``PACKAGES`` need another package each, which is imported
when the first such file comes, and not before: that of JPEG XL then registers itself with Pillow,
for all code in the process; that of HEIC is not registered.
"""

from __future__ import annotations

import importlib
import io
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import simplejpeg
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL.JpegImagePlugin import jpeg_factory

from ilk.data.limits import too_many, too_many_of_a_jpeg
from ilk.data.tiff import MAGICS as TIFF_MAGICS
from ilk.data.tiff import StoredTiff
from ilk.errors import DecodeError
from ilk.runtime import installed

logging.getLogger("PIL").addHandler(logging.NullHandler())  # its errors are raised as well
PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000")
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_JPEG = b"\xff\xd8\xff"
DICOM_PREAMBLE = 128  # bytes before its magic


@dataclass(frozen=True)
class Package:
    """A package that reads a format: its module, the extra of ilk that brings it, and how."""

    module: str
    extra: str
    title: str
    open: Callable[[bytes], ImageFile.ImageFile]


def sniffed(data: bytes) -> str:
    """Return the format of ``PACKAGES`` that a file's first bytes are of; empty if of none."""
    if data[4:8] == b"ftyp":
        return "HEIF" if _is_heic(data) else ""
    if data.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")):
        return "JXL"
    return "DICOM" if data[DICOM_PREAMBLE : DICOM_PREAMBLE + 4] == b"DICM" else ""


def open_image(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Open an encoded picture of one of some formats; its pixels are not decoded yet.

    Raises
    ------
    DecodeError
        A package is missing, or a header says more pixels than the limit.
    Exception
        Whatever Pillow and the packages raise for bytes that are damaged.
    """
    name = sniffed(data)
    if name and name in formats:
        return _package(name).open(data)
    own = tuple(x for x in formats if x in PILLOW_FORMATS)
    if "JPEG" in own and data.startswith(_JPEG) and _is_huge(data):
        return jpeg_factory(io.BytesIO(data))  # without Pillow's warning, as ilk has its own limit
    try:
        return Image.open(io.BytesIO(data), formats=own)
    except UnidentifiedImageError:
        if name:
            raise DecodeError(
                f"is a {PACKAGES[name].title} picture, which is not among the formats that are "
                f"read here ({', '.join(formats)})",
                "file.not_a_picture",
            ) from None
        if "TIFF" in formats and data.startswith(TIFF_MAGICS):
            return StoredTiff(io.BytesIO(data))  # of a layout that Pillow has no mode for
        raise


def _is_huge(data: bytes) -> bool:
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return too_many(width, height) and not too_many_of_a_jpeg(width, height)


def _package(name: str) -> Package:
    package = PACKAGES[name]
    if not installed(package.module):
        raise DecodeError(
            f"is a {package.title} picture, which needs a package that is not installed: "
            f"pip install 'ilk[{package.extra}]', or save it as JPEG or PNG",
            "file.needs_package",
        )
    # What it warns about (an odd tag, say) is not for whoever classifies a picture.
    warnings.filterwarnings("ignore", module=package.module)
    return package


def _is_heic(data: bytes) -> bool:
    """Say whether an ISO media file is HEIC: its main brand may be one that AVIF has too."""
    size = min(int.from_bytes(data[:4]), 256)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    return not brands.isdisjoint(HEIC_BRANDS) and not brands & {b"avif", b"avis"}


def _open_heif(data: bytes) -> ImageFile.ImageFile:
    pillow_heif = importlib.import_module("pillow_heif")
    image: ImageFile.ImageFile = pillow_heif.HeifImageFile(io.BytesIO(data))
    return image


def _open_jxl(data: bytes) -> ImageFile.ImageFile:
    from ilk.data.jxl import refuse_too_large

    refuse_too_large(data)  # as the package decodes all pixels when it opens a file
    plugin = importlib.import_module("pillow_jxl.JpegXLImagePlugin")
    image: ImageFile.ImageFile = plugin.JXLImageFile(io.BytesIO(data))
    return image


def _open_dicom(data: bytes) -> ImageFile.ImageFile:
    from ilk.data.dicom import DicomImageFile

    return DicomImageFile(io.BytesIO(data))


PACKAGES = {
    "HEIF": Package("pillow_heif", "heif", "HEIC", _open_heif),
    "JXL": Package("pillow_jxl", "jxl", "JPEG XL", _open_jxl),
    "DICOM": Package("pydicom", "dicom", "DICOM", _open_dicom),
}
FORMATS = (*PILLOW_FORMATS, *PACKAGES)
