from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ilk.checking.quarantine import files
from ilk.checking.quarantine.move import move_files, refuse_folder
from ilk.checking.quarantine.plan import chosen_files
from ilk.checking.quarantine.undo import undo_quarantine as undo
from ilk.errors import Interrupted, ManifestError, OutputError, UsageError

NAMES = (b"plain.png", b"deep/er/sp ace.png", b"odd\xff.png", b"new\nline.png", b"x" * 255)


class Killed(BaseException):
    """Stands for a power cut."""


@pytest.fixture
def data(tmp_path):
    """Files with names of all sorts, times in the past, rights of their own, and a link."""
    root = tmp_path / "data"
    for number, name in enumerate(NAMES):
        path = root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1000 + number))
        os.utime(path, ns=(10**18, 10**18 + number))
        path.chmod(0o640)
    (root / "deep" / "link.png").symlink_to("../plain.png")
    return root


@pytest.fixture
def everything(data, finding):
    paths = sorted(str(p) for p in data.rglob("*") if p.is_symlink() or p.is_file())
    return chosen_files([finding("picture.blank", *paths, detail="blank \udce9 \x1b")])


@pytest.fixture(params=["links", "no links", "another file system"])
def system(request, monkeypatch):
    """Hard links as usual; nowhere; or only inside of one file system, as between two disks."""
    link = os.link

    def refuse(source, target, **options):
        inside = Path(source).parent == Path(target).parent
        if request.param == "no links" or not inside:
            code = errno.EPERM if request.param == "no links" else errno.EXDEV
            raise OSError(code, os.strerror(code), str(source))
        link(source, target, **options)

    if request.param != "links":
        monkeypatch.setattr(os, "link", refuse)
    return request.param


def manifest_of(moved):
    return json.loads(moved.manifest.read_text())


def edited(moved, **changes):
    record = manifest_of(moved)
    record["files"][0].update(changes)
    moved.manifest.write_text(json.dumps(record))


def test_every_file_goes_and_comes_back_as_it_was(data, everything, tree, tmp_path, system):
    before = tree(data)
    moved = move_files(everything, tmp_path / "away")
    assert len(moved.files) == len(before) == len(NAMES) + 1
    assert moved.failed == {}
    assert tree(data) == {}
    assert tree(tmp_path / "away" / "files") == before
    back = undo(moved.manifest)
    assert (len(back.files), back.failed) == (len(before), {})
    assert tree(data) == before
    assert [p.name for p in (tmp_path / "away").iterdir()] == ["manifest.json"]


def test_the_manifest_says_where_what_and_why(data, everything, tmp_path):
    path = data / "plain.png"
    status = path.stat()
    record = manifest_of(move_files(everything, tmp_path / "away"))
    (entry,) = (file for file in record["files"] if file["original"] == str(path))
    assert entry["now"] == "files/plain.png"
    assert (tmp_path / "away" / entry["now"]).is_file()
    assert (entry["size"], entry["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
    assert len(entry["sha256"]) == 64
    assert entry["why"] == ["picture.blank: blank \udce9 \x1b"]


@pytest.mark.parametrize("direction", ["away", "back"])
@pytest.mark.parametrize("where", ["link", "unlink", "replace"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_whoever_is_killed_in_the_middle_can_undo(
    data, everything, tree, tmp_path, system, monkeypatch, direction, where, count
):
    before = tree(data)
    away = tmp_path / "away"
    if direction == "back":
        move_files(everything, away)
    calls = []
    owner, name = (os, "link") if where == "link" else (Path, where)
    real = getattr(owner, name)

    def killed(*arguments, **options):
        calls.append(arguments)
        if len(calls) > count:
            raise Killed
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        try:
            if direction == "away":
                move_files(everything, away)
            else:
                undo(away / "manifest.json")
        except Killed:
            pass
    if (away / "manifest.json").exists():
        assert undo(away / "manifest.json").failed == {}
    assert tree(data) == before


def test_whoever_interrupts_is_told_how_to_undo(data, everything, tree, tmp_path, monkeypatch):
    before = tree(data)
    real, calls = os.link, []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    away = tmp_path / "far away"
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", interrupted)
        with pytest.raises(Interrupted, match=f"2 of 6 files .* --undo '{away}'"):
            move_files(everything, away)
    assert undo(away).failed == {}
    assert tree(data) == before


def test_what_a_copy_that_was_killed_left_behind_goes_with_the_next(
    data, everything, tree, tmp_path, monkeypatch
):
    before = tree(data)
    moved = move_files(everything, tmp_path / "away")
    entry = next(e for e in manifest_of(moved)["files"] if e["now"] == "files/plain.png")
    (data / f".ilk-{entry['sha256'][:16]}.part").write_bytes(b"half")
    monkeypatch.setattr(files, "_linked", lambda *_: False)
    assert undo(moved.manifest).failed == {}
    assert tree(data) == before


def test_undoing_twice_is_fine(data, everything, tree, tmp_path):
    before = tree(data)
    moved = move_files(everything, tmp_path / "away")
    undo(moved.manifest)
    again = undo(moved.manifest)
    assert (len(again.files), again.failed) == (len(before), {})
    assert tree(data) == before


def test_what_is_there_now_is_never_overwritten(data, everything, tmp_path, system):
    moved = move_files(everything, tmp_path / "away")
    (data / "plain.png").write_text("new")
    back = undo(moved.manifest)
    assert list(back.failed) == [str(data / "plain.png")]
    assert "another file is there now" in back.failed[str(data / "plain.png")]
    assert (data / "plain.png").read_text() == "new"
    assert (tmp_path / "away" / "files" / "plain.png").is_file()
    (data / "plain.png").unlink()
    assert undo(moved.manifest).failed == {}


def test_a_file_that_changed_in_quarantine_stays_there(data, everything, tmp_path):
    moved = move_files(everything, tmp_path / "away")
    (tmp_path / "away" / "files" / "plain.png").write_text("changed")
    back = undo(moved.manifest)
    assert "is not the file that was moved there" in back.failed[str(data / "plain.png")]
    assert not (data / "plain.png").exists()
    assert len(back.files) == len(NAMES)


def test_a_file_that_is_nowhere_is_told(data, everything, tmp_path):
    moved = move_files(everything, tmp_path / "away")
    (tmp_path / "away" / "files" / "plain.png").unlink()
    assert "neither there nor at" in undo(moved.manifest).failed[str(data / "plain.png")]


@pytest.mark.parametrize(
    "changes",
    [
        {"original": "/etc/passwd"},
        {"original": "{data}/../elsewhere.png"},
        {"original": "{data}"},
        {"original": "plain.png"},
        {"original": "{data}/other.png"},
        {"now": "../outside.png"},
        {"now": "/etc/passwd"},
        {"now": "files/../manifest.json"},
        {"now": "files/plain.png"},
        {"original": "{data}/../outside.png", "now": "files/../outside.png"},
        {"sha256": "0" * 64},
    ],
)
def test_an_edited_entry_moves_nothing(data, everything, tree, tmp_path, changes):
    (tmp_path / "outside.png").write_text("not of the quarantine")
    moved = move_files(everything, tmp_path / "away")
    first = manifest_of(moved)["files"][0]
    assert first["now"] != "files/plain.png"
    edited(moved, **{key: value.format(data=data) for key, value in changes.items()})
    back = undo(moved.manifest)
    assert len(back.failed) == 1
    assert len(back.files) == len(NAMES)
    assert (tmp_path / "away" / first["now"]).is_file()
    assert not Path(first["original"]).exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["away", "data", "outside.png"]


def test_a_link_planted_in_the_quarantine_is_not_followed(data, everything, tmp_path):
    moved = move_files(everything, tmp_path / "away")
    deep = tmp_path / "away" / "files" / "deep"
    deep.rename(tmp_path / "elsewhere")
    deep.symlink_to(tmp_path / "elsewhere")
    back = undo(moved.manifest)
    assert len(back.failed) == 2
    assert all("leads out of the quarantine" in reason for reason in back.failed.values())
    assert (tmp_path / "elsewhere" / "er" / "sp ace.png").is_file()


def test_a_link_from_the_old_place_to_the_new_one_costs_no_file(data, everything, tmp_path):
    moved = move_files(everything, tmp_path / "away")
    (data / "deep" / "er").rmdir()
    (data / "deep" / "er").symlink_to(tmp_path / "away" / "files" / "deep" / "er")
    undo(moved.manifest)
    assert (data / "deep" / "er" / "sp ace.png").is_file()


def test_the_quarantine_may_be_moved_as_a_whole(data, everything, tree, tmp_path):
    before = tree(data)
    move_files(everything, tmp_path / "away")
    (tmp_path / "away").rename(tmp_path / "far")
    assert undo(tmp_path / "far" / "manifest.json").failed == {}
    assert tree(data) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a manifest"),
        (b'{"files": []}', "is not a manifest"),
        (b'{"ilk_manifest": 99}', "newer version"),
        (b'{"ilk_manifest": 1, "root": "/"}', "damaged or was edited"),
        (b'{"ilk_manifest": 1, "root": "/", "files": [[]]}', "damaged or was edited"),
        (b'{"ilk_manifest": 1, "root": "/", "files": 3}', "damaged or was edited"),
        (b'{"ilk_manifest": 1, "root": "\\ud800", "files": []}', "damaged or was edited"),
        (b'{"ilk_manifest": 1, "root": "\\u0000", "files": []}', "damaged or was edited"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, content, message):
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        undo(path)


def test_files_that_cannot_be_moved_are_told_and_the_rest_go(data, finding, tmp_path):
    paths = [data / "plain.png", data / "gone.png", data / "deep"]
    moved = move_files(chosen_files([finding("outlier", *paths)]), tmp_path / "away")
    assert moved.files == (str(data / "plain.png"),)
    assert "No such file" in moved.failed[str(data / "gone.png")]
    assert "is not a regular file" in moved.failed[str(data / "deep")]
    assert len(manifest_of(moved)["files"]) == 1


def test_a_file_that_changes_while_it_is_moved_stays(data, finding, tmp_path, monkeypatch):
    path = data / "plain.png"
    monkeypatch.setattr(files, "_linked", lambda *_: False)
    with pytest.raises(OSError, match="changed while it was copied"):
        files.move(path, tmp_path / "away" / "plain.png", "0" * 64)
    assert path.is_file()
    assert list((tmp_path / "away").iterdir()) == []


def test_a_file_in_a_folder_that_may_not_change_stays(data, tmp_path, monkeypatch):
    path, target = data / "plain.png", tmp_path / "away" / "plain.png"
    unlink = Path.unlink

    def refuse(self, **options):
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(self, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        files.move(path, target, files.digest(path))
    assert path.is_file()
    assert not target.exists()


@pytest.mark.parametrize("name", ["plain.png", "deep/link.png"])
def test_a_copy_and_its_new_folders_are_flushed_before_the_old_file_goes(
    data, tmp_path, monkeypatch, name
):
    path, target = data / name, tmp_path / "far" / "away" / "x.png"
    flushed = []

    def note(folder):
        assert os.path.lexists(path)
        flushed.append((folder, os.path.lexists(target)))

    monkeypatch.setattr(files, "_linked", lambda *_: False)
    monkeypatch.setattr(files, "flush_folder", note)
    files.move(path, target, files.digest(path))
    assert not os.path.lexists(path)
    assert set(flushed) == {
        (tmp_path, False),
        (tmp_path / "far", False),
        (tmp_path / "far" / "away", True),
    }


def test_a_copy_whose_folder_cannot_be_flushed_leaves_the_file_where_it_was(
    data, tmp_path, monkeypatch
):
    path, target = data / "plain.png", tmp_path / "x.png"

    def fail(folder):
        raise OSError(errno.EIO, "Input/output error", str(folder))

    monkeypatch.setattr(files, "_linked", lambda *_: False)
    monkeypatch.setattr(files, "flush_folder", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.move(path, target, files.digest(path))
    assert path.is_file()
    assert not target.exists()


def test_the_folder_must_be_new_or_empty_and_beside_the_pictures(data, tmp_path):
    (tmp_path / "empty").mkdir()
    refuse_folder(tmp_path / "empty", data)
    refuse_folder(tmp_path / "new" / "er", data)
    refuse_folder(data / "inside", data / "table.csv")
    for taken in (data, data / "plain.png"):
        with pytest.raises(OutputError, match="already exists"):
            refuse_folder(taken, tmp_path / "elsewhere")
    (tmp_path / "other").symlink_to(data)
    for inside in (data / "away", tmp_path / "other" / "deep" / "away"):
        with pytest.raises(UsageError, match="is inside"):
            refuse_folder(inside, data)


def test_a_folder_that_cannot_be_made_is_named_and_nothing_moves(data, everything, tree, tmp_path):
    before = tree(data)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        move_files(everything, tmp_path / "file" / "away")
    assert tree(data) == before


def test_progress_is_told_of_every_file(data, everything, tmp_path, telling):
    told = []
    moved = move_files(everything, tmp_path / "away", telling(told))
    assert sum(told) == 2 * len(everything)
    undo(moved.manifest, progress=telling(told))
    assert sum(told) == 3 * len(everything)
