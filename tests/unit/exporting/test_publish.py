from __future__ import annotations

from pathlib import Path

import pytest

from ilk.errors import OutputError, UsageError
from ilk.exporting.publish import hidden_folder, output_path, replace_atomically, writing
from ilk.formats import format_named

MODEL = Path("runs/cd/model.safetensors")


@pytest.mark.parametrize(
    "name, output, target",
    [
        ("onnx", None, "runs/cd/model.onnx"),
        ("onnx-int8", None, "runs/cd/model-int8.onnx"),
        ("openvino", None, "runs/cd/model-openvino"),
        ("coreml", None, "runs/cd/model.mlpackage"),
        ("onnx", "out/pets.onnx", "out/pets.onnx"),
        ("onnx", "out/pets", "out/pets.onnx"),
        ("onnx", "out/pets.v2", "out/pets.v2.onnx"),
        ("openvino", "out/pets", "out/pets"),
    ],
)
def test_it_lies_beside_its_model_or_where_it_was_told_to(name, output, target):
    found = output_path(Path(output) if output else None, MODEL, format_named(name))
    assert found == Path(target)


@pytest.mark.parametrize("name, output", [("onnx", "m.pte"), ("openvino", "m.onnx")])
def test_the_name_of_another_kind_of_file_is_refused(name, output):
    with pytest.raises(UsageError, match=f"--output {output} ends in"):
        output_path(Path(output), MODEL, format_named(name))


@pytest.mark.parametrize("name", ["onnx", "openvino", "web"])
@pytest.mark.parametrize("files", [(), ("model.safetensors", "model.onnx"), ("cat.jpg",)])
def test_a_folder_of_something_else_is_refused(name, files, tmp_path):
    folder = tmp_path / f"m{format_named(name).suffix}"
    folder.mkdir()
    for file in files:
        (folder / file).touch()
    with pytest.raises(UsageError, match="is a folder with other contents"):
        output_path(folder, MODEL, format_named(name))
    assert {entry.name for entry in folder.iterdir()} == set(files)


def exported(folder, text):
    folder.mkdir()
    (folder / "model.xml").write_text(text)
    (folder / "model.bin").write_text(text)
    return folder


def test_an_exported_folder_is_replaced(tmp_path):
    old = exported(tmp_path / "m-openvino", "old")
    assert output_path(old, MODEL, format_named("openvino")) == old
    with hidden_folder(tmp_path) as folder:
        replace_atomically(exported(folder / "new", "new"), old)
    assert (old / "model.xml").read_text() == "new"
    assert list(tmp_path.iterdir()) == [old]


def test_a_finished_file_takes_its_name(tmp_path):
    target = tmp_path / "new" / "m.onnx"
    with hidden_folder(target.parent) as folder:
        (folder / "part").write_bytes(b"network")
        assert not target.exists()
        replace_atomically(folder / "part", target)
    assert target.read_bytes() == b"network"
    assert list(target.parent.iterdir()) == [target]


def test_what_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), hidden_folder(tmp_path) as folder:
        (folder / "part").write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error, said",
    [
        (
            OSError(28, "No space left on device"),
            r"No space left on device\. Choose another location",
        ),
        (
            RuntimeError("unexpected pos 64 vs 0"),
            r"unexpected pos 64 vs 0\. Choose another location",
        ),
    ],
)
def test_what_cannot_be_written_says_why(error, said):
    with pytest.raises(OutputError, match=said), writing(Path("m.onnx")):
        raise error


def test_a_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="file cannot be written"),
        hidden_folder(tmp_path / "file"),
    ):
        pass
