"""Every recipe that comes with ilk, run on a few digits."""

from __future__ import annotations

import csv
import functools
import json

import pytest
from safetensors.torch import save_file

import ilk
from ilk.models.backbones import create
from ilk.recipes import shipped

QUICK = {"epochs": 2, "imgsz": 32, "batch": 16}


@pytest.fixture(scope="module")
def few(digits):
    images, labels = digits
    return images[::5], labels[::5]


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory):
    """Weights for the case study's backbone, of which no package is to be had: random ones."""
    file = tmp_path_factory.mktemp("weights") / "resnet50.safetensors"
    save_file(create("resnet50", classes=1000).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def run_of(few, shared_cache, tmp_path_factory, request):
    """Return ``run_of(name)``: a short training by a recipe, once."""
    assert shared_cache
    folder = tmp_path_factory.mktemp("runs")

    @functools.cache
    def train(name):
        changes = {} if name == "probe" else dict(QUICK)
        if name == "case-study":
            changes |= {"weights": request.getfixturevalue("resnet50"), "epochs": 1}
        return ilk.train(few, name, runs=folder, seed=1, **changes)

    return train


def quick_ones():
    """Return all recipes as parameters; that of a large backbone is slow."""
    return [pytest.param(n, marks=pytest.mark.slow) if n == "case-study" else n for n in shipped()]


@pytest.mark.parametrize("name", quick_ones())
def test_a_shipped_recipe_trains_and_its_model_can_be_used(name, few, run_of):
    run = run_of(name)
    record = json.loads((run.folder / "metrics.json").read_text())
    assert record["n"] == len(run.catalog.of("test")) > 0
    if name != "probe":
        with (run.folder / "history.csv").open() as file:
            epochs = [row["epoch"] for row in csv.DictReader(file)]
        assert epochs == (["1"] if name == "case-study" else ["1", "2"])
        assert (run.folder / "plots" / "curves.png").is_file()
        assert not list((run.folder / "checkpoints").glob("step-*.safetensors"))
    classifier = ilk.load(run.model, engine="pytorch")
    assert set(classifier.predict(few[0][:3]).labels) <= set(few[1])
    again = ilk.evaluate(classifier, run.catalog, split="test")
    assert again.accuracy.value == pytest.approx(run.evaluation.accuracy.value)


def test_finetune_says_which_it_kept_and_why(run_of):
    facts = run_of("finetune").metrics["training"]
    assert facts["kept"] in {"probe", "finetune"}
    better = facts["best"]["accuracy"] > facts["probe"]["accuracy"]
    if facts["best"]["accuracy"] != facts["probe"]["accuracy"]:
        assert (facts["kept"] == "finetune") == better
    assert f"on {facts['probe']['n']} held-out pictures" in facts["why"]


def test_a_budget_takes_the_place_of_epochs(few, tmp_path):
    run = ilk.train(few, "scratch", runs=tmp_path, budget="1s", imgsz=16, batch=16)
    with (run.folder / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == run.facts.loop.epochs >= 1


def test_the_rate_that_is_found_lies_where_the_loss_falls(few, tmp_path):
    found, folder = ilk.find_rate(few, "guide", imgsz=32, batch=16, runs=tmp_path)
    assert found.suggestion is not None
    assert (
        found.losses[
            found.rates.index(min(found.rates, key=lambda r: abs(r - 10 * found.suggestion)))
        ]
        < found.losses[0]
    )
    assert (folder / "plots" / "lr_find.png").is_file()
