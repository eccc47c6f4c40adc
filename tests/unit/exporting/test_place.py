from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ilk.engines.files import digest_of, size_of
from ilk.errors import OutputError, UsageError
from ilk.exporting.formats import FORMATS
from ilk.exporting.place import hidden_folder, put, target_of, writing

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
    found = target_of(Path(output) if output else None, MODEL, FORMATS[name])
    assert found == Path(target)


@pytest.mark.parametrize("name, output", [("onnx", "m.pte"), ("openvino", "m.onnx")])
def test_the_name_of_another_kind_of_file_is_refused(name, output):
    with pytest.raises(UsageError, match=f"--output {output} ends in"):
        target_of(Path(output), MODEL, FORMATS[name])


@pytest.mark.parametrize("name", ["onnx", "openvino", "web"])
@pytest.mark.parametrize("files", [(), ("model.safetensors", "model.onnx"), ("cat.jpg",)])
def test_a_folder_of_something_else_is_refused(name, files, tmp_path):
    folder = tmp_path / f"m{FORMATS[name].ending}"
    folder.mkdir()
    for file in files:
        (folder / file).touch()
    with pytest.raises(UsageError, match="is a folder of something else"):
        target_of(folder, MODEL, FORMATS[name])
    assert {entry.name for entry in folder.iterdir()} == set(files)


def exported(folder, text):
    folder.mkdir()
    (folder / "model.xml").write_text(text)
    (folder / "model.bin").write_text(text)
    return folder


def test_an_exported_folder_is_replaced(tmp_path):
    old = exported(tmp_path / "m-openvino", "old")
    assert target_of(old, MODEL, FORMATS["openvino"]) == old
    with hidden_folder(tmp_path) as folder:
        put(exported(folder / "new", "new"), old)
    assert (old / "model.xml").read_text() == "new"
    assert list(tmp_path.iterdir()) == [old]


def test_a_finished_file_takes_its_name(tmp_path):
    target = tmp_path / "new" / "m.onnx"
    with hidden_folder(target.parent) as folder:
        (folder / "part").write_bytes(b"network")
        assert not target.exists()
        put(folder / "part", target)
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
        (OSError(28, "No space left on device"), r"No space left on device\. Choose another place"),
        (RuntimeError("unexpected pos 64 vs 0"), r"unexpected pos 64 vs 0\. Choose another place"),
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


def test_a_files_digest_is_sha256(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"network")
    assert digest_of(tmp_path / "m.onnx") == hashlib.sha256(b"network").hexdigest()
    assert size_of(tmp_path / "m.onnx") == 7


def test_a_folders_digest_sees_names_and_contents(tmp_path):
    found = set()
    for names in (("a", "b"), ("a", "c"), ("b", "a")):
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        for i, name in enumerate(names):
            (folder / name).write_bytes(bytes([i]))
        found.add(digest_of(folder))
        assert size_of(folder) == 2
    assert len(found) == 3
