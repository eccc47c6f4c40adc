"""What a training takes from a model that ilk trained before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import ilk
from ilk import engines, recipes
from ilk.engines import prepare
from ilk.errors import IlkError, ModelError, UsageError
from ilk.formats import FORMATS
from ilk.models.bundle import HEAD_BIAS, HEAD_WEIGHT, Bundle
from ilk.models.network import build, bundle_of
from ilk.models.smallnet import smallnet
from ilk.recipe import Recipe
from ilk.spec import Preprocess
from ilk.training.head import solve
from ilk.training.initial_weights import with_new_head
from ilk.training.starting_model import head_rows, settings_of, warnings_of_start
from ilk.training.train import recipe_of

pytestmark = pytest.mark.usefixtures("quick_plots")


@pytest.fixture
def model(bundle, tmp_path):
    """A model for cat, dog and eel, in a run folder: a resnet18 at 8 pixels."""
    folder = tmp_path / "runs" / "before"
    folder.mkdir(parents=True)
    bundle.save(folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("part", ["", "model.safetensors"])
def test_backbone_and_preprocessing_follow_the_model(model, part):
    recipe = recipe_of("photos", None, {"weights": model / part})
    assert (recipe.model, recipe.imgsz, recipe.resize) == ("resnet18", 8, "squash")
    assert recipe.weights == model / "model.safetensors"


def test_what_is_given_comes_before_the_model(model, tmp_path):
    changes = {"weights": model, "model": "resnet18", "imgsz": 64, "resize": "pad"}
    recipe = recipe_of("photos", None, changes)
    assert (recipe.imgsz, recipe.resize) == (64, "pad")
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"weights: {model}\nimgsz: 16\n")
    assert recipe_of("photos", mine, {}).imgsz == 16
    assert recipe_of("photos", Recipe(weights=model, resize="crop"), {}).resize == "crop"


def test_another_architecture_is_refused_with_both_names(model, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("model: resnet50\n")
    for source, changes in ((None, {"model": "resnet50"}), (mine, {})):
        with pytest.raises(UsageError, match=r"is a resnet18.*resnet50.*Drop --model"):
            recipe_of("photos", source, {"weights": model, **changes})


def test_a_shipped_recipe_follows_the_model(model):
    assert recipe_of("photos", "finetune", {"weights": model}).model == "resnet18"


@pytest.mark.parametrize("extension", sorted({form.extension for form in FORMATS} - {""}))
def test_exported_files_are_refused(tmp_path, extension):
    file = tmp_path / f"model{extension}"
    file.write_bytes(b"anything")
    with pytest.raises(UsageError, match=r"exported file.*Give the model.safetensors"):
        settings_of(file, Recipe(), {})


@pytest.mark.parametrize("file", ["model.xml", "model.onnx"])
def test_exported_folders_are_refused(tmp_path, file):
    (tmp_path / file).write_bytes(b"anything")
    with pytest.raises(UsageError, match=r"exported file.*Give the model.safetensors"):
        settings_of(tmp_path, Recipe(), {})


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"without a model.safetensors. Give a run folder"):
        settings_of(tmp_path, Recipe(), {})


@pytest.mark.parametrize("cut", [10, 500, -1])
def test_a_damaged_model_is_refused(model, cut, colours, monkeypatch):
    def prepare_in_subprocess(job, _processes=None, _bundle=None):
        return prepare.prepare_here(job)  # spares a process that imports torch

    monkeypatch.setattr(engines, "prepare_in_subprocess", prepare_in_subprocess)
    file = model / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:cut] if cut > 0 else data[:-8] + bytes(8))
    with pytest.raises(IlkError, match=r"model\.safetensors"):
        ilk.train(colours(12), weights=model, runs=model.parent)


def test_a_class_that_is_added_later_starts_from_the_others(
    fake_backbone, colours, tmp_path, caplog
):
    caplog.set_level("INFO", "ilk")
    images, labels = colours(60)
    two = [i for i, label in enumerate(labels) if label != "green"]
    first = ilk.train((images[two], [labels[i] for i in two]), runs=tmp_path, imgsz=8)
    second = ilk.train((images, labels), runs=tmp_path, weights=str(first.folder))
    assert (
        f"Starting from {first.model}: backbone resnet18, head rows for 2 of 3 classes (new: green)"
        in caplog.messages
    )
    assert second.catalog.classes == ("blue", "green", "red")
    assert fake_backbone.pictures


def test_rows_are_matched_by_name_and_new_classes_get_the_mean(bundle):
    rows = head_rows(bundle, ("eel", "fox", "cat"))
    weight = bundle.tensors[HEAD_WEIGHT]
    assert rows.known.tolist() == [True, False, True]
    np.testing.assert_array_equal(rows.weight[[0, 2]], weight[[2, 0]])
    np.testing.assert_allclose(rows.weight[1], weight[[0, 2]].mean(axis=0), rtol=1e-6)
    assert rows.bias.shape == (3,)
    assert head_rows(bundle, ("fox", "gnu")) is None


def test_the_loop_takes_the_rows_of_known_classes(bare_bundle, model):
    recipe = recipe_of("photos", "guide", {"weights": model})
    start = with_new_head(bare_bundle, ("dog", "fox"), recipe)
    own = with_new_head(bare_bundle, ("dog", "fox"), recipes.load("guide"))
    before = Bundle.load(model / "model.safetensors")
    np.testing.assert_array_equal(start.tensors[HEAD_WEIGHT][0], before.tensors[HEAD_WEIGHT][1])
    assert start.tensors[HEAD_BIAS][0] == before.tensors[HEAD_BIAS][1]
    np.testing.assert_array_equal(start.tensors[HEAD_WEIGHT][1], own.tensors[HEAD_WEIGHT][1])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_is_the_same_wherever_its_solution_starts(classes):
    rng = np.random.default_rng(0)
    targets = np.arange(60) % classes
    features = rng.normal(size=(60, 5)).astype(np.float32) + targets[:, None]
    start = (*(rng.normal(size=s).astype(np.float32) for s in ((classes, 5), classes)), None)
    one, other = solve(features, targets), solve(features, targets, start=start)
    assert one.strength == other.strength
    gap = (features @ (one.weight - other.weight).T) + one.bias - other.bias
    gap -= gap.mean(axis=1, keepdims=True)
    assert np.abs(gap).max() < 0.02


def test_the_backbone_is_taken_with_its_own_normalisation(bundle, tmp_path):
    spec = bundle.spec
    backbone = spec.backbone.model_copy(
        update={"name": "smallnet", "features": 256, "mean": (0.1, 0.2, 0.3)}
    )
    trained = bundle_of(smallnet().eval(), spec.model_copy(update={"backbone": backbone}))
    head = {HEAD_WEIGHT: np.zeros((3, 256), np.float32), HEAD_BIAS: np.zeros(3, np.float32)}
    file = tmp_path / "model.safetensors"
    replace(trained, tensors={**trained.tensors, **head}).save(file)
    size = Preprocess(imgsz=32)
    job = prepare.PrepareJob(
        str(tmp_path / "cached.safetensors"), False, "smallnet", str(file), size.model_dump_json()
    )
    found = prepare.prepare_here(job)
    assert found.spec.backbone.mean == (0.1, 0.2, 0.3)
    assert found.spec.classes == ()
    assert found.tensors.keys() == trained.tensors.keys()
    assert build(found).head is None


@pytest.mark.parametrize(("mode", "before", "warned"), [
    ("probe", "probe", False), ("probe", "finetune", True), ("finetune", "probe", True),
])  # fmt: skip
def test_scores_on_pictures_that_the_model_has_learned_from_are_warned_of(
    bundle, catalog, mode, before, warned
):
    spec = bundle.spec.model_copy(update={"provenance": {"recipe": {"mode": before}}})
    pictures = tuple(
        replace(p, split="test" if i % 2 else "train", digest=f"{i:032x}"[::-1])
        for i, p in enumerate(catalog.pictures)
    )
    known = {p.digest: "train" for p in pictures[:5]}
    model = replace(bundle, spec=spec).with_seen(known)
    found = warnings_of_start(
        model, "runs/before", Recipe(mode=mode), replace(catalog, pictures=pictures)
    )
    assert len(found) == warned
    if warned:
        assert "2 of the 30 pictures that are scored were in the training" in found[0]
