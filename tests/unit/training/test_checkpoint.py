from __future__ import annotations

import errno
import os
import pickle
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ilk.errors import ModelError
from ilk.models.bundle import Bundle
from ilk.training import checkpoint
from ilk.training.checkpoint import Checkpoints, Snapshot, load, save


def snapshot(step=1, epoch=0, **tensors):
    everything = {"weight": torch.full((2, 3), float(step)), **tensors}
    return Snapshot(everything, {"steps_done": step, "epoch": epoch})


def no_room(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def written(folder):
    """Return ``written(*steps)``, which writes checkpoints as a training does, and their paths."""

    def write(*steps):
        with Checkpoints(folder) as checkpoints:
            for step in steps:
                checkpoints.write(snapshot(step), wait=True)
        return [folder / f"step-{step:08d}.safetensors" for step in steps]

    return write


def test_what_is_saved_is_loaded_to_the_bit(tmp_path):
    rng = torch.Generator().manual_seed(0)
    tensors = {
        "float": torch.randn(3, 4, generator=rng) * 1e-30,
        "double": torch.randn(2, generator=rng, dtype=torch.float64),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "bools": torch.tensor([True, False]),
    }
    facts = {"seconds": 0.1 + 0.2, "best": None, "name": "größe", "history": [{"loss": 1e-17}]}
    save(tmp_path / "one.safetensors", Snapshot(tensors, facts))
    loaded = load(tmp_path / "one.safetensors")
    assert loaded.facts == facts
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_whichever_byte_is_flipped_the_damage_is_noticed(tmp_path):
    path = tmp_path / "one.safetensors"
    save(path, snapshot())
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            load(path)


def test_wherever_it_is_cut_off_the_damage_is_noticed(tmp_path):
    path = tmp_path / "one.safetensors"
    save(path, snapshot())
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            load(path)


@pytest.mark.parametrize("kind", ["text", "pickle", "weights", "model", "folder", "nothing"])
def test_a_foreign_file_is_refused_by_name(tmp_path, bundle, kind):
    path = tmp_path / "step-1.safetensors"
    match kind:
        case "text":
            path.write_text("hello")
        case "pickle":
            path.write_bytes(pickle.dumps({"weight": 1}))
        case "weights":
            save_file({"weight": torch.zeros(2)}, path)
        case "model":
            bundle.save(path)
        case "folder":
            path.mkdir()
    with pytest.raises(ModelError, match=r"step-1\.safetensors is not an intact checkpoint"):
        load(path)


def damage(path, how):
    match how:
        case "cut off":
            os.truncate(path, path.stat().st_size // 2)
        case "a byte flipped":
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        case "foreign":
            path.write_bytes(b"something else")
        case "empty":
            path.write_bytes(b"")


@pytest.mark.parametrize("how", ["cut off", "a byte flipped", "foreign", "empty"])
def test_where_the_newest_is_damaged_the_one_before_is_taken(written, folder, caplog, how):
    *_, newest = written(1, 2)
    damage(newest, how)
    found = Checkpoints(folder).newest()
    assert found.facts["steps_done"] == 1
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert newest.name in caplog.text
    assert "Trying the previous one" in caplog.text


def test_where_all_are_damaged_there_is_none(written, folder, caplog):
    for path in written(1, 2):
        damage(path, "cut off")
    assert Checkpoints(folder).newest() is None
    assert len(caplog.records) == 2


def test_in_a_new_folder_there_is_none(folder):
    assert Checkpoints(folder).newest() is None
    assert folder.is_dir()


def test_the_newest_is_the_one_written_last_of_either_kind(folder):
    with Checkpoints(folder, every=1) as checkpoints:
        checkpoints.write(snapshot(3))
        checkpoints.write_epoch(snapshot(4, epoch=1))
    (epoch, step) = sorted(folder.iterdir())
    os.utime(step, (10, 10))
    os.utime(epoch, (11, 11))
    assert Checkpoints(folder).newest().facts["steps_done"] == 4
    os.utime(step, (12, 12))
    assert Checkpoints(folder).newest().facts["steps_done"] == 3


def test_only_the_two_newest_are_kept_but_those_of_epochs(folder):
    with Checkpoints(folder, every=1) as checkpoints:
        for step in range(1, 6):
            checkpoints.write(snapshot(step))
            checkpoints.write_epoch(snapshot(step, epoch=step))
    assert names(folder) == [
        *(f"epoch-{epoch:04d}.safetensors" for epoch in range(1, 6)),
        "step-00000004.safetensors",
        "step-00000005.safetensors",
    ]


def test_damaged_ones_of_later_steps_do_not_push_out_what_is_written_after_them(written, folder):
    for path in written(8, 9):
        damage(path, "cut off")
        os.utime(path, (1000, 1000))
    for step in (5, 6):
        with Checkpoints(folder) as checkpoints:
            checkpoints.write(snapshot(step), wait=True)
        assert Checkpoints(folder).newest().facts["steps_done"] == step


@pytest.mark.parametrize(
    ("every", "kept"), [(None, []), (1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (5, [5])]
)
def test_some_epochs_are_kept_for_good(folder, every, kept):
    checkpoints = Checkpoints(folder, every=every)
    assert [epoch for epoch in range(1, 7) if checkpoints.keeps_epoch(epoch)] == kept


def test_a_file_is_written_beside_and_then_renamed(folder, monkeypatch):
    seen = []
    replace = Path.replace

    def watched(self, target):
        seen.append((self.name, target.name, self.stat().st_size, target.exists()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    with Checkpoints(folder) as checkpoints:
        checkpoints.write(snapshot(1), wait=True)
    [(part, target, size, existed)] = seen
    assert target == "step-00000001.safetensors"
    assert part.startswith(".")
    assert part.endswith(".part")
    assert not existed
    assert size == (folder / target).stat().st_size
    assert names(folder) == [target]


def test_writing_the_same_step_again_leaves_the_old_file_until_the_new_one_is_whole(
    written, folder, monkeypatch, caplog
):
    [path] = written(1)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", no_room)
    with Checkpoints(folder) as checkpoints:
        checkpoints.write(snapshot(1, more=torch.ones(3)), wait=True)
    assert path.read_bytes() == before
    assert "intact" in caplog.text


@pytest.mark.parametrize("failing", ["open", "write", "fsync", "rename"])
def test_a_full_disk_costs_a_warning_and_no_checkpoint(
    written, folder, monkeypatch, caplog, failing
):
    written(1, 2)
    full = partial(open, "/dev/full", "wb")
    with Checkpoints(folder) as checkpoints:
        with monkeypatch.context() as patch:
            match failing:
                case "open":
                    patch.setattr(Path, "open", no_room)
                case "write":
                    patch.setattr(Path, "open", lambda *_: full())
                case "fsync":
                    patch.setattr(os, "fsync", no_room)
                case "rename":
                    patch.setattr(Path, "replace", no_room)
            assert not checkpoints.write(snapshot(3), wait=True)
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert "No space left on device" in record.getMessage()
        assert names(folder) == ["step-00000001.safetensors", "step-00000002.safetensors"]
        assert checkpoints.newest().facts["steps_done"] == 2
        assert checkpoints.write(snapshot(4), wait=True)
    assert names(folder) == ["step-00000002.safetensors", "step-00000004.safetensors"]


def test_a_full_disk_is_noticed_also_if_nobody_waited(folder, monkeypatch, caplog):
    monkeypatch.setattr(checkpoint, "write_whole", no_room)
    with Checkpoints(folder) as checkpoints:
        checkpoints.write(snapshot(1))
    assert "could not be written (No space left on device)" in caplog.text
    assert names(folder) == []


def test_the_best_model_on_a_full_disk_costs_a_warning_too(folder, bundle, monkeypatch, caplog):
    monkeypatch.setattr("ilk.models.bundle.write_whole", no_room)
    with Checkpoints(folder) as checkpoints:
        checkpoints.write_best(bundle)
    assert "could not be written" in caplog.text
    assert "best.safetensors" in caplog.text


def test_the_best_model_is_one_that_can_be_loaded(folder, bundle):
    with Checkpoints(folder) as checkpoints:
        checkpoints.write_best(bundle)
    assert Bundle.load(folder / "best.safetensors").spec == bundle.spec
    assert Checkpoints(folder).newest() is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_state_that_is_not_finite_is_not_written(written, folder, bad):
    written(1)
    with Checkpoints(folder, every=1) as checkpoints:
        gone_astray = snapshot(2, epoch=1, moment=torch.tensor([0.0, bad]))
        assert not checkpoints.write(gone_astray, wait=True)
        checkpoints.write_epoch(gone_astray)
    assert names(folder) == ["step-00000001.safetensors"]


def test_what_a_killed_process_left_half_written_is_ignored(written, folder, caplog):
    written(1)
    (folder / ".step-00000002.safetensors.4711.part").write_bytes(b"half of")
    (folder / ".epoch-0001.safetensors.4711.part").write_bytes(b"half of")
    assert Checkpoints(folder).newest().facts["steps_done"] == 1
    assert not caplog.records


def test_a_process_that_does_not_write_touches_nothing(folder, bundle):
    with Checkpoints(folder, minutes=0, every=1, writes=False) as checkpoints:
        assert not checkpoints.due()
        assert not checkpoints.keeps_epoch(1)
        checkpoints.write(snapshot(1), wait=True)
        checkpoints.write_epoch(snapshot(1))
        checkpoints.write_best(bundle)
    assert not folder.exists()


def test_one_is_due_once_the_minutes_are_over(folder, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    with Checkpoints(folder, minutes=2) as checkpoints:
        clock[0] = 219
        assert not checkpoints.due()
        clock[0] = 220
        assert checkpoints.due()
        checkpoints.write(snapshot(1), wait=True)
        assert not checkpoints.due()
        clock[0] = 340
        assert checkpoints.due()


def test_none_is_due_while_the_one_before_is_being_written(folder, monkeypatch):
    go_on = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", lambda *_: go_on.wait(10))
        with Checkpoints(folder, minutes=0) as checkpoints:
            assert checkpoints.due()
            checkpoints.write(snapshot(1))
            assert not checkpoints.due()
            go_on.set()
            checkpoints.write(snapshot(2), wait=True)
            assert checkpoints.due()


def test_leaving_waits_for_what_is_being_written(folder):
    with Checkpoints(folder) as checkpoints:
        checkpoints.write(snapshot(1, large=torch.zeros(300, 300)))
    assert load(folder / "step-00000001.safetensors").tensors["large"].shape == (300, 300)
