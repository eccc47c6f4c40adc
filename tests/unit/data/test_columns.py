from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ilk.data.catalog import Picture
from ilk.data.columns import column, default_columns
from ilk.errors import UsageError


def jpeg(width, height, camera="", taken="", orientation=1):
    image = Image.fromarray(np.full((height, width, 3), 90, np.uint8))
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = camera, orientation
    if taken:
        exif.get_ifd(0x8769)[0x9003] = taken
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def test_columns_read_from_files():
    pictures = [
        Picture("a/1.jpg", content=jpeg(100, 90, "Box 3", "2026:11:25 10:00:00")),
        Picture("b/2.jpg", content=jpeg(300, 100)),
        Picture("b/3.jpg", content=jpeg(300, 100, orientation=6)),
        Picture("c/4.jpg", content=b"junk"),
    ]
    assert column(pictures, "camera") == ["Box 3", "", "", ""]
    assert column(pictures, "day") == ["2026-11-25", "", "", ""]
    assert column(pictures, "shape") == ["wide", "wide", "tall", ""]
    assert column(pictures, "size")[:2] == ["64 to 127 pixels", "128 to 255 pixels"]
    assert column(pictures, "format") == ["JPEG", "JPEG", "JPEG", ""]
    assert column(pictures, "folder") == ["a", "b", "b", "c"]


def test_a_table_s_own_columns_come_first():
    pictures = [Picture("a", columns={"size": "big", "site": "x"}), Picture("b")]
    assert column(pictures, "size") == ["big", ""]
    assert column(pictures, "site") == ["x", ""]


def test_columns_with_few_values_are_sliced_by_default():
    rows = [{"site": "xy"[i % 2], "id": str(i), "same": "1"} for i in range(30)]
    assert default_columns([Picture(str(i), columns=row) for i, row in enumerate(rows)]) == ["site"]


def test_remarks_of_a_check_are_not_sliced_by_unless_asked_for():
    rows = [{"suspect": "outlier" * (i < 3), "why": "far" * (i < 3)} for i in range(9)]
    pictures = [Picture(str(i), columns=row) for i, row in enumerate(rows)]
    assert default_columns(pictures) == []
    assert column(pictures, "suspect")[:4] == ["outlier"] * 3 + [""]


def test_no_such_column_is_refused_with_those_there_are():
    expected = "no column 'lens': the table has site, and all pictures have size, shape"
    with pytest.raises(UsageError, match=expected):
        column([Picture("a", columns={"site": "x"})], "lens")
