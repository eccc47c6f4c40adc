"""``ilk train``: what it says, writes, leaves out, refuses and survives."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import pytest
import yaml

from commands import PROGRESS


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def test_the_run_folder_holds_what_the_design_says(trained, pictures):
    files = set(contents(trained.run))
    assert {"model.safetensors", "recipe.yaml", "catalog.csv", "metrics.json"} <= files
    assert {"report.html", "plots/confusion.png"} <= files
    assert not [f for f in files if f.endswith(".part") or Path(f).name.startswith(".")]
    metrics = json.loads((trained.run / "metrics.json").read_text())
    assert metrics["split"] == "test"
    assert metrics["n"] == 6
    assert metrics["training"]["features_computed"] == 24
    rows = table(trained.run / "catalog.csv")
    assert len(rows) == 24
    assert {r["split"] for r in rows} == {"train", "test"}
    assert f"model   {trained.model}" in trained.out
    assert "on the test split" in trained.out


def test_where_stderr_is_no_terminal_lines_come_within_2_seconds_then_every_10(
    environment, pictures, tmp_path
):
    """Preparing the backbone takes longer, as the cache is empty."""
    command = [sys.executable, "-m", "ilk", "train", str(pictures), "--runs", str(tmp_path)]
    place = {**environment, "ILK_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, check=False, capture_output=True, env=place)
    err = done.stderr.decode()
    assert PROGRESS.search(err), err
    assert PROGRESS.sub("", err) == "Preparing tf_efficientnet_lite0 for this machine (once)\n"
    assert not {"\r", "\x1b"} & set(err)


def test_nothing_but_lines_where_stderr_is_no_terminal(trained):
    assert trained.err == "Preparing tf_efficientnet_lite0 for this machine (once)\n"
    assert not {"\r", "\x1b"} & set(trained.out)


def test_json_is_metrics_json_and_the_recipe_written_repeats_the_run(
    ilk, trained, pictures, tmp_path
):
    recipe = trained.run / "recipe.yaml"
    runs = tmp_path
    done = ilk("train", pictures, "--recipe", recipe, "--runs", runs, "--name", "again", "--json")
    assert done.stderr == ""
    again = json.loads(done.stdout)
    assert again == json.loads((runs / "again" / "metrics.json").read_text())
    first = json.loads((trained.run / "metrics.json").read_text())
    assert again["training"]["features_computed"] == 0  # the cache knows them all
    for changing in ("model", "training"):
        del again[changing], first[changing]
    assert again == first


@pytest.mark.parametrize(("recipe", "flags"), [("probe", []), ("cifar10", ["--epochs", "1"])])
def test_a_shipped_recipe_runs_and_is_written_down(ilk, recipe, flags, pictures, tmp_path):
    ilk("train", pictures, "--recipe", recipe, *flags, "--runs", tmp_path, "--name", "run")
    written = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    shipped = yaml.safe_load((resources.files("ilk") / "recipes" / f"{recipe}.yaml").read_text())
    changed = {"epochs", "batch"}  # by the flag, and because the pictures are few
    assert all(written[key] == shipped[key] for key in shipped if key not in changed)


def test_a_training_by_epochs_tells_of_each_and_leaves_its_history(ilk, pictures, tmp_path):
    done = ilk("train", pictures, "--mode", "scratch", "--epochs", "2", "--batch", "6", "--imgsz",
               "16", "--views", "one", "--runs", tmp_path, "--name", "run", "--tensorboard",
               "--json")  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    assert "val accuracy" in lines[-1]
    assert json.loads(done.stdout)["training"]["epochs"] == 2
    folder = tmp_path / "run"
    assert (folder / "history.csv").read_text().count("\n") == 3
    assert list((folder / "tensorboard").iterdir())
    assert "tta_views: one" in (folder / "recipe.yaml").read_text()
    assert "Training curves" in (folder / "report.html").read_text()
    again = ilk("train", "--resume", folder, code=2)
    assert "has finished" in again.stderr


def test_a_probe_over_an_older_run_leaves_nothing_of_it(ilk, pictures, tmp_path):
    place = ("--runs", tmp_path, "--name", "run", "--exist-ok")
    ilk("train", pictures, "--mode", "scratch", "--epochs", "1", "--batch", "6", *place)
    ilk("train", pictures, *place)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert not names & {"history.csv", "checkpoints", "run.json"}
    assert "Training curves" not in (tmp_path / "run" / "report.html").read_text()


# --- data that cannot be used --------------------------------------------------------------------


def test_a_class_that_is_added_later_starts_from_what_is_there(ilk, trained, tiny, tmp_path):
    more = tiny.folder(tmp_path / "more", 8, ("blue", "red"))
    (more / "red").rename(more / "crimson")
    done = ilk("train", more, "--weights", trained.run, "--runs", tmp_path / "runs")
    told = "backbone tf_efficientnet_lite0, head rows for 1 of 2 classes (new: crimson)"
    assert done.stderr.count("Starting from ") == 1
    assert told in done.stderr


def test_a_missing_path(refused, tmp_path):
    assert "There is no nowhere" in refused("train", "nowhere", code=2, cwd=tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_no_table(refused, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert "not a folder or a table" in refused("train", "notes.txt", code=2, cwd=tmp_path)


def test_an_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no labelled pictures" in refused("train", "empty", code=3, cwd=tmp_path)
    assert not (tmp_path / "runs").exists()


def test_one_class_only_even_if_its_name_is_hostile(tiny, refused, tmp_path):
    tiny.folder(tmp_path / "a\x1b[31m\nb", 3, ("red",))
    message = refused("train", "a\x1b[31m\nb", code=3, cwd=tmp_path)
    assert "has only one class with pictures" in message
    assert r"a\x1b[31m\nb" in message


def test_a_class_with_fewer_pictures_than_splits(tiny, refused, tmp_path):
    tiny.folder(tmp_path / "few", 4)
    tiny.picture(tmp_path / "few" / "green" / "only.png", tiny.colours["green"])
    message = refused("train", "few", code=3, cwd=tmp_path)
    assert "Class 'green' has 1 distinct picture, fewer than the 2 splits" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,label\na.png,x\n", "lacks the column path; it has file, label"),
        ("", "table.csv is empty. Expected a line path,label"),
        (
            "path,label\nno\x1b.png,x\n",
            r"first: data/no\x1b.png is named in the table but is not there",
        ),
        ("path,label,split\nred/red00.png,red,held\n", "has the unknown split 'held'"),
        ("path,label,split\nred/red00.png,red,train\nred/red01.jpg,red,\n", "for some rows only"),
        ("path,label,split\nred/red00.png,red,val\nblue/blue00.png,blue,val\n", "no train split"),
        ('path,label\n"red', "cannot be read as CSV"),
    ],
)
def test_tables_that_cannot_be_used(refused, pictures, tmp_path, text, expected):
    root = shutil.copytree(pictures, tmp_path / "data")
    (root / "table.csv").write_text(text)
    assert expected in refused("train", "data/table.csv", code=3, cwd=tmp_path)


def test_a_table_with_some_files_missing(ilk, pictures, tmp_path):
    rows = [f"{p},{p.parent.name}" for p in sorted(pictures.rglob("*.*g"))]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *rows, "gone.png,red"]))
    done = ilk("train", "table.csv", "--name", "t", cwd=tmp_path)
    assert "Left out 1 file:\n  gone.png: is named in the table but is not there" in done.stderr
    assert "Trained on 18 pictures of 3 classes" in done.stdout


def test_all_files_unreadable(refused, tmp_path):
    for label in ("a", "b"):
        for i in range(3):
            file = tmp_path / "bad" / label / f"{i}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"no picture {label}{i}")
    message = refused("train", "bad", code=3, cwd=tmp_path)
    assert "6 of 6 files of bad cannot be read" in message
    assert "The first: bad/a/0.jpg is not a picture" in message
    assert not (tmp_path / "runs").exists()


def test_some_unreadable_are_left_out_named_and_counted(ilk, pictures, tmp_path):
    root = shutil.copytree(pictures, tmp_path / "mixed")
    (root / "red" / "empty.png").touch()
    cut = (root / "red" / "red00.png").read_bytes()[:300]
    (root / "blue" / "cut.png").write_bytes(cut)
    (root / "blue" / "notes.txt").write_text("no picture, and not counted as one")
    done = ilk("train", "mixed", "--name", "m", "--max-unreadable", "0.1", cwd=tmp_path)
    assert "Left out 3 files:" in done.stderr
    assert "mixed/red/empty.png: is empty" in done.stderr
    assert "mixed/blue/cut.png: ends too early" in done.stderr
    rows = table(tmp_path / "runs" / "m" / "catalog.csv")
    assert sum(bool(r["left_out"]) for r in rows) == 3
    assert len(rows) == 27
    metrics = json.loads((tmp_path / "runs" / "m" / "metrics.json").read_text())
    assert len(metrics["left_out"]) == 3


def test_hostile_names_are_trained_on_and_shown_escaped(tiny, ilk, tmp_path):
    labels = {"a $x_{": tiny.colours["red"], "\x1b[31m日本\x1b[0m": tiny.colours["blue"]}
    names = [b"sp ace.png", b"new\nline.png", b"\xff\xfe.png", b"\x1b]0;pwn\x07.png", b"$y^.png"]
    for label, colour in labels.items():
        for i, name in enumerate(names):
            file = Path(os.fsdecode(os.fsencode(tmp_path / "odd" / label) + b"/%d" % i + name))
            tiny.picture(file, colour)
    bad = tmp_path / "odd" / "a $x_{" / "\x1b[2Jbad.png"
    bad.write_text("no picture")
    runs = tmp_path / "runs"
    done = ilk("train", "odd", "--name", "odd", "--max-unreadable", ".2", cwd=tmp_path)
    assert r"\x1b[2Jbad.png: is not a picture" in done.stderr
    assert "UserWarning" not in done.stderr
    model = runs / "odd" / "model.safetensors"
    outputs = [
        done,
        ilk("predict", model, "odd", "--top", 2, code=3, cwd=tmp_path),
        ilk("evaluate", model, "odd", "--max-unreadable", 1, cwd=tmp_path),
        ilk("check", "odd", cwd=tmp_path),
    ]
    for said in outputs:
        assert not {"\x1b", "\x07"} & set(said.stdout + said.stderr)
    lines = ilk("predict", model, "odd", "--json", code=3, cwd=tmp_path).stdout.splitlines()
    paths = {os.fsencode(json.loads(line)["path"]) for line in lines}
    assert len(paths) == 11
    assert all((tmp_path / os.fsdecode(path)).exists() for path in paths)


# --- flags and recipes that cannot be used -------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--imgz", "64"], "Did you mean --imgsz?"),
        (["--epochs", "3"], "--epochs does not apply to --mode probe, only to finetune, scratch"),
        (["--mode", "guide", "--epochs", "0"], "--epochs = '0': input should be greater than 0."),
        (["--mode", "guide", "--lr", "nan"], "--lr = 'nan': input should be a finite number."),
        (["--mode", "guide", "--budget", "soon"], "give a duration such as 90s, 10m or 1h30m"),
        (["--mode", "guide", "--budget", "1m", "--epochs", "3"], "give only one"),
        (["--mode", "guide", "--freeze", "blocks.9"], "Similar: blocks."),
        (["--mode", "guide", "--rates.hed", "3"], "has no part 'hed'"),
        (["--mode", "guide", "--precision", "fp16"], "fp16 needs a GPU"),
        (["--mode", "guide", "--batch", "500"], "--batch 500 is more than the"),
        (["--mode", "guide", "--optimizer", "adamw", "--momentum", "0.5"], "does not apply with"),
        (["--mode", "scratch", "--freeze", "none"], "--freeze does not apply to --mode scratch"),
        (["--lr-find"], "--lr-find does not apply to --mode probe"),
        (["--resume", "."], "is not a run that can be resumed"),
        (["--imgsz", "-5"], "--imgsz = '-5': input should be greater than or equal to 8."),
        (["--imgsz", "big"], "--imgsz = 'big': input should be a valid integer"),
        (["--test-share", "2"], "--test-share = '2': input should be less than 1."),
        (["--resize", "foo"], "--resize = 'foo': input should be 'squash', 'crop' or 'pad'."),
        (["--device", "gpu"], "--device = 'gpu': give auto, cpu, cuda, cuda:1 or mps."),
        (["--recipe", "foo"], "No recipe 'foo': No such file or directory. Shipped: case-study"),
        (["--recipe", "misspelt.yaml"], "Unknown key 'test_shar' in misspelt.yaml. Did you mean "
                                        "'test_share'?"),
        (["--recipe", "list.yaml"], "contains a list"),
        (["--recipe", "bad.yaml"], "bad.yaml: imgsz = -5"),
        (["--weights", "nowhere.pth"], "nowhere.pth cannot be read: No such file"),
    ],
)  # fmt: skip
def test_flags_and_recipes_that_cannot_be_used(refused, pictures, tmp_path, arguments, expected):
    (tmp_path / "misspelt.yaml").write_text("test_shar: 0.2\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "bad.yaml").write_text("imgsz: -5\n")
    assert expected in refused("train", pictures, *arguments, code=2, cwd=tmp_path)
    assert not any((tmp_path / "runs").rglob("*"))


def test_no_data_given(refused):
    assert "DATA" in refused("train", code=2)


def test_an_unknown_command(refused):
    assert 'Did you mean "train"?' in refused("trian", "x", code=2)


def test_an_unknown_backbone(refused, pictures, tmp_path):
    message = refused("train", pictures, "--model", "resnet999", code=2, cwd=tmp_path)
    assert "timm has no model 'resnet999'" in message


def test_a_backbone_without_weights_offline(refused, pictures, tmp_path):
    message = refused("train", pictures, "--model", "resnet18", code=1, cwd=tmp_path)
    assert all(way in message for way in ("--weights FILE", "connect to the network", "ilk[weigh"))
    assert not (tmp_path / "runs").exists()


# --- where results go ----------------------------------------------------------------------------


def test_a_file_where_the_runs_folder_should_be(refused, pictures, tmp_path):
    (tmp_path / "runs").write_text("precious")
    message = refused("train", pictures, code=1, cwd=tmp_path)
    assert "runs cannot be written: File exists" in message
    assert (tmp_path / "runs").read_text() == "precious"


def test_a_cache_that_cannot_be_made(refused, pictures, tmp_path):
    (tmp_path / "file").touch()
    env = {"ILK_CACHE": str(tmp_path / "file")}
    assert "Set ILK_CACHE" in refused("train", pictures, code=1, cwd=tmp_path, env=env)


def test_an_existing_run_is_kept_unless_told(ilk, refused, trained, pictures, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(trained.run, runs / "mine")
    before = contents(runs)
    message = refused("train", pictures, "--name", "mine", code=1, cwd=tmp_path)
    assert "runs/mine already exists" in message
    assert "--exist-ok" in message
    refused("train", "nowhere", "--name", "mine", "--exist-ok", code=2, cwd=tmp_path)
    assert contents(runs) == before
    ilk("train", pictures, "--name", "mine", "--exist-ok", "--seed", 1, cwd=tmp_path)
    assert yaml.safe_load((runs / "mine" / "recipe.yaml").read_text())["seed"] == 1


# --- Ctrl-C --------------------------------------------------------------------------------------


@pytest.mark.parametrize("to_all", [True, False], ids=["from a terminal", "to the process alone"])
def test_ctrl_c_while_the_backbone_is_prepared(environment, pictures, tmp_path, to_all):
    process = subprocess.Popen(
        [sys.executable, "-m", "ilk", "train", str(pictures)],
        cwd=tmp_path,
        env={**environment, "ILK_CACHE": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert any("Preparing" in line for line in process.stderr)
    time.sleep(0.7)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert PROGRESS.sub("", err) == "ilk: interrupted\n"
    assert out == ""
    with pytest.raises(ProcessLookupError):  # no process is left of its group
        os.killpg(process.pid, 0)
    assert not [p for p in (tmp_path / "runs").rglob("*") if p.is_file()]


def test_ctrl_c_while_features_are_computed(tiny, environment, trained, tmp_path):
    for label in ("a", "b"):  # distinct, so that none is in the cache
        for i in range(250):
            tiny.picture(tmp_path / "many" / label / f"{label}{i}.png", (9, 9, 9))
    run = tmp_path / "runs" / "train"
    process = subprocess.Popen(
        [sys.executable, "-m", "ilk", "train", "many"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for _ in range(400):  # the run's folder is made when the work begins
        if run.exists():
            break
        time.sleep(0.05)
    time.sleep(0.8)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert PROGRESS.sub("", err).splitlines() == ["ilk: interrupted"]
    assert not run.exists()
