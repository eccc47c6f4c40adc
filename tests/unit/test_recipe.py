from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ilk.errors import UsageError
from ilk.recipe import Recipe
from ilk.recipes import load, shipped, validated


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "my.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_loads_by_name_and_by_path(name):
    assert load(name) == load(shipped()[name])


def test_the_shipped_default_is_the_default():
    assert load("probe") == load(None) == Recipe()


def test_a_recipe_loads_as_itself():
    recipe = Recipe(seed=3)
    assert load(recipe) == recipe


def test_a_file_fills_the_fields(file):
    path = file("seed: 7\nmodel: resnet18\nweights: my.pth\nregularisation: 0.5\n")
    recipe = load(path)
    assert recipe == load(str(path))
    assert (recipe.seed, recipe.model, recipe.weights) == (7, "resnet18", Path("my.pth"))
    assert recipe.regularisation == 0.5


def test_an_empty_file_is_the_default(file):
    assert load(file("# nothing\n")) == Recipe()


def test_a_dumped_recipe_spells_out_every_field_and_loads_the_same(file):
    recipe = Recipe(seed=5, weights=Path("größe.pth"), imgsz=96)
    text = recipe.to_yaml()
    assert list(yaml.safe_load(text)) == [f for f in Recipe.model_fields if recipe.applies(f)]
    assert load(file(text)) == recipe


def test_an_unknown_key_is_refused_with_a_hint():
    with pytest.raises(UsageError, match=r"Unknown key 'sede' in the recipe\. Did you mean 'seed'"):
        validated({"sede": 1})


def test_an_unknown_key_unlike_any_is_refused_without_a_hint(file):
    with pytest.raises(UsageError) as caught:
        load(file("zzzzzz: 1"))
    assert "Did you mean" not in str(caught.value)
    assert "my.yaml" in str(caught.value)
    assert "batch" in str(caught.value)


def test_a_key_that_is_no_text_is_refused():
    with pytest.raises(UsageError, match="Unknown key '1'"):
        validated({1: 2})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mode", "magic"),
        ("imgsz", 7),
        ("imgsz", 5000),
        ("imgsz", 64.5),
        ("resize", "stretch"),
        ("regularisation", 0),
        ("regularisation", float("inf")),
        ("val_share", 1),
        ("test_share", -0.1),
        ("test_share", float("nan")),
        ("seed", -1),
        ("seed", 2**32),
        ("max_unreadable", 1.1),
        ("device", "cuda:x"),
        ("device", "cpu "),
        ("batch", 0),
        ("batch", "many"),
        ("workers", 0),
        ("model", None),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(key, value):
    with pytest.raises(UsageError, match=f"In the recipe: {key} = "):
        validated({key: value})


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_devices_that_are_allowed(device):
    assert validated({"device": device}).device == device


def test_changes_go_over_what_the_file_says(file):
    path = file("seed: 7\nbatch: 8")
    assert load(path, batch=4) == Recipe(seed=7, batch=4)
    assert load(path).batch == 8
    with pytest.raises(UsageError, match="batch = 0"):
        load(path, batch=0)
    with pytest.raises(UsageError, match="Did you mean 'batch'"):
        load(path, bacth=4)


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: b: c", "is not YAML"),
        ("seed: [1", "is not YAML"),
        ("model: 2020-13-45", "is not YAML"),
        ("[" * 2000, "is not YAML"),
        ("!!python/object/apply:os.system [ls]", "is not YAML"),
        ("- seed", "holds a list"),
        ("seed", "holds a str"),
        (b"\xff\xfe\x00", "No recipe"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(file, content, message):
    with pytest.raises(UsageError, match=message) as caught:
        load(file(content))
    assert "\n" not in str(caught.value)
    assert "my.yaml" in str(caught.value)


@pytest.mark.parametrize("source", ["nonesuch", ".", "nul\0byte"])
def test_a_recipe_that_is_not_there_is_refused(source):
    with pytest.raises(UsageError):
        load(source)


def test_the_message_for_a_missing_recipe_names_those_shipped():
    with pytest.raises(UsageError, match=r"Shipped: .*probe"):
        load("nonesuch")


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(UsageError, match="leave nothing to train on"):
        load(None, val_share=0.5, test_share=0.5)
