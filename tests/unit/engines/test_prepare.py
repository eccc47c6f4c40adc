from __future__ import annotations

import json
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ilk.engines.prepare import (
    PrepareJob,
    backbone_file,
    main,
    prepare_in_subprocess,
    terminated_on_error,
)
from ilk.errors import EngineError, IlkError, ModelError, UsageError, WeightsError
from ilk.runtime import cache_dir
from ilk.spec import Preprocess

PREPROCESS = Preprocess(imgsz=32)


def test_the_cached_file_depends_on_backbone_weights_and_preprocessing(tmp_path):
    one, two = tmp_path / "one.pth", tmp_path / "two.pth"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    files = {
        backbone_file("resnet18", None, PREPROCESS),
        backbone_file("resnet50", None, PREPROCESS),
        backbone_file("resnet18", one, PREPROCESS),
        backbone_file("resnet18", two, PREPROCESS),
        backbone_file("resnet18", None, Preprocess(imgsz=64)),
    }
    assert len(files) == 5
    two.write_bytes(b"1")
    assert backbone_file("resnet18", two, PREPROCESS) in files
    assert {file.parent for file in files} == {cache_dir("backbones")}


def test_a_weights_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.pth"):
        backbone_file("resnet18", tmp_path / "none.pth", PREPROCESS)


def test_a_job_is_done_when_its_file_is_there(bare_bundle, tmp_path):
    job = PrepareJob(str(tmp_path / "b.safetensors"), graph=False)
    assert job.done() is None
    bare_bundle.save(tmp_path / "b.safetensors")
    assert job.done().spec == bare_bundle.spec
    assert PrepareJob(job.path, graph=True).done() is None


def test_a_damaged_file_is_dropped_from_the_cache_but_never_a_users(tmp_path):
    file = tmp_path / "b.safetensors"
    file.write_bytes(b"damaged")
    with pytest.raises(ModelError):
        PrepareJob(str(file), graph=False).done()
    assert file.exists()
    assert PrepareJob(str(file), graph=False, name="resnet18").done() is None
    assert not file.exists()


class Child:
    """A process that answers as it is told to."""

    def __init__(self, out="", err="", code=0):
        self.out, self.err, self.returncode = out, err, code

    def __call__(self, command, **_):
        self.command = command
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def communicate(self):
        return self.out, self.err

    def terminate(self):
        raise AssertionError


@pytest.fixture
def job(tmp_path):
    return PrepareJob(str(tmp_path / "b.safetensors"), graph=True, name="resnet18")


def test_what_the_other_process_raises_is_raised_here(job, monkeypatch):
    answer = json.dumps({"error": "WeightsError", "message": "none to be had"})
    monkeypatch.setattr(subprocess, "Popen", Child(f"chatter\n{answer}\n"))
    with pytest.raises(WeightsError, match="none to be had"):
        prepare_in_subprocess(job)


@pytest.mark.parametrize("out", ["", "chatter"])
def test_a_process_that_dies_is_an_engine_error_with_its_last_words(job, out, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", Child(out, "Traceback\nMemoryError", code=1))
    with pytest.raises(EngineError, match="exit code 1: MemoryError"):
        prepare_in_subprocess(job)


def test_nothing_is_started_for_what_is_done(bare_bundle, tmp_path, monkeypatch):
    bare_bundle.save(tmp_path / "b.safetensors")
    monkeypatch.setattr(subprocess, "Popen", None)
    prepare_in_subprocess(PrepareJob(str(tmp_path / "b.safetensors"), graph=False))


def test_modules_in_the_current_folder_are_not_imported(bare_bundle, tmp_path, monkeypatch):
    for name in ("ilk", "numpy", "pydantic"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PrepareJob, "done", lambda *_: None)
    bare_bundle.save(tmp_path / "b.safetensors")
    prepare_in_subprocess(PrepareJob(str(tmp_path / "b.safetensors"), graph=False))


def test_an_interrupted_process_is_no_reason_to_fall_back(job, monkeypatch):
    if os.name == "nt":
        pytest.skip("no such signals")
    monkeypatch.setattr(subprocess, "Popen", Child(code=-2))
    with pytest.raises(IlkError, match="interrupted") as caught:
        prepare_in_subprocess(job)
    assert not isinstance(caught.value, EngineError)


def test_the_answer_is_one_line_of_json(capsys, tmp_path):
    main(json.dumps({"path": str(tmp_path / "x"), "graph": False, "name": "no/such"}))
    reply = json.loads(capsys.readouterr().out)
    assert reply["error"] == "UsageError"
    assert "no/such" in reply["message"]


class SlowChild(Child):
    """A process that runs until it is terminated."""

    def __init__(self):
        super().__init__(code=-15)
        self.started, self.terminated = threading.Event(), threading.Event()

    def communicate(self):
        self.started.set()
        assert self.terminated.wait(30)
        return "", ""

    def terminate(self):
        self.terminated.set()


def test_a_failure_terminates_its_own_preparation_and_no_other(tmp_path, monkeypatch):
    children = {name: SlowChild() for name in ("mine", "other")}
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **_: children[json.loads(command[-1])["name"]]
    )
    with ThreadPoolExecutor(2) as pool, terminated_on_error() as others:

        def prepare(name, processes):
            job = PrepareJob(str(tmp_path / f"{name}.safetensors"), graph=True, name=name)
            return pool.submit(prepare_in_subprocess, job, processes)

        kept = prepare("other", others)
        with pytest.raises(ZeroDivisionError), terminated_on_error() as mine:
            lost = prepare("mine", mine)
            assert all(child.started.wait(30) for child in children.values())
            raise ZeroDivisionError
        with pytest.raises(IlkError, match="interrupted"):
            lost.result(30)
        assert not children["other"].terminated.is_set()
        assert not kept.done()
        children["other"].terminate()
        with pytest.raises(IlkError):
            kept.result(30)
