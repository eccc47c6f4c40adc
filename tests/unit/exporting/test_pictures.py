"""Which pictures an export is calibrated by and verified on."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from ilk.errors import DataError, UsageError
from ilk.exporting.pictures import pictures_for
from ilk.models.bundle import Bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_picture):
    """Twelve pictures a class, in files; never to be changed."""
    place = tmp_path_factory.mktemp("folder") / "data"
    for label in ("cat", "dog"):
        for i in range(12):
            write_picture(place / label / f"{i}.png", i if label == "cat" else 100 + i)
    return place


@pytest.fixture(scope="module")
def run(train_once, folder):
    """A training on it; never to be changed."""
    return train_once(folder)


@pytest.fixture
def gone(folder):
    """Take its pictures away, for as long as a test lasts."""
    aside = folder.rename(folder.with_name("aside"))
    yield
    aside.rename(folder)


def chosen(run, data=None, split=None):
    bundle = Bundle.load(run.model)
    return pictures_for(bundle.spec, bundle.split_of, run.model, data, split, None)


def test_by_default_they_are_those_of_the_training_held_out_apart(run):
    found = chosen(run)
    splits = {p.path: p.split for p in run.catalog.pictures}
    assert {splits[p.path] for p in found.files} == {"test"}
    assert len(found.calibration) == list(splits.values()).count("train")
    assert found.pixels.shape == (len(found.files), 8, 8, 3)
    assert [run.catalog.classes[k] for k in found.targets] == [p.label for p in found.files]
    assert found.description == "the test split of its training's pictures"


def test_where_they_have_gone_those_that_the_run_kept_take_their_place(run, request):
    before = chosen(run)
    request.getfixturevalue("gone")
    found = chosen(run)
    assert found.description == "the test split of the pictures kept by its run"
    assert len(found.pixels) == len(before.pixels)
    assert len(found.calibration) == len(before.calibration)
    assert sorted(found.targets) == sorted(before.targets)
    # As good as the same: they went through JPEG.
    apart = np.abs(found.pixels.astype(int) - before.pixels.astype(int)).mean()
    assert apart < 12


def test_pictures_that_are_given_come_first_and_the_runs_own_calibrate(
    run, tmp_path, write_picture
):
    for i in range(3):
        write_picture(tmp_path / "new" / "cat" / f"{i}.png", 200 + i)
    found = chosen(run, tmp_path / "new")
    assert found.description == "all pictures of new"
    assert len(found.pixels) == 3
    assert len(found.calibration) == sum(p.split == "train" for p in run.catalog.pictures)


@pytest.mark.usefixtures("gone")
def test_without_any_it_asks_for_data(run, tmp_path):
    alone = replace(run, folder=tmp_path)
    shutil.copy(run.model, alone.model)
    with pytest.raises(UsageError, match="Give --data: pictures to verify on"):
        chosen(alone)


def test_pictures_of_other_classes_are_refused(run, tmp_path, write_picture):
    write_picture(tmp_path / "new" / "teapot" / "1.png")
    with pytest.raises(DataError, match="no pictures of the model's classes"):
        chosen(run, tmp_path / "new")
