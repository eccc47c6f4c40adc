"""Evaluating what was trained, with a backbone that needs no torch."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ilk
from ilk.data.catalog import Catalog
from ilk.errors import DataError, OutputError, UsageError
from ilk.inference.classifier import Classifier
from ilk.inference.records import Records
from ilk.models.bundle import Bundle

pytestmark = pytest.mark.usefixtures("quick_plots")


@pytest.fixture
def train(fake_backbone, tmp_path):
    assert fake_backbone

    def call(data, **options):
        return ilk.train(data, **{"runs": tmp_path / "runs", "imgsz": 8, **options})

    return call


@pytest.fixture
def loaded(as_engine):
    def call(run):
        model = getattr(run, "model", run)
        bundle = Bundle.load(model)
        return Classifier(bundle.spec, as_engine(bundle), str(model), Records.of(bundle))

    return call


@pytest.fixture(scope="module")
def run(train_once, colours):
    """A training on ``colours(60)``; never to be changed."""
    return train_once(colours(60))


@pytest.fixture
def classifier(loaded, run):
    return loaded(run)


@pytest.fixture
def folder(catalog, tmp_path):
    root = tmp_path / "photos"
    for i, picture in enumerate(catalog.pictures):
        file = root / picture.label / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.content).save(file)
    return root


@pytest.mark.parametrize("source", ["arrays", "folder", "train folder"])
def test_evaluation_reproduces_the_score_of_the_training(
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


def test_other_data_is_scored_whole_by_default(classifier, colours, caplog):
    found = ilk.evaluate(classifier, colours(30, seed=9))
    assert (found.n, found.split) == (30, None)
    assert caplog.text == ""
    with pytest.raises(DataError, match="no pictures of the split 'test'"):
        ilk.evaluate(classifier, colours(30, seed=9), split="test")


def test_a_val_split_that_the_model_was_chosen_on_is_not_scored_with_test(train, loaded, colours):
    images, labels = colours(60)
    classifier = loaded(train((images, labels), val_share=0.2))
    more, more_labels = colours(3, seed=9)
    found = ilk.evaluate(classifier, ([*images, *more], [*labels, *more_labels]))
    assert found.n == 15 + 3


def test_models_are_not_compared_on_pictures_that_either_was_trained_on(
    train, classifier, loaded, colours
):
    images, labels = colours(60)
    one, other = classifier, loaded(train((images, labels), seed=5))
    data = ilk.from_arrays(images, labels, splits=["test"] * 60)
    found = ilk.compare(one, other, data)
    assert 0 < found.overall.difference.n < 15
    assert "that are new to both" in found.a.scored_on
    turned = ilk.compare(other, one, data)
    assert turned.overall.difference.n == found.overall.difference.n
    pictures = ilk.from_arrays(images, labels).digested().pictures
    learned = [i for i, p in enumerate(pictures) if one.records.split_of(p.digest) == "train"]
    with pytest.raises(DataError, match="was in the training of one of the two"):
        ilk.compare(one, other, ([images[i] for i in learned], [labels[i] for i in learned]))


def test_training_pictures_are_not_scored_unless_asked_for(classifier, colours, caplog):
    images, labels = colours(60)
    more, more_labels = colours(30, seed=9)
    grown = ([*images, *more], [*labels, *more_labels])
    found = ilk.evaluate(classifier, grown)
    assert (found.n, found.split) == (15 + 30, None)
    assert "Left out 45 pictures that were in the training" in caplog.text
    ilk.evaluate(classifier, grown, split="train")
    assert "trained on 45 of these 45 pictures: the score is optimistic" in caplog.text


def test_a_test_split_that_was_in_the_training_is_warned_of(classifier, colours, caplog):
    images, labels = colours(60)
    data = ilk.from_arrays(images, labels, splits=["train"] * 30 + ["test"] * 30)
    ilk.evaluate(classifier, data)
    assert "of these 30 pictures: the score is optimistic" in caplog.text


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


def test_unknown_and_missing_classes_are_reported(classifier, colours):
    images, labels = colours(30, seed=9)
    renamed = [{"red": "violet", "green": "green", "blue": "blue"}[label] for label in labels]
    found = ilk.evaluate(classifier, (images, renamed))
    assert found.unknown == {"violet": 10}
    assert found.missing == ("red",)
    assert found.n == 20
    with pytest.raises(DataError, match="matched by name"):
        ilk.evaluate(classifier, (images, ["violet"] * 30))


def test_no_picture_that_can_be_scored_is_an_error(classifier, catalog):
    junk = Catalog(tuple(p.__class__(p.path, p.label, content=b"x") for p in catalog.pictures))
    with pytest.raises(DataError, match="60 of 60 files"):
        ilk.evaluate(classifier, junk)


def test_pictures_without_a_label_are_left_out_not_scored(classifier, colours):
    images, labels = colours(30, seed=9)
    found = ilk.evaluate(classifier, (images, [None, *labels[1:]]))
    assert found.n == 29
    assert found.unknown == {}
    assert [x.reason for x in found.left_out] == ["has no label"]
    with pytest.raises(DataError, match="None of the 30 pictures of arrays has a label"):
        ilk.evaluate(classifier, ilk.from_arrays(images))
    with pytest.raises(DataError, match="None of the 30 pictures of arrays has a label"):
        ilk.compare(classifier, classifier, ilk.from_arrays(images))


def test_comparing_on_training_pictures_warns_once(classifier, colours, caplog):
    data = colours(60)
    ilk.compare(classifier, classifier, data, split="all")
    assert caplog.text.count("the score is optimistic") == 1


def test_an_evaluation_writes_its_report_to_a_numbered_folder(classifier, colours, tmp_path):
    data = colours(60)
    assert ilk.evaluate(classifier, data).folder is None
    runs = tmp_path / "evaluations"
    found = ilk.evaluate(classifier, data, runs=runs, explain=False)
    assert found.folder == runs / "evaluate"
    assert sorted(path.name for path in found.folder.iterdir()) == [
        *("metrics.json", "plots", "predictions.csv", "report.html")
    ]
    assert json.loads((found.folder / "metrics.json").read_text()) == json.loads(
        json.dumps(found.to_dict())
    )
    again = ilk.evaluate(classifier, data, runs=runs, explain=False)
    assert again.folder == runs / "evaluate-2"
    with pytest.raises(OutputError, match="already"):
        ilk.evaluate(classifier, data, runs=runs, name="evaluate")
    with pytest.raises(UsageError, match="does not apply without runs"):
        ilk.evaluate(classifier, data, name="evaluate")
    with pytest.raises(UsageError, match="exist_ok does not apply without runs"):
        ilk.evaluate(classifier, data, exist_ok=True)


def test_an_evaluation_decodes_with_the_given_number_of_threads(
    classifier, colours, tmp_path, monkeypatch
):
    pictures, labels = colours(60)
    told = []
    monkeypatch.setattr(
        "ilk.evaluation.explain.explain", lambda *_, workers: told.append(workers) or []
    )
    wrong = (pictures, [*labels[1:], labels[0]])
    ilk.evaluate(classifier, wrong, runs=tmp_path / "runs", split="all", workers=3)
    assert told == [3]


def test_explaining_leaves_no_thread_if_it_fails_or_is_not_begun(
    classifier, colours, monkeypatch, no_decoders
):
    pictures, labels = colours(60)
    monkeypatch.setattr("ilk.evaluation.explain.Explainer", lambda _: None)
    found = ilk.explain(classifier, pictures, labels)
    assert no_decoders()
    with pytest.raises(AttributeError) as caught:
        next(found)
    assert no_decoders()
    del caught


def test_a_failed_evaluation_leaves_no_folder(classifier, colours, tmp_path):
    with pytest.raises(DataError):
        ilk.evaluate(classifier, colours(9, seed=9), split="test", runs=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_target_coverage_chooses_uses_and_stores_a_threshold(run, loaded, colours, tmp_path):
    data = colours(60)
    mine, other = (shutil.copytree(run.folder, tmp_path / name) for name in ("mine", "other"))
    model = mine / "model.safetensors"
    found = ilk.evaluate(loaded(model), data, target_coverage=0.5)
    assert Bundle.load(model).spec.thresholds == {"accept": found.abstention.value}
    assert Bundle.load(other / "model.safetensors").spec.thresholds == {}
    threshold = ilk.choose_threshold(loaded(model), target_coverage=0.5)
    assert threshold.value == found.abstention.value


def test_a_table_s_remarks_of_a_check_are_not_sliced_by(train, loaded, folder, tmp_path):
    classifier = loaded(train(folder))
    table = ["path,label,suspect,why,site"]
    for i, file in enumerate(sorted(folder.rglob("*.png"))):
        suspect = "outlier,far" if i % 5 == 0 else ","
        table.append(f"{file},{file.parent.name},{suspect},{'ab'[i % 2]}")
    (tmp_path / "table.csv").write_text("\n".join(table))
    found = ilk.evaluate(classifier, tmp_path / "table.csv", split="all")
    assert set(found.slices) == {"site"}


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


def test_progress_counts_every_picture_once(train, loaded, catalog, telling):
    ticks = []
    run = train(catalog, progress=telling(ticks))
    assert sum(ticks) == 60 + 60  # read, and run through the backbone
    ticks.clear()
    ilk.evaluate(loaded(run), catalog, split="all", progress=telling(ticks))
    assert sum(ticks) == 60 + 60  # read, to find copies, and scored
