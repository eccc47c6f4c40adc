"""``ilk export`` and ``ilk benchmark`` as people type them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from weights import random_weights


@pytest.fixture(scope="module")
def trained(ilk, pictures, tmp_path_factory):
    """A run of a network that is quick to convert."""
    folder = tmp_path_factory.mktemp("trained")
    ilk("train", pictures, "--model", "test_efficientnet", "--weights", random_weights(folder),
        "--imgsz", "64", "--runs", folder, "--name", "small")  # fmt: skip
    return SimpleNamespace(run=folder / "small", model=folder / "small" / "model.safetensors")


@pytest.fixture(scope="module")
def exported(ilk, trained, tmp_path_factory):
    """A receipt, and the file that it is of."""
    target = tmp_path_factory.mktemp("out") / "colours.onnx"
    done = ilk("export", trained.run, "--format", "onnx", "--output", target, "--json")
    return json.loads(done.stdout), target


def test_a_file_comes_with_its_receipt(exported):
    receipt, target = exported
    assert receipt["executed"]
    assert receipt["path"] == str(target)
    assert receipt["top1_agreement"]["value"] == 1
    assert receipt["max_probability_difference"] < 1e-3
    assert receipt["from_jpeg"]["top1_agreement"]["value"] == 1
    assert receipt["from_jpeg"]["max_probability_difference"] < 1e-3
    assert receipt["options"] == {}
    assert json.loads(target.with_name("colours.onnx.receipt.json").read_text()) == receipt


def test_an_exported_file_is_a_model_like_any_other(ilk, exported, trained, pictures, tmp_path):
    _, target = exported
    ours, theirs = (
        [json.loads(line) for line in
         ilk("predict", model, pictures, "--json", cwd=tmp_path).stdout.splitlines()]
        for model in (trained.model, target)
    )  # fmt: skip
    for a, b in zip(ours, theirs, strict=True):
        assert (a["label"], a["unknown"]) == (b["label"], b["unknown"])
        assert a["probability"] == pytest.approx(b["probability"], abs=0.02)  # bf16 against float32
    scores = json.loads(ilk("evaluate", target, pictures, "--json", cwd=tmp_path).stdout)
    assert (scores["scored_on"], scores["n"]) == ("the test split", 6)
    told = ilk("compare", trained.model, target, pictures, cwd=tmp_path).stdout
    assert "No significant difference" in told


def test_an_exported_file_cannot_be_explained(refused, exported, pictures, tmp_path):
    said = refused("predict", exported[1], pictures, "--explain", tmp_path / "x", code=2)
    assert "was exported: it can predict, but not be explained" in said


@pytest.mark.slow
def test_models_are_timed_beside_one_another(ilk, exported, trained):
    rows = json.loads(ilk("benchmark", trained.run, exported[1], "--engine", "pytorch",
                          "--json").stdout)  # fmt: skip
    assert [row["artefact"] for row in rows] == [str(trained.model), str(exported[1])]
    assert [row["format"] for row in rows] == ["safetensors", "onnx"]
    assert rows[0]["runs_in"].startswith("pytorch")
    assert rows[1]["runs_in"].startswith("onnxruntime")


@pytest.mark.parametrize(
    "words, said",
    [
        (("--format", "onxx"), "No format 'onxx'. Do you mean onnx?"),
        (("--format", "onnx", "--for", "size"), "apply to --format auto only"),
        (("--format", "onnx", "--max-drop", "2"), "max_drop = 2: give a share"),
        (("--format", "onnx", "--output", "m.pte"), "--output m.pte ends in .pte"),
        (("--format", "onnx", "--output", "."), "is a folder with other contents"),
        (("--half",), "--half needs a --format"),
        (("--imgsz", "96"), "--imgsz needs a --format"),
        (("--format", "onnx", "--opset", "7"), "--opset 7: give a number from 18 to 23"),
        (("--format", "openvino", "--half"), "--half does not apply to --format openvino"),
        (("--budget", "soon"), "--budget soon: give a time such as 90s or 2m"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(refused, trained, words, said):
    assert said in refused("export", trained.run, *words, code=2)


def test_an_exported_file_is_not_exported_again(refused, exported):
    assert "was exported already" in refused("export", exported[1], "--format", "torch", code=2)
