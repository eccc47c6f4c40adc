"""The acceptance commands on real photographs; ILK_TEST_DATA names the unpacked data folder."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest

DATA = os.environ.get("ILK_TEST_DATA")
pytestmark = [
    pytest.mark.photos,
    pytest.mark.skipif(not DATA, reason="ILK_TEST_DATA does not name the data folder"),
]
KILOBYTES = 2e6  # 2 GB


@pytest.fixture(scope="module")
def data():
    return Path(DATA or "").resolve()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("photos")


def test_cats_and_dogs(ilk, data, folder):
    source = data / "cats_dogs"
    ilk("train", source, "--name", "cd", cwd=folder, apart=True)
    first = json.loads((folder / "runs" / "cd" / "metrics.json").read_text())
    assert first["accuracy"]["value"] >= 0.97
    assert first["training"]["features_computed"] > 0

    model = folder / "runs" / "cd" / "model.safetensors"
    done = ilk("evaluate", model, source, "--split", "test", "--json", cwd=folder, apart=True)
    found = json.loads(done.stdout)
    assert found["split"] == "test"
    assert found["accuracy"]["value"] >= 0.97
    assert found["accuracy"]["value"] == pytest.approx(first["accuracy"]["value"], abs=0.005)

    done = ilk("train", source, "--name", "cd-2", "--json", cwd=folder, apart=True)
    second = json.loads(done.stdout)
    assert second["training"]["features_computed"] == 0
    assert second["accuracy"] == first["accuracy"]


def test_ants_and_bees(ilk, data, folder):
    ilk("train", data / "ants_bees", "--name", "ab", cwd=folder, apart=True)
    model = folder / "runs" / "ab" / "model.safetensors"
    done = ilk("predict", model, data / "ants_bees" / "val", "--json", cwd=folder, apart=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    right = [r["label"] == Path(r["path"]).parent.name for r in found]
    assert len(right) > 100
    assert sum(right) / len(right) >= 0.92


def test_no_command_took_more_than_two_gigabytes():
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= KILOBYTES
