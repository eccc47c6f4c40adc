"""Two processes train one network over gloo, as torchrun starts them."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import ilk
from ilk.errors import UsageError
from ilk.models.bundle import Bundle

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
RANKS = Path(__file__).parents[1] / "support" / "ranks.py"
# Without anything that one process and several do differently: augmentation, batch statistics. The
# batches are of odd sizes, so that one process has more pictures than the other.
SAME_IN_ALL = {
    "mode": "scratch", "model": "test_vit", "imgsz": 16, "batch": 8, "epochs": 2, "rates": {},
    "accumulate": 2, "optimizer": "sgd", "lr": 0.02, "momentum": 0.9, "schedule": "cosine",
    "label_smoothing": 0.1, "augment": "none", "flip": 0, "alternate": False, "tta_views": "one",
    "val_share": 0.19, "precision": "fp32",
}  # fmt: skip
# With all of that; decoded anew in each epoch, which finds the broken picture later.
USUAL = {
    "mode": "scratch", "model": "test_resnet", "imgsz": 16, "batch": 16, "epochs": 3, "rates": {},
    "optimizer": "muon", "lr": 0.1, "ema": 0.8, "val_share": 0.2, "cache": "none",
    "accumulate": 2, "checkpoint_minutes": 1e-4, "max_unreadable": 0.1,
    "precision": "fp32",  # in bf16, other batches round otherwise, and a close call may turn
}  # fmt: skip
TEST_PICTURES = 21


@pytest.fixture(scope="module")
def place(shared_cache, tmp_path_factory):
    """A folder with pictures, one of them broken, and recipes; and how processes are started."""
    folder = tmp_path_factory.mktemp("distributed")
    catalog = ilk.open_catalog("digits")
    few = [p for p in catalog.pictures if p.label in "012"][: 120 + TEST_PICTURES]
    for i, picture in enumerate(few):
        split = "train" if i < 120 else "test"
        file = folder / "data" / split / picture.label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.content).save(file)
    whole = (folder / "data" / "train" / "1" / "1.png").read_bytes()
    (folder / "data" / "test" / "1" / "broken.png").write_bytes(whole[:50])
    for name, recipe in (("same", SAME_IN_ALL), ("usual", USUAL)):
        (folder / f"{name}.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    env = {**os.environ, "ILK_CACHE": str(shared_cache), "OMP_NUM_THREADS": "1"}
    return SimpleNamespace(folder=folder, data=folder / "data", runs=folder / "runs", env=env)


@contextlib.contextmanager
def torchrun(place, *arguments):
    """Start two processes that end with the block."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    with subprocess.Popen(
        [sys.executable, *launcher, *map(str, arguments)],
        cwd=place.folder,
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            kill_all(process)


def kill_all(process):
    """Kill a process and its children, which torchrun gives sessions of their own."""
    children = []
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
        children = [int(pid) for task in tasks for pid in task.read_text().split()]
    for pid in (process.pid, *children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def history(run):
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["pictures_per_second"]
    return rows


def weights(file):
    return dict(Bundle.load(file).tensors)


def assert_equal(one, two):
    assert one.keys() <= two.keys()
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, two[name])


@pytest.fixture(scope="module")
def trained(place):
    """What the two processes came to in three trainings, one after the other."""
    trainings = [
        {"name": "same", "arguments": ["data", "--recipe", "same.yaml", "--max-unreadable", ".1"]},
        {"name": "usual", "arguments": ["data", "--recipe", "usual.yaml", "--workers", "1"]},
        {"name": "diverged", "arguments": ["data", "--recipe", "usual.yaml"], "diverges": 1},
    ]
    with torchrun(place, RANKS, place.folder, json.dumps(trainings)) as process:
        out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    codes = [json.loads((place.folder / f"codes-{rank}.json").read_text()) for rank in (0, 1)]
    return SimpleNamespace(out=out, err=err, codes=codes)


def test_all_processes_end_and_one_speaks(place, trained):
    assert trained.codes == [[0, 0, 1]] * 2
    assert trained.out.count("Trained on 120 pictures of 3 classes") == 2  # trainings
    for epoch in ("epoch 1/2 ", "epoch 2/2 ", "epoch 3/3 "):
        assert trained.err.count(epoch) == 1, trained.err
    assert sorted(run.name for run in place.runs.iterdir()) == ["diverged", "same", "usual"]
    assert not [*place.runs.rglob("*.part")]


@pytest.mark.parametrize("name", ["same", "usual"])
def test_all_processes_come_to_the_same_model(place, trained, name):
    one, two = (weights(place.folder / f"{name}-{rank}.safetensors") for rank in (0, 1))
    assert_equal(one, two)
    assert_equal(one, weights(place.runs / name / "model.safetensors"))


@pytest.mark.parametrize("name", ["same", "usual"])
def test_every_picture_is_scored_once(place, trained, name):
    for rank in (0, 1):
        n, left_out = json.loads((place.folder / f"{name}-{rank}.json").read_text())
        assert n == TEST_PICTURES
        assert [Path(path).name for path in left_out] == ["broken.png"]
    metrics = json.loads((place.runs / name / "metrics.json").read_text())
    assert metrics["n"] == TEST_PICTURES == sum(map(sum, metrics["confusion"]))
    assert metrics["training"]["best"]["n"] == 24  # a fifth of the training pictures


def test_the_score_is_that_of_the_model_written(place, trained):
    run = place.runs / "usual"
    said = json.loads((run / "metrics.json").read_text())
    model = ilk.load(run, engine="pytorch", precision="fp32")
    found = ilk.evaluate(model, place.data, max_unreadable=0.1)
    assert found.confusion.tolist() == said["confusion"]


def test_two_processes_train_as_one_does(place, trained, tmp_path):
    alone = ilk.train(place.data, **SAME_IN_ALL, max_unreadable=0.1, runs=tmp_path)
    together = weights(place.runs / "same" / "model.safetensors")
    for name, tensor in weights(alone.model).items():
        np.testing.assert_allclose(together[name], tensor, rtol=1e-3, atol=1e-4, err_msg=name)
    for one, two in zip(history(alone.folder), history(place.runs / "same"), strict=True):
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), abs=1e-3)
        assert one["accuracy"] == two["accuracy"]  # of all pictures, not of one process's


@pytest.mark.slow
def test_killed_they_resume_to_the_same_bits_with_other_workers(place, trained):
    run = place.runs / "killed"
    command = ["-m", "ilk", "train", "data", "--recipe", "usual.yaml", "--name", "killed"]
    with torchrun(place, *command, "--workers", "3") as process:
        limit = time.monotonic() + 60
        while len([*run.glob("checkpoints/step-*.safetensors")]) < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.005)
        kill_all(process)
    assert not (run / "model.safetensors").exists()
    with torchrun(place, "-m", "ilk", "train", "--resume", run) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("Trained on") == 1
    assert err.count("Resuming at epoch") == 1
    assert_equal(
        weights(place.runs / "usual" / "model.safetensors"), weights(run / "model.safetensors")
    )
    assert history(run) == history(place.runs / "usual")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"mode": "probe"}, "--mode probe runs in a single process; start it without torchrun"),
        ({"mode": "scratch", "batch": 15}, "--batch 15 cannot be divided among 2 processes"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    place, monkeypatch, tmp_path, settings, expected
):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=expected) as refused:
        ilk.train(place.data, runs=tmp_path / "runs", **settings)
    assert refused.value.exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_a_search_for_the_rate_is_for_one_process(place, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--lr-find runs in a single process"):
        ilk.find_rate(place.data, mode="scratch", runs=tmp_path / "runs")
