from __future__ import annotations

import json

import pytest

from ilk.errors import OutputError
from ilk.folder import new_folder, readable_errors, write_json


def test_unnamed_runs_are_numbered(tmp_path):
    names = []
    for _ in range(3):
        with new_folder(tmp_path / "runs", None, False) as folder:
            (folder / "file").touch()
            names.append(folder.name)
    assert names == ["train", "train-2", "train-3"]


def test_a_run_that_is_there_is_refused_unless_told_otherwise(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match=r"mine already exists.*--exist-ok"):
        new_folder(tmp_path, "mine", False).__enter__()
    with new_folder(tmp_path, "mine", True) as folder:
        assert folder == tmp_path / "mine"
    assert folder.is_dir()


def test_a_file_in_the_way_is_refused_even_with_exist_ok(tmp_path):
    (tmp_path / "mine").touch()
    for exist_ok in (False, True):
        with pytest.raises(OutputError, match="mine"):
            new_folder(tmp_path, "mine", exist_ok).__enter__()


def test_a_parent_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written.*--runs"):
        new_folder(tmp_path / "file" / "runs", None, False).__enter__()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_no_empty_folder(tmp_path, error):
    with pytest.raises(error), new_folder(tmp_path, None, False):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_written_and_what_was_there(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path, "new", False) as folder:
        (folder / "file").touch()
        raise RuntimeError
    assert (tmp_path / "new" / "file").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(RuntimeError), new_folder(tmp_path, "old", True):
        raise RuntimeError
    assert (tmp_path / "old").is_dir()


def test_a_system_error_becomes_one_that_says_what_to_do(tmp_path):
    full = OSError(28, "No space left on device")
    said = pytest.raises(OutputError, match="here cannot be written: No space left")
    with said, readable_errors(tmp_path / "here"):
        raise full


def test_json_is_written_for_people_too(tmp_path):
    write_json(tmp_path / "x.json", {"a": [1]})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {"a": [1]}
    assert text.endswith("}\n")
    assert "\n  " in text
