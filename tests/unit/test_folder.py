from __future__ import annotations

import hashlib

import pytest

from ilk.folder import digest_of, new_folder, put_in_place, size_of


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


@pytest.fixture
def made(tmp_path):
    """Return ``made(name, *files)``: a folder with these files, each of its folder's name."""

    def make(name, *files):
        folder = tmp_path / name
        folder.mkdir()
        for file in files:
            (folder / file).write_text(name)
        return folder

    return make


def whole(target):
    return (target / "graph").is_file


def test_a_finished_folder_gets_its_name(made, tmp_path):
    target = tmp_path / "target"
    put_in_place(made("part", "graph"), target, whole(target))
    assert (target / "graph").read_text() == "part"


def test_a_folder_that_another_process_finished_first_stays(made):
    target = made("target", "graph")
    put_in_place(made("part", "graph"), target, whole(target))
    assert (target / "graph").read_text() == "target"


def test_a_folder_that_is_not_whole_is_replaced(made):
    target = made("target", "half")
    put_in_place(made("part", "graph"), target, whole(target))
    assert [file.name for file in target.iterdir()] == ["graph"]


def test_a_folder_that_another_process_finishes_in_the_last_moment_stays(
    made, monkeypatch, tmp_path
):
    target, part = made("target", "half"), made("part", "graph")

    def removed(folder, ignore_errors):
        (target / "half").rename(target / "graph")  # the other process is done

    monkeypatch.setattr("shutil.rmtree", removed)
    put_in_place(part, target, whole(target))
    assert (target / "graph").read_text() == "target"


def test_a_folder_that_cannot_be_renamed_is_an_error(made, tmp_path):
    target = tmp_path / "none" / "target"
    with pytest.raises(OSError, match="No such file"):
        put_in_place(made("part", "graph"), target, whole(target))


def test_a_name_is_not_needed_to_replace_a_run(tmp_path):
    for exist_ok, name in ((False, "train"), (False, "train-2"), (True, "train")):
        with new_folder(tmp_path, None, exist_ok) as folder:
            (folder / "model").touch()
        assert folder.name == name
