"""Training and evaluation from end to end, with a backbone that needs no torch."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import ilk
from ilk import recipes
from ilk.data.catalog import Catalog
from ilk.errors import DataError, OutputError, UsageError
from ilk.evaluation import plots
from ilk.inference import Classifier, Records
from ilk.models.bundle import Bundle
from ilk.training.prepare_data import dealt

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


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def train(fake_backbone, runs):
    assert fake_backbone

    def call(data, **options):
        return ilk.train(data, **{"runs": runs, "imgsz": 8, **options})

    return call


@pytest.fixture(autouse=True)
def quick_plots(monkeypatch):
    """Spare each run half a second of drawing."""

    def draw(_, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PNG")

    monkeypatch.setattr(plots, "confusion_heatmap", draw)


@pytest.fixture
def loaded(as_engine):
    def call(run):
        bundle = Bundle.load(run.model)
        return Classifier(bundle.spec, as_engine(bundle), str(run.model), Records.of(bundle))

    return call


@pytest.fixture
def folder(catalog, tmp_path):
    root = tmp_path / "photos"
    for i, picture in enumerate(catalog.pictures):
        file = root / picture.label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.content).save(file)
    return root


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


@pytest.mark.parametrize("source", ["arrays", "folder", "train folder"])
def test_evaluation_reproduces_the_training_s_own_score(
    train, loaded, folder, colours, tmp_path, source
):
    if source == "train folder":
        (tmp_path / "split").mkdir()
        folder = folder.rename(tmp_path / "split" / "train").parent
    data = colours(60) if source == "arrays" else folder
    run = train(data)
    again = ilk.evaluate(loaded(run), data)
    assert again.split == run.evaluation.split == "test"
    assert again.n == run.evaluation.n == 15
    np.testing.assert_array_equal(again.confusion, run.evaluation.confusion)
    assert again.accuracy == run.evaluation.accuracy
    assert again.macro_f1 == run.evaluation.macro_f1


def test_each_split_can_be_scored(train, loaded, colours):
    data = colours(60)
    classifier = loaded(train(data, val_share=0.2))
    sizes = {s: ilk.evaluate(classifier, data, split=s).n for s in ("train", "val", "test", "all")}
    assert sizes == {"train": 33, "val": 12, "test": 15, "all": 60}
    with pytest.raises(UsageError, match="No split 'holdout'; give one of train, val, test, all"):
        ilk.evaluate(classifier, data, split="holdout")


def test_other_data_is_scored_whole_by_default(train, loaded, colours, caplog):
    classifier = loaded(train(colours(60)))
    found = ilk.evaluate(classifier, colours(30, seed=9))
    assert (found.n, found.split) == (30, None)
    assert caplog.text == ""
    with pytest.raises(DataError, match="no pictures of the split 'test'"):
        ilk.evaluate(classifier, colours(30, seed=9), split="test")


def test_a_val_split_that_chose_is_not_scored_beside_test(train, loaded, colours):
    images, labels = colours(60)
    classifier = loaded(train((images, labels), val_share=0.2))
    more, more_labels = colours(3, seed=9)
    found = ilk.evaluate(classifier, ([*images, *more], [*labels, *more_labels]))
    assert found.n == 15 + 3


def test_pictures_that_either_model_learned_from_are_not_compared(train, loaded, colours):
    images, labels = colours(60)
    one = loaded(train((images, labels), name="one"))
    other = loaded(train((images, labels), name="other", seed=5))
    data = ilk.from_arrays(images, labels, splits=["test"] * 60)
    found = ilk.compare(one, other, data)
    assert 0 < found.overall.difference.n < 15
    assert "that neither has learned from" in found.a.scored_on
    turned = ilk.compare(other, one, data)
    assert turned.overall.difference.n == found.overall.difference.n
    pictures = ilk.from_arrays(images, labels).digested().pictures
    learned = [i for i, p in enumerate(pictures) if one.records.seen(p.digest) == "train"]
    with pytest.raises(DataError, match="One of the two has learned from each picture"):
        ilk.compare(one, other, ([images[i] for i in learned], [labels[i] for i in learned]))


def test_pictures_that_the_training_learned_from_are_never_scored_unasked(
    train, loaded, colours, caplog
):
    images, labels = colours(60)
    classifier = loaded(train((images, labels)))
    more, more_labels = colours(30, seed=9)
    grown = ([*images, *more], [*labels, *more_labels])
    found = ilk.evaluate(classifier, grown)
    assert (found.n, found.split) == (15 + 30, None)
    assert "Left out 45 pictures that were in the training" in caplog.text
    ilk.evaluate(classifier, grown, split="train")
    assert "45 of these 45 pictures were in the training" in caplog.text


def test_a_test_split_that_leaked_into_the_training_is_said(train, loaded, colours, caplog):
    images, labels = colours(60)
    classifier = loaded(train((images, labels)))
    data = ilk.from_arrays(images, labels, splits=["train"] * 30 + ["test"] * 30)
    ilk.evaluate(classifier, data)
    assert "of these 30 pictures were in the training: the score flatters" in caplog.text


def test_data_that_brings_its_splits_keeps_them(train, loaded, colours):
    images, labels = colours(60)
    splits = ["train"] * 40 + ["val"] * 20
    data = ilk.from_arrays(images, labels, splits=splits)
    run = train(data)
    classifier = loaded(run)
    assert run.evaluation.split == "val"
    assert run.evaluation.n == ilk.evaluate(classifier, data).n == 20
    with pytest.raises(DataError, match="no pictures of the split 'test'; its own splits: t"):
        ilk.evaluate(classifier, data, split="test")


def test_unknown_and_missing_classes_are_told(train, loaded, colours):
    classifier = loaded(train(colours(60)))
    images, labels = colours(30, seed=9)
    renamed = [{"red": "violet", "green": "green", "blue": "blue"}[label] for label in labels]
    found = ilk.evaluate(classifier, (images, renamed))
    assert found.unknown == {"violet": 10}
    assert found.missing == ("red",)
    assert found.n == 20
    with pytest.raises(DataError, match="matched by name"):
        ilk.evaluate(classifier, (images, ["violet"] * 30))


def test_unreadable_files_are_left_out_and_listed(train, loaded, folder):
    (folder / "red" / "broken.png").write_bytes(b"not a picture")
    (folder / "red" / "notes.txt").write_text("hello")
    run = train(folder)
    reasons = {Path(x.path).name: x.reason for x in run.catalog.left_out}
    assert set(reasons) == {"broken.png", "notes.txt"}
    with (run.folder / "catalog.csv").open(newline="") as file:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(file)}
    assert len(rows) == 62
    assert rows["broken.png"]["left_out"] == reasons["broken.png"]
    assert rows["notes.txt"]["left_out"] == reasons["notes.txt"]
    assert sum(not row["left_out"] for row in rows.values()) == 60
    again = ilk.evaluate(loaded(run), folder, max_unreadable=0.5)
    np.testing.assert_array_equal(again.confusion, run.evaluation.confusion)
    everything = ilk.evaluate(loaded(run), folder, split="all")
    assert everything.n == 60
    assert "broken.png" in str(everything.left_out)


def test_too_many_unreadable_files_stop_the_training_and_leave_nothing(train, folder, runs):
    for i in range(4):
        (folder / "red" / f"broken{i}.png").write_bytes(b"not a picture %d" % i)
    with pytest.raises(DataError, match="max-unreadable"):
        train(folder)
    assert not runs.exists() or list(runs.iterdir()) == []
    assert train(folder, max_unreadable=0.1).folder.name == "train"


def test_no_picture_that_can_be_scored_is_an_error(train, loaded, catalog):
    classifier = loaded(train(catalog))
    junk = Catalog(tuple(p.__class__(p.path, p.label, content=b"x") for p in catalog.pictures))
    with pytest.raises(DataError, match="60 of 60 files"):
        ilk.evaluate(classifier, junk)


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


def test_everything_is_ticked_once(train, loaded, catalog, telling):
    ticks = []
    run = train(catalog, progress=telling(ticks))
    assert sum(ticks) == 60 + 60  # read, and run through the backbone
    ticks.clear()
    ilk.evaluate(loaded(run), catalog, split="all", progress=telling(ticks))
    assert sum(ticks) == 60


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
    with pytest.raises(DataError, match="2 pictures of arrays lie in more than one") as caught:
        train(leaky)
    message = str(caught.value)
    assert "arrays/00 in test is" in message
    assert "same as arrays/60 in train" in message
    assert "ilk check" in message
    assert "--allow-leakage" in message
    assert caught.value.exit_code == 3
    assert not runs.exists() or list(runs.iterdir()) == []


def test_a_training_in_spite_of_leakage_warns_of_its_score(train, leaky, caplog):
    run = train(leaky, allow_leakage=True)
    assert run.evaluation.n == 20
    assert "2 pictures of arrays lie in more than one split" in caplog.text
    assert "flatters" in caplog.text


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
    catalog = dealt((pictures, [None, *labels[1:]]), recipes.load("probe"), {})
    assert len(catalog) == 59
    assert [x.reason for x in catalog.left_out] == ["has no label"]
