"""The table of formats: names, files, requirements, and that none of it needs torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ilk import formats
from ilk.errors import UsageError
from ilk.formats import FORMATS, format_named, format_of, search_order


@pytest.mark.parametrize("attribute", ["name", "suffix"])
def test_formats_differ_in_name_and_suffix(attribute):
    values = [getattr(form, attribute) for form in FORMATS]
    assert len(set(values)) == len(values)


def test_every_alias_leads_to_one_format():
    aliases = [alias for form in FORMATS for alias in form.aliases]
    assert len(set(aliases)) == len(aliases)
    assert not set(aliases) & {form.name for form in FORMATS}


def test_a_file_is_recognized_by_formats_of_its_own_kind_only(tmp_path):
    for form in FORMATS:
        path = tmp_path / f"m{form.suffix}"
        if form.contents:
            path.mkdir()
            for name in form.contents:
                (path / name).touch()
        assert form.recognizes(path)
        assert {f.noun for f in FORMATS if f.recognizes(path)} == {form.noun}


@pytest.mark.parametrize(
    "name, closest", [("onxx", "onnx"), ("TFLite", "litert"), ("int8", "openvino-int8")]
)
def test_an_unknown_name_is_refused_with_the_closest(name, closest):
    with pytest.raises(
        UsageError, match=rf"No format '{name}'\. Do you mean {closest}\? Choose from auto, onnx, "
    ):
        format_named(name)


def names(goal):
    return [form.name for form in search_order(goal)]


def test_the_search_tries_promising_formats_first_and_skips_uninstalled_ones(monkeypatch):
    monkeypatch.setattr(formats, "installed", lambda module: True)
    assert names("throughput") == names("latency")
    assert names("latency") == [
        "tensorrt", "openvino-int8", "openvino-bf16", "openvino", "onnx-int8", "onnx", "torch-aot",
        "executorch-int8",
    ]  # fmt: skip
    assert names("size") == ["onnx-int8", "openvino-int8", "executorch-int8"]
    monkeypatch.setattr(formats, "installed", lambda module: module != "executorch")
    assert names("size") == ["onnx-int8", "openvino-int8"]


def test_neither_the_formats_nor_the_service_import_training_libraries():
    """The lean image has none of them."""
    heavy = ("torch", "torchvision", "timm", "faiss", "captum", "cleanlab", "matplotlib", "nncf")
    code = (
        "import sys, ilk.formats, ilk.inference.classifier, ilk.serving.serve, ilk.serving.app\n"
        f"print(*sorted(set({heavy!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "name, noun",
    [
        ("m.onnx", "an ONNX file"),
        ("m-int8.onnx", "an ONNX file"),
        ("m.pte", "an ExecuTorch file"),
        ("m.mlpackage", "a Core ML package"),
        ("m.safetensors", None),
        ("m", None),
    ],
)
def test_files_are_known_by_their_names(tmp_path, name, noun):
    form = format_of(tmp_path / name)
    assert (form.noun if form else None) == noun


def test_folders_are_known_by_noun_lies_in_them(tmp_path):
    for folder, file in (("a", "model.xml"), ("b", "model.onnx"), ("c", "model.safetensors")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    assert format_of(tmp_path / "a").noun == "an OpenVINO model"
    assert format_of(tmp_path / "b").noun == "a web page"
    assert format_of(tmp_path / "c") is None
