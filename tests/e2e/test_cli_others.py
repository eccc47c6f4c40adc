"""``ilk evaluate``, ``backbones``, ``cache``, ``demo`` and the help."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import sklearn.datasets

# --- evaluate ------------------------------------------------------------------------------------


def test_evaluating_the_test_split_reproduces_the_training(ilk, trained, pictures, tmp_path):
    done = ilk("evaluate", trained.model, pictures, "--split", "test", "--json", cwd=tmp_path)
    assert done.stderr == ""
    now = json.loads(done.stdout)
    then = json.loads((trained.run / "metrics.json").read_text())
    del then["training"]
    assert now == then
    assert now == json.loads((tmp_path / "runs" / "evaluate" / "metrics.json").read_text())
    assert (tmp_path / "runs" / "evaluate" / "report.html").is_file()


def test_the_json_is_as_the_design_says(tiny, ilk, trained, pictures, tmp_path):
    done = ilk("val", trained.run, pictures, "--split", "all", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    expected = ["model", "data", "split", "n", "classes", "accuracy", "balanced_accuracy",
                "macro_f1", "per_class", "confusion"]  # fmt: skip
    assert [key for key in found if key in expected] == expected
    assert found["n"] == 24
    assert found["classes"] == sorted(tiny.colours)
    for measured in ("accuracy", "balanced_accuracy", "macro_f1"):
        quantity = found[measured]
        assert set(quantity) == {"value", "low", "high", "n"}
        assert 0 <= quantity["low"] <= quantity["value"] <= quantity["high"] <= 1
    assert list(found["per_class"]) == sorted(tiny.colours)
    assert all(
        {"precision", "recall", "f1", "support"} <= set(v) for v in found["per_class"].values()
    )
    assert sum(map(sum, found["confusion"])) == 24


def test_classes_are_matched_by_name(tiny, ilk, refused, trained, tmp_path):
    tiny.folder(tmp_path / "some", 3, ("red", "green"))
    tiny.picture(tmp_path / "some" / "\x1b[31mpink" / "1.png", (250, 150, 150))
    done = ilk("evaluate", trained.model, "some", cwd=tmp_path)
    assert "on the 3 of 7 that were not in the training" in done.stdout
    assert r"does not know these classes: \x1b[31mpink (1)" in done.stderr
    assert "The data has no pictures of: blue" in done.stderr
    (tmp_path / "some" / "red").rename(tmp_path / "some" / "rouge")
    (tmp_path / "some" / "green").rename(tmp_path / "some" / "vert")
    message = refused("evaluate", trained.model, "some", code=3, cwd=tmp_path)
    assert "is a class of the model (blue, green, red)" in message


def test_what_evaluate_refuses(refused, trained, pictures, tmp_path):
    model = trained.model
    assert "No split 'foo'" in refused("evaluate", model, pictures, "--split", "foo", code=2)
    assert "has no pictures of the split 'val'" in refused(
        "evaluate", model, pictures, "--split", "val", code=3
    )
    assert "There is no nowhere" in refused("evaluate", model, "nowhere", code=2)
    assert "is not there" in refused("evaluate", "gone.safetensors", pictures, code=1, cwd=tmp_path)
    assert "Must be >= 1" in refused("evaluate", model, pictures, "--batch", "0", code=2)
    (tmp_path / "file").write_text("precious")
    message = refused("evaluate", model, pictures, "--runs", "file", code=1, cwd=tmp_path)
    assert "file cannot be written" in message
    assert not (tmp_path / "runs").exists()  # nothing of what failed


# --- backbones -----------------------------------------------------------------------------------


def test_backbones_lists_those_that_ilk_names(ilk):
    lines = ilk("backbones").stdout.splitlines()
    assert lines[0].split() == ["name", "parameters", "input", "features", "weights"]
    assert lines[1].startswith("tf_efficientnet_lite0 (default)")
    names = [b["name"] for b in json.loads(ilk("backbones", "--json").stdout)]
    assert [line.split()[0] for line in lines[1 : 1 + len(names)]] == names


def test_backbones_searches_timm(ilk):
    lines = ilk("backbones", "resnet1*").stdout.splitlines()
    assert lines[0].startswith("name")
    assert all(line.startswith("resnet1") for line in lines[1:])
    assert any(line.startswith("resnet18.") for line in lines)


def test_backbones_shows_the_parts_of_one_without_its_weights(ilk, refused):
    arguments = ("backbones", "--model", "resnet18", "--classes", 10)
    head = 512 * 10 + 10
    lines = ilk(*arguments).stdout.splitlines()
    assert lines[0].split() == ["part", "kind", "parameters", "frozen", "trainable"]
    assert lines[-2].split() == ["head", "Linear", f"{head:,}", "0", f"{head:,}"]
    assert lines[-1].split() == ["total", f"{11_176_512 + head:,}", "11,176,512", f"{head:,}"]
    assert "not both" in refused("backbones", "x", "--model", "resnet18", code=2)
    assert "Must be >= 1" in refused("backbones", "--model", "x", "--classes", "0", code=2)
    for arguments in ((), ("x",)):
        message = refused("backbones", *arguments, "--classes", 2, code=2)
        assert "--classes does not apply without --model" in message


# --- cache ---------------------------------------------------------------------------------------


def test_cache_shows_and_clears_only_its_own(ilk, refused, tmp_path):
    (tmp_path / "features" / "key").mkdir(parents=True)
    (tmp_path / "features" / "key" / "shard.safetensors").write_bytes(bytes(2_000_000))
    (tmp_path / "mine.txt").write_text("precious")
    env = {"ILK_CACHE": str(tmp_path)}
    expected = f"2.0 MB of at most 4,000 MB in {tmp_path}\n"
    assert ilk("cache", env=env).stdout == expected
    assert ilk("cache", "--clear", env=env).stdout == f"2.0 MB removed from {tmp_path}\n"
    assert ilk("cache", env=env).stdout.startswith("0.0 MB of")
    assert (tmp_path / "mine.txt").read_text() == "precious"
    env["ILK_CACHE_GB"] = "much"
    assert "ILK_CACHE_GB is 'much'; give a number" in refused("cache", code=2, env=env)


# --- demo and help -------------------------------------------------------------------------------


@pytest.fixture
def fewer_digits(monkeypatch):
    """Have the demo write every fourth digit; 'make demo' takes all."""
    digits = sklearn.datasets.load_digits()
    few = SimpleNamespace(images=digits.images[::4], target=digits.target[::4])
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: few)


@pytest.mark.slow
def test_demo_in_an_empty_directory(ilk, tmp_path, fewer_digits):
    done = ilk("demo", cwd=tmp_path)
    commands = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("$ ilk ")]
    assert commands == ["check", "train", "evaluate", "predict"]
    run = tmp_path / "ilk-demo" / "runs" / "digits"
    assert json.loads((run / "metrics.json").read_text())["accuracy"]["value"] > 0.85
    assert (run / "report.html").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["ilk-demo"]


def test_demo_where_a_file_is_in_the_way(refused, tmp_path):
    (tmp_path / "file").touch()
    assert "file/digits cannot be written" in refused("demo", "file", code=1, cwd=tmp_path)


def test_the_help_is_in_the_order_of_the_work(ilk):
    text = ilk().stdout
    assert text == ilk("--help").stdout
    names = ["check", "train", "evaluate", "predict", "backbones", "cache", "demo"]
    places = [text.index(f"│ {name}") for name in names]
    assert places == sorted(places)
    assert "Start with: ilk train FOLDER" in text


@pytest.mark.parametrize("command", ["train", "predict"])
def test_a_commands_help(ilk, command):
    text = ilk(command, "--help").stdout
    assert text.startswith(f"Usage: ilk {command}")
    assert "default: False" not in text
    assert "default: None" not in text


def test_the_version(ilk):
    from ilk import __version__

    assert ilk("--version", apart=True).stdout == f"{__version__}\n"
