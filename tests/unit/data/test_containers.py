"""Formats that Pillow leaves to other packages; each is skipped where its package is missing."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from ilk.data import containers
from ilk.data.containers import sniffed
from ilk.data.decode import decode, opened, size_of
from ilk.data.inspection.facts import facts_of
from ilk.data.jxl import size_of as jxl_size
from ilk.errors import DecodeError
from ilk.spec import Conversion, Preprocess

SIDE = 16
SMALL = Preprocess(imgsz=SIDE)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300)
JXL = b"\xff\x0a" + bytes(40)
DICOM = bytes(128) + b"DICM" + bytes(300)


def smooth():
    x, y = np.meshgrid(np.linspace(0, 3, 64), np.linspace(0, 2, 48))
    waves = [np.sin(x + y), np.cos(x - y), np.sin(2 * x) * np.cos(y)]
    return Image.fromarray(np.uint8(127 + 120 * np.stack(waves, -1)))


def heic(**options):
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(smooth()).save(buffer, quality=95, **options)
    return buffer.getvalue()


def jxl():
    pytest.importorskip("pillow_jxl")
    buffer = io.BytesIO()
    smooth().save(buffer, "JXL", quality=95)
    return buffer.getvalue()


def jpeg_2000():
    buffer = io.BytesIO()
    smooth().save(buffer, "JPEG2000")
    return buffer.getvalue()


def dicom(values=None, photometric="MONOCHROME2", **tags):
    pydicom = pytest.importorskip("pydicom")
    values = np.asarray(smooth().convert("L")) if values is None else values
    frames = values.shape[0] if values.ndim == 3 and photometric != "RGB" else 1
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.PhotometricInterpretation = photometric
    dataset.SamplesPerPixel = 3 if photometric == "RGB" else 1
    if photometric == "RGB":
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = values.shape[:2] if frames == 1 else values.shape[1:]
    if frames > 1:
        dataset.NumberOfFrames = frames
    bits = 8 * values.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


EVERY = [("HEIF", heic), ("JXL", jxl), ("DICOM", dicom), ("JPEG2000", jpeg_2000)]


@pytest.mark.parametrize(("name", "make"), EVERY)
def test_each_format_is_read_whatever_its_name_ends_in(name, make):
    data = make()
    expected = np.asarray(smooth().convert("L" if name == "DICOM" else "RGB").convert("RGB"))
    expected = decode(expected, SMALL)
    assert np.abs(decode(data, SMALL).astype(int) - expected).mean() < 6
    facts = facts_of(data)
    assert (facts.format, facts.width, facts.height, facts.deep) == (name, 64, 48, False)
    assert size_of(data) == (64, 48)


@pytest.mark.parametrize(("name", "make"), EVERY)
def test_a_format_that_is_not_allowed_is_refused(name, make):
    data = make()
    with pytest.raises(DecodeError, match="PNG"):
        decode(data, SMALL, formats=("PNG",))


@pytest.mark.parametrize(
    ("data", "words", "extra"),
    [(HEIC, "HEIC", "heif"), (JXL, "JPEG XL", "jxl"), (DICOM, "DICOM", "dicom")],
)
def test_without_its_package_a_format_is_named_with_the_line_that_installs_it(
    monkeypatch, data, words, extra
):
    monkeypatch.setattr(containers, "installed", lambda module: False)
    with pytest.raises(
        DecodeError, match=rf"is a {words} .*pip install 'ilk\[{extra}\]'"
    ) as caught:
        decode(data, SMALL)
    assert caught.value.kind == "file.needs_package"
    with pytest.raises(DecodeError, match=rf"is a {words} picture, .*\(JPEG, PNG\)"):
        decode(data, SMALL, formats=("JPEG", "PNG"))


@pytest.mark.parametrize(("name", "make"), EVERY)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_truncated_files_are_refused(name, make, share):
    data = make()
    part = data[: int(share * len(data))]
    if name == "JPEG2000" and share == 0.9:
        pytest.skip("its last layers only refine")
    with pytest.raises(DecodeError):
        decode(part, SMALL)


@pytest.mark.parametrize(("name", "make"), EVERY)
def test_damaged_files_are_refused_or_read_but_raise_nothing_else(name, make):
    rng = np.random.default_rng(0)
    data = make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(60):
            broken = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                broken[place] = rng.integers(256)
            try:
                decode(bytes(broken), SMALL)
            except DecodeError:
                continue


@pytest.mark.parametrize(("name", "make"), EVERY)
def test_the_limit_of_pixels_holds_before_anything_is_decoded(name, make, monkeypatch):
    data = make()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 - 1)
    with pytest.raises(DecodeError, match="--max-pixels") as caught:
        decode(data, SMALL)
    assert caught.value.kind == "file.bomb"


@pytest.mark.parametrize("data", [HEIC, JXL, DICOM])
def test_headers_without_a_picture_are_refused(data):
    with pytest.raises(DecodeError):
        decode(data, SMALL)


def test_avif_with_the_brand_that_heic_has_too_is_avif():
    buffer = io.BytesIO()
    smooth().save(buffer, "AVIF")
    data = buffer.getvalue()
    assert sniffed(data) == ""
    assert sniffed(data[:8] + b"mif1" + data[12:]) == ""
    assert sniffed(HEIC) == "HEIF"
    assert sniffed(HEIC[:8] + b"mif1" + HEIC[12:]) == "HEIF"


def test_heic_is_not_registered_with_pillow_for_the_whole_process():
    decode(heic(), SMALL)
    assert "HEIF" not in Image.OPEN


@pytest.mark.parametrize("size", [(8, 8), (64, 48), (255, 1), (100, 75), (1, 513), (2000, 1)])
def test_the_header_of_a_jpeg_xl_tells_its_size(size):
    pytest.importorskip("pillow_jxl")
    for options in ({}, {"use_container": True}):
        buffer = io.BytesIO()
        Image.new("RGB", size, "red").save(buffer, "JXL", **options)
        assert jxl_size(buffer.getvalue()) == size


def values_of(data, span, channels=None):
    conversion = Conversion(range=span, channels=channels)
    return decode(data, Preprocess(imgsz=SIDE, conversion=conversion))[..., 0]


GREYS = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)


def test_dicom_values_are_those_of_the_device():
    stored = (GREYS + 924).astype(np.int16)
    data = dicom(stored, RescaleSlope="2", RescaleIntercept="-1848")
    assert facts_of(data).deep
    assert np.array_equal(values_of(data, (0, 510)), GREYS)
    with pytest.raises(DecodeError, match="--range LOW:HIGH"):
        decode(data, SMALL)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_dicom_whose_zero_is_white_is_turned_round(kind):
    data = dicom((255 - GREYS).astype(kind), "MONOCHROME1")
    assert np.array_equal(values_of(data, (0, 255)), GREYS)


def test_dicom_in_colour_is_rgb():
    values = np.stack([GREYS, GREYS.T, GREYS[::-1]], axis=-1).astype(np.uint8)
    assert np.array_equal(decode(dicom(values, "RGB"), SMALL), values)


def test_frames_of_dicom_are_chosen_by_number():
    data = dicom(np.stack([GREYS, GREYS.T, GREYS[::-1]]).astype(np.uint16))
    assert facts_of(data).planes == 3
    assert np.array_equal(values_of(data, (0, 255)), GREYS)
    assert np.array_equal(values_of(data, (0, 255), (2,)), GREYS[::-1])
    with pytest.raises(DecodeError, match="has 3 pages or channels"):
        values_of(data, (0, 255), (3,))


def test_deflated_dicom_is_refused_as_a_few_bytes_may_become_gigabytes():
    data = dicom().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0\0"[:20])
    data = data[:300].replace(b"1.2.840.10008.1.2.1.", b"1.2.840.10008.1.2.1.99") + data[300:]
    with pytest.raises(DecodeError, match="deflated"), opened(data):
        pass


def test_a_dicom_file_without_a_picture_is_refused_saying_so():
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dcmread(io.BytesIO(dicom()))
    del dataset.PixelData
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(DecodeError, match="without a picture"):
        decode(buffer.getvalue(), SMALL)
