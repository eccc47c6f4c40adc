from __future__ import annotations

import pytest

from ilk.errors import UsageError
from ilk.exporting.export import check_options
from ilk.formats import FORMATS, format_named
from ilk.formats.options import ExportOptions


def test_what_is_not_given_is_the_formats_default():
    assert ExportOptions().given() == {}
    for form in FORMATS:
        check_options(form, ExportOptions())


def test_what_is_given_is_recorded():
    options = ExportOptions(opset=18, half=True, imgsz=96)
    assert options.given() == {"opset": 18, "half": True, "imgsz": 96}
    check_options(format_named("onnx"), options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"opset": 11}, "--opset 11: give a number from 18 to 23"),
        ({"opset": 99}, "--opset 99"),
        ({"opset": 0}, "--opset 0"),
        ({"imgsz": 4}, "--imgsz 4: give a number from 8 to 4096"),
        ({"imgsz": -1}, "--imgsz -1"),
        ({"imgsz": 10**6}, "--imgsz 1000000"),
    ],
)
def test_a_number_out_of_range_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        ExportOptions(**given)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("openvino", {"opset": 19}, "--opset does not apply to --format openvino, only to onnx"),
        ("torchscript", {"half": True}, "--half does not apply to --format torchscript, only to"),
        ("onnx-int8", {"half": True}, "--half does not apply to --format onnx-int8"),
        ("web", {"half": True}, "--half does not apply to --format web"),
    ],
)
def test_an_option_that_a_format_does_not_have_is_refused(name, given, said):
    with pytest.raises(UsageError, match=said):
        check_options(format_named(name), ExportOptions(**given))
