"""A resumed training ends exactly as it would have, or says why it cannot be resumed."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import ilk
from ilk.errors import UsageError
from ilk.models.bundle import Bundle
from ilk.training.checkpoint import load

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it limits processes")
RECIPE = """
mode: scratch
model: test_resnet
imgsz: 16
batch: 16
epochs: 8
optimizer: muon
lr: 0.2
rates: {}
ema: 0.9
val_share: 0.15
checkpoint_minutes: 0.0001
"""
NAME = "two words"


@pytest.fixture(scope="module")
def place(shared_cache, tmp_path_factory):
    """A folder with pictures, and the environment of the processes."""
    folder = tmp_path_factory.mktemp("resume")
    catalog = ilk.open_catalog("digits")
    for i, picture in enumerate(p for p in catalog.pictures[:200] if p.label in "012"):
        file = folder / "data" / picture.label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.content).save(file)
    (folder / "short.yaml").write_text(RECIPE)
    env = {**os.environ, "ILK_CACHE": str(shared_cache), "OMP_NUM_THREADS": "1"}
    return SimpleNamespace(folder=folder, data=folder / "data", env=env)


@contextlib.contextmanager
def training(place, *arguments):
    """Run ``ilk train`` in a process that ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "ilk", "train", *map(str, arguments)],
        cwd=place.folder,
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def trained(place, *arguments):
    """Run ``ilk train`` to its end; return what it said on stderr."""
    with training(place, *arguments) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Trained on" in out
    return err


def checkpoints(run):
    """The checkpoints to resume from, the newest first."""
    return sorted((run / "checkpoints").glob("step-*.safetensors"), reverse=True)


def wait_for_checkpoint(process, run, before=()):
    """Wait until there is a checkpoint that was not there before."""
    limit = time.monotonic() + 60
    while not set(checkpoints(run)) - set(before):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)


def assert_same(run, other):
    one, two = Bundle.load(run / "model.safetensors"), Bundle.load(other / "model.safetensors")
    assert one.spec == two.spec
    assert one.tensors.keys() == two.tensors.keys()
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, two.tensors[name])
    timed = {2, 9}  # seconds, pictures_per_second
    histories = [
        [[c for i, c in enumerate(line.split(",")) if i not in timed] for line in text.split()]
        for text in ((r / "history.csv").read_text() for r in (run, other))
    ]
    assert histories[0] == histories[1]
    assert len(histories[0]) == 1 + 8


@pytest.fixture(scope="module")
def undisturbed(place):
    trained(place, "data", "--recipe", "short.yaml", "--name", "undisturbed")
    return place.folder / "runs" / "undisturbed"


@pytest.fixture(scope="module")
def interrupted(place):
    """A run that Ctrl-C stopped after a few steps, and what it said."""
    run = place.folder / "runs" / NAME
    with training(place, "data", "--recipe", "short.yaml", "--name", NAME) as process:
        wait_for_checkpoint(process, run)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    copy = shutil.copytree(run, place.folder / "copy")
    return SimpleNamespace(run=run, copy=copy, code=process.returncode, out=out, err=err)


@pytest.fixture
def stopped(interrupted, tmp_path):
    """A copy of that run's folder, as it was then."""
    return shutil.copytree(interrupted.copy, tmp_path / "stopped")


def test_ctrl_c_saves_and_says_how_to_resume(interrupted):
    assert interrupted.code == 130, interrupted.err
    assert interrupted.out == ""
    assert interrupted.err.splitlines()[-1] == (
        f"ilk: Interrupted; everything is saved. Resume with: ilk train --resume 'runs/{NAME}'"
    )
    assert "Traceback" not in interrupted.err
    steps = load(checkpoints(interrupted.run)[0]).facts["steps_done"]
    assert 1 <= steps < load(checkpoints(interrupted.run)[0]).facts["total_steps"]
    assert not (interrupted.run / "model.safetensors").exists()
    assert not [*interrupted.run.rglob("*.part")]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over(place, undisturbed, interrupted):
    newest, before = checkpoints(interrupted.run)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    command = interrupted.err.splitlines()[-1].split("Resume with: ")[1]
    facts = load(before).facts
    err = trained(place, *shlex.split(command)[2:], "--workers", "3")
    assert f"{newest.name} is damaged: it does not match its checksum. Trying" in err
    assert f"Resuming at epoch {facts['epoch'] + 1}, step {facts['step'] + 1}" in err
    assert_same(interrupted.run, undisturbed)


def test_a_full_disk_a_polite_end_and_half_a_checkpoint(place, undisturbed, stopped):
    kept = checkpoints(stopped)
    with training(place, "--resume", stopped) as process:
        wait_for_checkpoint(process, stopped, kept)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10, hard))
        said = [process.stderr.readline() for _ in range(2)]
        while not said[-1].startswith("A checkpoint could not be written"):
            said.append(process.stderr.readline())
            assert said[-1], "it came to its end"
        assert "File too large). Training continues; the previous one is intact." in said[-1]
        while not said[-1].startswith("epoch"):
            said.append(process.stderr.readline())
            assert said[-1], "it came to its end"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("ilk: Interrupted; the last steps could not be saved.")
    assert not [*stopped.rglob("*.part")]
    newest, before = checkpoints(stopped)
    assert load(newest).facts["steps_done"] > load(before).facts["steps_done"]
    newest.write_bytes(newest.read_bytes()[:5000])
    err = trained(place, "--resume", stopped)
    assert f"{newest.name} is not an intact checkpoint" in err
    assert_same(stopped, undisturbed)


def test_another_recipe_is_refused(stopped):
    with pytest.raises(UsageError, match=r"started with lr = 0\.2 and cannot continue with 0\.1\."):
        ilk.train(resume=stopped, lr=0.1)
    with pytest.raises(UsageError, match="started with mode = scratch"):
        ilk.train(resume=stopped, mode="probe")


@pytest.mark.parametrize("what", ["changed", "missing", "new"])
def test_other_pictures_are_refused(place, stopped, what):
    file = place.data / "1" / ("zz.png" if what == "new" else "1.png")
    before = file.read_bytes() if file.exists() else b""
    picture = Image.fromarray(np.full((8, 8, 3), 7, np.uint8))
    try:
        file.unlink() if what == "missing" else picture.save(file)
        with pytest.raises(UsageError, match=rf"{what}: {file}[;)]") as refused:
            ilk.train(resume=stopped)
    finally:
        file.write_bytes(before) if before else file.unlink()
    assert refused.value.exit_code == 2


def test_a_finished_run_is_refused(undisturbed):
    with pytest.raises(UsageError, match="has finished; there is nothing to resume"):
        ilk.train(resume=undisturbed)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not a run that can be resumed"):
        ilk.train(resume=tmp_path)
