"""``ilk evaluate`` with all that can be asked of it, ``compare``, and what ``predict`` says."""

from __future__ import annotations

import csv
import json
import shutil

import pytest


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    """A copy of the model, for a threshold is written into it."""
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    shutil.copy(trained.model, file)
    return file


def metrics(folder, name="evaluate"):
    return json.loads((folder / "runs" / name / "metrics.json").read_text())


def test_probabilities_are_scored_with_intervals(ilk, trained, pictures, tmp_path):
    done = ilk("evaluate", trained.model, pictures, cwd=tmp_path)
    assert "calibration error  " in done.stdout
    found = metrics(tmp_path)
    for name in ("log_loss", "brier"):
        assert set(found[name]) == {"value", "low", "high", "n"}
    assert found["calibration"]["temperature"] > 0
    assert set(found["calibration"]["after"]) == {"expected_calibration_error", "bins"}
    assert set(found["roc_auc"]) == set(found["classes"])
    with (tmp_path / "runs" / "evaluate" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["n"]
    assert set(rows[0]) == {
        *("path", "label", "predicted", "probability", "right", "accepted", "unknown")
    }
    right = sum(row["right"] == "true" for row in rows)
    assert right == round(found["accuracy"]["value"] * found["n"])


def test_a_threshold_is_chosen_stored_and_used(ilk, model, pictures, tmp_path):
    done = ilk("evaluate", model, pictures, "--target-coverage", "0.5", cwd=tmp_path)
    assert f"Stored in {model}: answers are accepted from a probability of 0." in done.stderr
    found = metrics(tmp_path)["abstention"]
    assert 0 < found["value"] < 1
    again = ilk("predict", model, pictures, "--json")
    for line in map(json.loads, again.stdout.splitlines()):
        assert line["accepted"] is (line["probability"] >= round(found["value"], 6)) or (
            abs(line["probability"] - found["value"]) < 1e-5
        )
    text = ilk("predict", model, pictures).stdout
    refused = sum("not accepted: below the threshold" in line for line in text.splitlines())
    assert refused == sum('"accepted": false' in line for line in again.stdout.splitlines())


def test_with_json_too_it_is_said_that_a_threshold_was_stored(ilk, model, pictures, tmp_path):
    done = ilk("evaluate", model, pictures, "--target-coverage", "0.5", "--json", cwd=tmp_path)
    assert f"Stored in {model}: answers are accepted from a probability of 0." in done.stderr
    assert json.loads(done.stdout)["abstention"]["value"] > 0


def test_a_precision_that_cannot_be_shown_is_refused_with_what_it_takes(
    refused, model, pictures, tmp_path
):
    said = refused(
        "evaluate", model, pictures, "--target-precision", "0.9999", code=3, cwd=tmp_path
    )
    assert "No threshold shows a precision of 0.9999" in said
    assert "Give a lower --target-precision, or train on more pictures." in said
    assert not (tmp_path / "runs").exists()
    for odd in ("0", "1.5", "nan"):
        refused("evaluate", model, pictures, "--target-precision", odd, code=2, cwd=tmp_path)
    both = ("--target-precision", "0.9", "--target-coverage", "0.9")
    refused("evaluate", model, pictures, *both, code=2, cwd=tmp_path)


def test_slices_by_the_columns_of_a_table_and_of_the_pictures(tiny, ilk, trained, tmp_path):
    tiny.folder(tmp_path / "some", 4)
    rows = ["path,label,source"]
    for i, file in enumerate(sorted((tmp_path / "some").rglob("*.png"))):
        rows.append(f"{file},{file.parent.name},{'phone' if i % 2 else 'studio'}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    done = ilk(
        *("evaluate", trained.model, "table.csv", "--slices", "format, folder,", "--split", "all"),
        cwd=tmp_path,
    )
    for name in ("source", "format", "folder"):
        assert f"by {name}, worst first" in done.stdout
    found = metrics(tmp_path)["slices"]
    assert {s["value"] for s in found["source"]} == {"phone", "studio"}
    assert [s["value"] for s in found["format"]] == ["PNG"]
    assert sum(s["accuracy"]["n"] for s in found["folder"]) == len(rows) - 1


def test_a_column_that_is_not_there_is_refused(refused, trained, pictures, tmp_path):
    said = refused("evaluate", trained.model, pictures, "--slices", "lens", code=2, cwd=tmp_path)
    assert "no column 'lens': all pictures have size, shape" in said


def test_corruptions_and_unknown_pictures(tiny, ilk, refused, trained, pictures, tmp_path):
    tiny.folder(tmp_path / "odd", 3)
    said = refused("evaluate", trained.model, pictures, "--unknown", "odd", code=2, cwd=tmp_path)
    assert "cannot detect unknown pictures: too few were held out" in said
    tiny.folder(tmp_path / "many", 14)
    ilk("train", "many", "--name", "many", cwd=tmp_path)
    done = ilk(
        *("evaluate", "runs/many", "many", "--corruptions", "--corrupted", "2"),
        *("--unknown", "odd"),
        cwd=tmp_path,
    )
    assert "corrupted: " in done.stdout
    assert "OOD AUROC          " in done.stdout
    found = metrics(tmp_path)
    assert len(found["corruptions"]["by_corruption"]) == 15
    assert found["corruptions"]["clean"]["n"] == 2
    assert found["unknown_pictures"]["auroc"]["n"] == found["n"] + 6
    assert (tmp_path / "runs" / "evaluate" / "plots" / "corruptions.png").is_file()


def test_predictions_are_explained_by_heat_maps(ilk, model, pictures, tmp_path):
    files = sorted(pictures.rglob("*.png"))[:3]
    done = ilk("predict", model, *files, "--explain", tmp_path / "maps")
    assert len(done.stdout.splitlines()) == 3
    assert "Wrote 3 pictures to " in done.stderr
    assert len(list((tmp_path / "maps").glob("*.jpg"))) == 3


def test_two_models_are_compared(ilk, trained, model, pictures, tmp_path):
    done = ilk("compare", trained.model, model, pictures, cwd=tmp_path)
    assert "No significant difference on " in done.stdout
    assert "McNemar's test: p = 1" in done.stdout
    record = json.loads(ilk("compare", trained.run, model, pictures, "--json").stdout)
    assert record["difference"]["value"] == 0
    assert record["accuracy_a"] == record["accuracy_b"]


def test_models_of_other_classes_are_not_compared(tiny, ilk, refused, trained, pictures, tmp_path):
    tiny.folder(tmp_path / "two", 6, ("red", "blue"))
    ilk("train", "two", "--name", "two", cwd=tmp_path)
    said = refused("compare", trained.model, "runs/two", pictures, code=2, cwd=tmp_path)
    assert "do not have the same classes: only A knows green" in said


def test_one_picture_of_one_class_can_be_scored(tiny, ilk, trained, tmp_path):
    tiny.picture(tmp_path / "one" / "red" / "1.png", tiny.colours["red"])
    ilk("evaluate", trained.model, "one", cwd=tmp_path)
    found = metrics(tmp_path)
    assert found["accuracy"]["n"] == 1
    assert found["accuracy"]["low"] < 0.3
    assert found["roc_auc"] == {}
