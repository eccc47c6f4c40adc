from pathlib import Path
from typing import Annotated

import pytest
import yaml
from cyclopts import App, Parameter

from ilk.cli.flags import grouped_flags
from ilk.errors import UsageError
from ilk.recipe import Recipe, seconds_of
from ilk.recipes import DEFAULT_LRS, load, shipped, summary, validated

MODES = ("probe", "finetune", "scratch", "guide")
LOOP = MODES[1:]
LIMITED = [field for field in Recipe.model_fields if Recipe.modes_of(field)]


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


def test_the_old_name_of_a_field_is_accepted(file):
    expected = load("scratch", tta_views="mirror")
    assert load("scratch", views="mirror") == expected
    assert load(file("mode: scratch\nviews: mirror\n")) == expected
    assert load(Recipe(mode="scratch", views="mirror")) == expected
    assert load(file("mode: scratch\nviews: one\n"), tta_views="mirror") == expected
    assert "tta_views: mirror" in expected.to_yaml()


@pytest.mark.parametrize("flag", ["--tta-views", "--views"])
def test_the_old_name_of_a_flag_is_accepted_and_hidden(flag, capsys):
    given = []
    app = App(name="train")

    @app.default
    def train(*, flags: Annotated[grouped_flags(), Parameter(name="*")] = None):
        given.append(flags.model_dump(exclude_unset=True))

    app([flag, "mirror"], result_action="return_value")
    assert given == [{"tta_views": "mirror"}]
    app.help_print([])
    help_page = capsys.readouterr().out
    assert "--tta-views" in help_page
    assert "--views" not in help_page


def test_a_recipe_file_comes_before_the_shipped_recipe_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "finetune").write_text("mode: scratch\nseed: 5\n")
    (tmp_path / "probe").write_text("not a recipe")
    (tmp_path / "digits").mkdir()  # pictures, not a recipe
    shipped_digits = load("digits")
    monkeypatch.chdir(tmp_path)
    assert load("finetune") == load("scratch", seed=5)
    assert load(mode="finetune").seed == 0
    assert load() == Recipe()
    assert load("digits") == shipped_digits
    with pytest.raises(UsageError, match="contains a str, not a table"):
        load("probe")
    with pytest.raises(UsageError, match="No recipe 'guide'"):
        load(Path("guide"))  # a path is never a name


def test_an_empty_file_is_refused(file):
    with pytest.raises(UsageError, match=r"my\.yaml is empty"):
        load(file("# nothing\n"))


def test_a_file_without_a_mode_is_refused_with_the_default(file):
    with pytest.raises(UsageError) as error:
        load(file("epochs: 3\n"))
    assert str(error.value) == (
        "'epochs' does not apply to --mode probe, only to finetune, scratch, guide. "
        "The default mode is probe: give another, such as --mode finetune."
    )


def test_what_a_file_leaves_to_its_default_may_stand_under_another_mode(file):
    path = file("mode: finetune\nregularisation: null\n")
    assert load(path, mode="scratch").mode == "scratch"


def test_a_bare_no_of_yaml_is_explained(file):
    with pytest.raises(UsageError, match="write none"):
        load(file("mode: guide\nfreeze: no\n"))


def test_rates_go_by_full_names_as_the_command_line_gives_them():
    given = {"head": "10", "stage1": {"norm*": {"bias": "2"}}}
    assert load("scratch", rates=given).rates == {"head": 10.0, "stage1.norm*.bias": 2.0}


def test_the_guide_without_freezing_is_its_case_study():
    study = load("case-study")
    assert load("guide", freeze="none") == load(mode="guide", freeze="none") == study


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
        ("- seed", "contains a list"),
        ("seed", "contains a str"),
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


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_brings_the_shipped_recipe_of_its_name(file, mode):
    recipe = load(mode=mode)
    assert recipe.mode == mode
    assert recipe == load(mode) == load(Recipe(mode=mode)) == load(file(f"mode: {mode}"))
    for field, value in yaml.safe_load(shipped()[mode].read_text()).items():
        assert getattr(recipe, field) == value


def test_what_a_recipe_does_not_say_comes_from_its_mode(file):
    recipe = load(file("mode: scratch\nepochs: 3"), seed=4)
    assert recipe == load(mode="scratch", epochs=3, seed=4)
    assert recipe.optimizer == load("scratch").optimizer == "muon"
    assert load(Recipe(mode="finetune", epochs=3)).ema == load("finetune").ema


def test_a_mode_given_over_a_recipe_brings_its_own_base():
    assert load("probe", mode="finetune") == load("finetune")
    with pytest.raises(UsageError, match="'epochs' does not apply to --mode probe"):
        load("finetune", mode="probe")


@pytest.mark.parametrize("name", ["cifar10", "digits"])
def test_a_recipe_of_a_data_set_is_its_mode_but_for_what_it_says(name):
    own = yaml.safe_load(shipped()[name].read_text())
    assert load(name) == load(**own)
    found, base = dict(load(name)), dict(load("scratch"))
    assert {field for field in base if found[field] != base[field]} <= set(own)


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_comes_back_from_its_yaml(file, name):
    recipe = load(name)
    again = load(file(recipe.to_yaml()))
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "finetune", "budget": "1h30m"},
        {"mode": "finetune", "optimizer": "muon", "rates": {"head": 3.0}},
        {"mode": "guide", "freeze": "none", "model": "resnet18"},
        {"mode": "guide", "freeze": "layer2", "unfreeze_every": 2},
        {"mode": "scratch", "flip": 0.0, "augment": "none", "model": "resnet18"},
        {"mode": "scratch", "optimizer": "adamw", "schedule": "step"},
        {"mode": "guide", "schedule": "cosine", "optimizer": "adamw"},
        {"mode": "probe", "regularisation": 0.5, "weights": "größe.pth"},
    ],
)
def test_what_ran_can_be_run_again_from_its_yaml(file, changes):
    """Also where what comes from the base no longer applies: it was not asked for."""
    recipe = load(**changes)
    assert load(file(recipe.to_yaml())) == recipe


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_sets_nothing_that_does_not_apply(name):
    recipe = load(name)
    for field, about in Recipe.model_fields.items():
        if not recipe.applies(field):
            assert getattr(recipe, field) == about.default


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_says_in_a_line_what_it_is(name):
    line = summary(shipped()[name])
    assert 20 < len(line) < 90
    assert line.endswith(".")


@pytest.mark.parametrize("field", LIMITED)
def test_a_field_that_does_not_apply_to_the_mode_is_refused_also_with_its_default(field):
    """Never ignored: whoever gives it believes that it does something."""
    allowed = Recipe.modes_of(field)
    default = Recipe.model_fields[field].default
    for mode in set(MODES) - set(allowed):
        flag = "--" + field.replace("_", "-")
        with pytest.raises(UsageError) as caught:
            load(mode=mode, **{field: default})
        assert f"{flag} does not apply to --mode {mode}, only to {', '.join(allowed)}." == str(
            caught.value
        )


def test_fields_for_all_modes_apply_to_all():
    for mode in MODES:
        recipe = load(mode=mode, seed=3, batch=8, class_weights="balanced", device="cpu")
        assert (recipe.seed, recipe.batch) == (3, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mode": "probe", "precision": "fp16"},
            "--precision does not apply to",
        ),
        ({"mode": "finetune", "momentum": 0.5}, "--momentum does not apply with --optimizer adamw"),
        (
            {"mode": "finetune", "step_every": 3},
            "--step-every does not apply without",
        ),
        (
            {"mode": "scratch", "step_factor": 0.1},
            "--step-factor does not apply without",
        ),
        (
            {"mode": "finetune", "unfreeze_every": 2},
            "--unfreeze-every does not apply with",
        ),
        (
            {"mode": "guide", "layer_decay": 0.5},
            "--layer-decay does not apply with",
        ),
        (
            {"mode": "finetune", "flip": 0, "alternate": True},
            "--alternate does not apply with",
        ),
        ({"mode": "finetune", "augment": "none", "strength": 2}, "--strength does not apply with"),
        (
            {"mode": "finetune", "imgsz": 64, "imgsz_from": 64},
            "--imgsz-from does not apply",
        ),
    ],
)
def test_a_setting_that_another_one_makes_idle_is_refused(changes, message):
    with pytest.raises(UsageError) as caught:
        load(**changes)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "finetune", "precision": "fp16"},
        {"mode": "finetune", "momentum": 0.5, "optimizer": "sgd"},
        {"mode": "finetune", "step_every": 3, "step_factor": 0.1, "schedule": "step"},
        {"mode": "finetune", "unfreeze_every": 2, "freeze": "backbone"},
        {"mode": "guide", "layer_decay": 0.5, "unfreeze_every": 1},
        {"mode": "guide", "layer_decay": 0.5, "freeze": "layer2"},
        {"mode": "finetune", "alternate": True},
        {"mode": "finetune", "strength": 2},
        {"mode": "finetune", "imgsz": 64, "imgsz_from": 32},
        {"mode": "finetune", "imgsz_from": 32},
    ],
)
def test_a_setting_that_does_something_is_taken(changes):
    recipe = load(**changes)
    assert {field: getattr(recipe, field) for field in changes} == changes


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "scratch", "flip": 0.0},
        {"mode": "scratch", "augment": "none"},
        {"mode": "guide", "schedule": "cosine"},
        {"mode": "guide", "optimizer": "adamw"},
    ],
)
def test_what_the_base_says_is_not_held_against_whoever_changes_the_other_half(changes):
    assert load(**changes).mode == changes["mode"]


def test_a_guide_with_nothing_frozen_is_the_case_study():
    study = load(mode="guide", freeze="none")
    assert study == load("case-study")
    assert (study.model, study.augment, study.flip) == ("resnet50", "brightness", 0.6)
    assert load(mode="guide", freeze="none", flip=0.5).flip == 0.5


def test_a_guide_with_something_frozen_is_the_blueprint():
    assert load(mode="guide", freeze="layer2").model == load("guide").model
    assert load("guide").freeze == "backbone"


@pytest.mark.parametrize("mode", LOOP)
@pytest.mark.parametrize("optimizer", DEFAULT_LRS)
def test_another_optimizer_has_its_own_learning_rate(file, mode, optimizer):
    usual = load(mode)
    expected = usual.lr if optimizer == usual.optimizer else DEFAULT_LRS[optimizer]
    assert load(mode=mode, optimizer=optimizer).lr == expected
    assert load(file(f"mode: {mode}\noptimizer: {optimizer}")).lr == expected
    assert load(mode=mode, optimizer=optimizer, lr=0.5).lr == 0.5


def test_rates_of_the_parts_of_one_backbone_are_not_taken_to_another():
    assert load("scratch").rates
    assert load(mode="scratch", model="resnet18").rates == {}
    assert load(mode="scratch", model="resnet18", rates={"head": 2.0}).rates == {"head": 2.0}
    assert load(mode="scratch", model="smallnet").rates == load("scratch").rates


def test_epochs_and_a_budget_are_not_given_both(file):
    with pytest.raises(UsageError, match="--epochs and --budget both set how long to train"):
        load(mode="finetune", epochs=3, budget="5m")
    with pytest.raises(UsageError, match="give only one"):
        load(file("mode: finetune\nepochs: 3\nbudget: 5m"))


def test_a_budget_takes_the_place_of_the_usual_epochs():
    assert load("finetune").epochs
    recipe = load(mode="finetune", budget="5m")
    assert (recipe.budget, recipe.budget_seconds, recipe.epochs) == ("5m", 300, None)
    assert load("finetune").budget_seconds is None


def test_a_flag_takes_the_place_of_what_a_file_says_on_how_long(file):
    timed = file("mode: finetune\nbudget: 5m")
    assert (load(timed, epochs=3).budget, load(timed, epochs=3).epochs) == (None, 3)
    counted = load(file("mode: finetune\nepochs: 3"), budget="5m")
    assert (counted.budget, counted.epochs) == ("5m", None)
    assert load("finetune", budget="5m").epochs is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200), ("1h1m1s", 3661), (" 5m ", 300)],
)
def test_a_budget_is_a_time(text, seconds):
    assert seconds_of(text) == seconds
    assert load(mode="finetune", budget=text).budget_seconds == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "-5m", "1.5h", "5 m", "30m1h", "long"])
def test_a_budget_that_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match=r"budget = .*: give a duration such as 90s, 10m or 1h30m"):
        load(mode="finetune", budget=text)


@pytest.mark.parametrize("factor", [-1, float("inf"), float("nan"), "much"])
def test_a_rate_that_is_no_factor_is_refused(factor):
    with pytest.raises(UsageError, match="rates"):
        load(mode="finetune", rates={"head": factor})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("patience", 0),
        ("metric", "auc"),
        ("optimizer", "adam"),
        ("lr", 0),
        ("momentum", 1),
        ("weight_decay", -1),
        ("layer_decay", 0),
        ("schedule", "exponential"),
        ("warmup", -1),
        ("step_factor", 1),
        ("clip", 0),
        ("accumulate", 0),
        ("ema", 1),
        ("label_smoothing", 1),
        ("mixup", -0.1),
        ("augment", "heavy"),
        ("strength", 4),
        ("flip", 1.1),
        ("tta_views", "ten"),
        ("cache", "tape"),
        ("checkpoint_every", 0),
        ("checkpoint_minutes", 0),
        ("imgsz_from", 4),
        ("unfreeze_every", 0),
    ],
)
def test_a_value_of_the_loop_that_is_not_allowed_is_refused_by_name(field, value):
    with pytest.raises(UsageError, match=f"In the recipe: {field} = "):
        load(mode="finetune", **{field: value})
