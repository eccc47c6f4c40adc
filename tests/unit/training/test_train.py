"""Training from end to end, with a backbone that needs no torch."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image

import ilk
from ilk import recipes
from ilk.errors import DataError, OutputError, UsageError
from ilk.models.bundle import Bundle
from ilk.training.prepare_data import prepare_data
from ilk.training.result import Choice, HeadFacts, LoopFacts, TrainingFacts
from ilk.training.scoring import Scores
from ilk.training.train import recipe_of

ARTEFACTS = [
    "catalog.csv",
    "kept",
    "metrics.json",
    "model.safetensors",
    "model_card.md",
    "plots",
    "predictions.csv",
    "recipe.yaml",
    "report.html",
]

pytestmark = pytest.mark.usefixtures("quick_plots")


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def train(fake_backbone, runs):
    assert fake_backbone

    def call(data, **options):
        return ilk.train(data, **{"runs": runs, "imgsz": 8, **options})

    return call


def write_folder(catalog, root):
    for i, picture in enumerate(catalog.pictures):
        file = root / picture.label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.content).save(file)
    return root


@pytest.fixture
def folder(catalog, tmp_path):
    return write_folder(catalog, tmp_path / "photos")


def test_the_run_folder_holds_what_the_design_says(train, folder):
    run = train(folder, seed=3)
    assert sorted(path.name for path in run.folder.iterdir()) == ARTEFACTS
    assert sorted(path.name for path in (run.folder / "plots").iterdir()) == [
        "calibration.png",
        "confusion.png",
    ]
    assert run.model.is_file()
    assert run.report.is_file()
    recipe = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    assert recipe["seed"] == 3
    run_recipe = ilk.Recipe(mode="probe")
    assert set(recipe) == {f for f in ilk.Recipe.model_fields if run_recipe.applies(f)}
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(run.metrics))
    assert metrics["split"] == "test"
    assert metrics["n"] == 15
    rows = (run.folder / "catalog.csv").read_text().splitlines()
    assert rows[0] == "path,label,split,digest,left_out"
    assert len(rows) == 61
    assert "photos" in run.report.read_text()


def test_the_model_says_what_it_was_trained_on(train, folder):
    run = train(folder)
    spec = Bundle.load(run.model).spec
    found = spec.provenance
    assert spec.classes == ("blue", "green", "red")
    assert found["data"] == "photos"
    assert found["pictures"] == {"train": 45, "test": 15}
    assert found["accuracy"] == run.evaluation.accuracy.to_dict()
    assert {"ilk", "numpy", "python"} <= set(found["versions"])
    assert not {"weights", "device", "workers"} & set(found["recipe"])
    assert str(folder.parent) not in json.dumps(found)


def test_too_many_unreadable_files_stop_the_training_and_leave_nothing(train, folder, runs):
    for i in range(4):
        (folder / "red" / f"broken{i}.png").write_bytes(b"not a picture %d" % i)
    with pytest.raises(DataError, match="max-unreadable"):
        train(folder)
    assert not runs.exists() or list(runs.iterdir()) == []
    assert train(folder, max_unreadable=0.1).folder.name == "train"


def test_runs_are_numbered_named_and_never_overwritten(train, catalog):
    assert [train(catalog).folder.name for _ in range(2)] == ["train", "train-2"]
    before = train(catalog, name="mine").model.read_bytes()
    with pytest.raises(OutputError, match="already"):
        train(catalog, name="mine", seed=1)
    run = train(catalog, name="mine", seed=1, exist_ok=True)
    assert run.model.read_bytes() != before


def test_without_held_out_pictures_there_is_no_score_and_no_old_report(train, catalog):
    train(catalog, name="mine")
    whole = ilk.from_arrays(
        np.stack([p.content for p in catalog.pictures]), [p.label for p in catalog.pictures]
    )
    run = train(whole, name="mine", exist_ok=True, test_share=0.0)
    assert run.evaluation is None
    assert set(run.metrics) == {"training"}
    assert not run.report.exists()
    assert not list(run.folder.glob("plots/*"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_saving_leaves_no_half_written_model(
    train, catalog, runs, error, monkeypatch
):
    def fail(_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        train(catalog)
    assert not list(runs.rglob("*model*"))


def test_the_same_training_gives_the_same_model(train, catalog):
    one, two = Bundle.load(train(catalog).model), Bundle.load(train(catalog).model)
    for name, tensor in one.tensors.items():
        np.testing.assert_array_equal(tensor, two.tensors[name])
    assert one.spec == two.spec


def darker(picture):
    return (picture * 0.8).astype(np.uint8)


@pytest.fixture(params=["exact", "near"])
def leaky(request, colours):
    """Return a catalog with splits of its own, and two pictures of test in train once more."""
    images, labels = colours(60)
    again = images[:2] if request.param == "exact" else darker(images[:2])
    splits = ["test"] * 20 + ["train"] * 42
    return ilk.from_arrays([*images, *again], [*labels, *labels[:2]], splits=splits)


def test_pictures_in_two_of_the_data_s_own_splits_stop_a_training(train, leaky, runs):
    with pytest.raises(
        DataError, match="2 pictures of 20 in test are copies of pictures"
    ) as caught:
        train(leaky)
    message = str(caught.value)
    assert "arrays/00 is" in message
    assert "the same as arrays/60 in train" in message
    assert "ilk check" in message
    assert "--allow-leakage" in message
    assert caught.value.exit_code == 3
    assert not runs.exists() or list(runs.iterdir()) == []


def test_a_training_in_spite_of_leakage_warns_of_its_score(train, leaky, caplog):
    run = train(leaky, allow_leakage=True)
    assert run.evaluation.n == 20
    assert "2 pictures of 20 in test are copies of pictures in another split" in caplog.text
    assert "too high" in caplog.text


@pytest.mark.parametrize("copies, stops", [(1, False), (2, True)])
def test_a_few_leaked_pictures_are_left_out_of_the_scores(colours, caplog, copies, stops):
    images, labels = colours(160)
    splits = ["test"] * 100 + ["train"] * (60 + copies)
    data = ilk.from_arrays([*images, *images[:copies]], [*labels, *labels[:copies]], splits=splits)
    if stops:
        with pytest.raises(DataError, match=r"2 pictures of 100 .* more than the 1% of a split"):
            prepare_data(data, recipes.load("probe"), {})
        return
    catalog = prepare_data(data, recipes.load("probe"), {})
    assert (len(catalog.of("test")), len(catalog.of("train"))) == (99, 61)
    [left_out] = catalog.left_out
    assert (left_out.path, left_out.unreadable) == ("arrays/000", False)
    assert left_out.reason == "is the same as arrays/160 in train"
    assert "Left out of the scores, as copies of pictures in another split" in caplog.text
    assert "arrays/000" in caplog.text


def test_groups_in_two_of_the_data_s_own_splits_stop_a_training(colours):
    images, labels = colours(60)
    data = ilk.from_arrays(images, labels, splits=["test"] * 20 + ["train"] * 40)
    patients = [{"patient": f"P{i % 15}"} for i in range(60)]
    rows = zip(data.pictures, patients, strict=True)
    data = replace(data, pictures=tuple(replace(p, columns=row) for p, row in rows))
    message = (
        r"20 pictures of 20 in test are of groups .* \(15 groups\): arrays/00 is of the group P0"
    )
    with pytest.raises(DataError, match=message):
        prepare_data(data, recipes.load("probe", group_by="patient"), {})
    prepare_data(data, recipes.load("probe"), {})
    unsplit = replace(data, pictures=tuple(replace(p, split=None) for p in data.pictures))
    found = prepare_data(unsplit, recipes.load("probe", group_by="patient"), {})
    of = {split: {p.columns["patient"] for p in found.of(split)} for split in ("train", "test")}
    assert of["train"].isdisjoint(of["test"])


def test_copies_land_in_one_split_and_that_is_said(train, colours, caplog):
    images, labels = colours(60)
    run = train(([*images, *darker(images[:30])], [*labels, *labels[:30]]), test_share=0.5)
    split = {p.path: p.split for p in run.catalog.pictures}
    assert all(split[f"arrays/{i:02d}"] == split[f"arrays/{60 + i:02d}"] for i in range(30))
    assert set(split.values()) == {"train", "test"}
    assert "30 pictures are copies or near copies of others" in caplog.text


@pytest.mark.parametrize("changes", [{"epochs": 3}, {"imgsz": -1}, {"mode": "magic"}])
def test_a_wrong_field_is_refused_before_anything_is_made(train, catalog, runs, changes):
    with pytest.raises(UsageError, match=next(iter(changes))):
        train(catalog, **changes)
    assert not runs.exists()


def test_pictures_without_a_label_take_no_part_and_are_named(colours):
    pictures, labels = colours(60)
    catalog = prepare_data((pictures, [None, *labels[1:]]), recipes.load("probe"), {})
    assert len(catalog) == 59
    assert [x.reason for x in catalog.left_out] == ["has no label"]


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_folder_with_the_name_of_a_data_set_comes_before_it(
    train, catalog, tmp_path, monkeypatch, name
):
    write_folder(catalog, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run = train(name)
    assert {p.label for p in run.catalog.pictures} == {"blue", "green", "red"}
    recipe = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    assert recipe["mode"] == "probe"
    assert recipe["allow_leakage"] is False


def test_a_file_with_the_name_of_a_data_set_comes_before_it(train, tmp_path, monkeypatch):
    (tmp_path / "cifar10").write_text("notes")
    monkeypatch.chdir(tmp_path)
    assert recipe_of("cifar10", None, {}).mode == "probe"
    with pytest.raises(UsageError, match="cifar10 is not a folder or a table"):
        train("cifar10")


def test_a_data_set_is_trained_by_the_recipe_of_its_name_unless_another_mode_is_given(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert recipe_of("digits", None, {}) == recipes.load("digits")
    assert recipe_of("digits", None, {"mode": "probe"}) == recipes.load("probe", mode="probe")
    assert recipe_of("digits", "finetune", {}) == recipes.load("finetune")


def test_pictures_without_any_label_are_refused_as_such(train, colours, runs):
    images, _ = colours(60)
    with pytest.raises(DataError, match=r"None of the 60 pictures of arrays has a label") as caught:
        train(ilk.from_arrays(images))
    assert "0 of 0" not in str(caught.value)
    assert not runs.exists() or list(runs.iterdir()) == []


def test_what_scripts_read_in_metrics_json_has_its_names():
    head = HeadFacts(10.0, {"10": 0.3}, 60)
    scores = Scores(loss=0.5, accuracy=0.9, macro_f1=0.8, n=40)
    loop = LoopFacts(3, 2, scores, 1.5, None)
    probe = TrainingFacts("openvino", 2.0, ("few pictures",), head=head)
    assert probe.to_dict() == {
        "engine": "openvino",
        "regularisation": 10.0,
        "cross_validation_log_loss": {"10": 0.3},
        "features_computed": 60,
        "remarks": ["few pictures"],
        "seconds": 2.0,
    }
    finetuned = TrainingFacts("pytorch", loop=loop, choice=Choice("finetune", "it is better", None))
    assert finetuned.to_dict() == {
        "engine": "pytorch",
        "epochs": 3,
        "best_epoch": 2,
        "best": {"loss": 0.5, "accuracy": 0.9, "macro_f1": 0.8, "n": 40},
        "training_seconds": 1.5,
        "astray": None,
        "kept": "finetune",
        "why": "it is better",
        "probe": None,
        "remarks": [],
        "seconds": 0.0,
    }
