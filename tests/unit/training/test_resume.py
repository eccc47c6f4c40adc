from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import ilk
from ilk import recipes
from ilk.data.sources import open_catalog
from ilk.data.split import ensure_splits
from ilk.errors import DataError, IlkError, Interrupted, OutputError, UsageError
from ilk.runtime import versions
from ilk.training.cpu.precision import Precision
from ilk.training.plan import Plan
from ilk.training.resume import (
    CHANGEABLE,
    check_same_environment,
    check_same_pictures,
    clear,
    discard_start,
    mark_finished,
    record_data,
    record_start,
    recorded,
    remove_partial_files,
    reopen,
)

OTHER = {
    "mode": "guide",
    "model": "resnet18",
    "imgsz": 40,
    "resize": "pad",
    "epochs": 99,
    "budget": "10m",
    "patience": 3,
    "optimizer": "sgd",
    "lr": 0.5,
    "ema": 0.5,
    "batch": 64,
    "seed": 5,
    "augment": "none",
    "val_share": 0.3,
    "precision": "fp32",
    "device": "cpu",
    "accumulate": 3,
}
HARMLESS = {
    "workers": 3,
    "cache": "none",
    "tensorboard": True,
    "checkpoint_every": 2,
    "checkpoint_minutes": 0.5,
}


@pytest.fixture
def scratch():
    return recipes.load(mode="scratch", val_share=0.1)


@pytest.fixture
def photos(tmp_path, write_picture):
    """Return a folder of twelve pictures of two classes."""
    for i in range(12):
        write_picture(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png", seed=i)
    return tmp_path / "photos"


ENVIRONMENT = {"processes": 1, "device": "cpu", "precision": "fp32", "threads": 2}


def split(data):
    return ensure_splits(open_catalog(data).digested(), val_share=0.0, test_share=0.25, seed=0)


@pytest.fixture
def run(tmp_path, scratch, photos):
    """Return the folder of a run that was started and then interrupted."""
    folder = tmp_path / "runs" / "train"
    folder.mkdir(parents=True)
    record_start(folder, photos, scratch, split(photos), ENVIRONMENT)
    return folder


def test_a_run_goes_on_with_its_own_data_and_recipe(run, scratch, photos):
    assert reopen(run, None, None, {}) == (str(photos.absolute()), scratch)
    check_same_pictures(run, split(photos))


def test_it_goes_on_from_another_place(run, photos, scratch, monkeypatch, tmp_path):
    monkeypatch.chdir(photos.parent)
    record_start(run, "photos", scratch, split("photos"), ENVIRONMENT)
    monkeypatch.chdir("/")
    data, _ = reopen(run, None, None, {})
    assert data == str(photos)
    check_same_pictures(run, split(data))


def test_a_data_set_that_goes_by_a_name_keeps_it(run, scratch, catalog, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    record_start(run, "digits", scratch, catalog, ENVIRONMENT)
    assert reopen(run, None, None, {})[0] == "digits"


@pytest.mark.parametrize(
    "kind", ["finetune", "guide", "case-study", "scratch", "cifar10", "digits"]
)
def test_the_recipe_comes_back_as_it_was(run, photos, kind):
    recipe = recipes.load(kind)
    record_start(run, photos, recipe, split(photos), ENVIRONMENT)
    assert reopen(run, None, None, {})[1] == recipe


def test_a_budget_comes_back_as_it_was(run, photos):
    recipe = recipes.load("scratch", budget="5m")
    record_start(run, photos, recipe, split(photos), ENVIRONMENT)
    _, found = reopen(run, None, None, {})
    assert (found.budget, found.epochs) == ("5m", None)


@pytest.mark.parametrize("field", OTHER)
def test_another_recipe_is_refused_by_the_field_that_differs(run, field):
    with pytest.raises(UsageError) as caught:
        reopen(run, None, None, {field: OTHER[field]})
    # With a budget there are no epochs any more, and that is noticed first.
    noticed = "epochs" if field == "budget" else field
    assert f"The run {run} started with {noticed} = " in str(caught.value)
    assert f"cannot continue with {None if field == 'budget' else OTHER[field]}. " in str(
        caught.value
    )


def test_another_recipe_file_is_refused_too(run):
    with pytest.raises(UsageError, match="started with mode = scratch and cannot continue with"):
        reopen(run, None, "finetune", {})
    with pytest.raises(UsageError, match="started with imgsz = None and cannot continue with 32"):
        reopen(run, None, "cifar10", {})


def test_what_is_given_again_as_it_was_is_no_change(run, scratch):
    same = {"epochs": scratch.epochs, "lr": scratch.lr, "mode": "scratch", "seed": 0}
    assert reopen(run, None, None, same)[1] == scratch
    assert reopen(run, None, scratch, {})[1] == scratch
    assert reopen(run, None, "scratch", {"val_share": 0.1})[1] == scratch


def test_what_does_not_change_the_result_may_be_changed(run):
    assert set(HARMLESS) == CHANGEABLE
    _, recipe = reopen(run, None, None, HARMLESS)
    assert {field: getattr(recipe, field) for field in CHANGEABLE} == HARMLESS


def test_a_run_that_has_ended_cannot_be_resumed(run):
    mark_finished(run)
    with pytest.raises(UsageError, match=r"has finished.*more --epochs"):
        reopen(run, None, None, {})


def test_ending_keeps_what_else_is_known(run):
    before = json.loads((run / "run.json").read_text())
    mark_finished(run)
    assert json.loads((run / "run.json").read_text()) == {**before, "finished": True}


def test_the_end_of_what_was_no_such_run_is_not_noted(tmp_path):
    mark_finished(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "null", b"\xff\xfe"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, content):
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(UsageError, match="is not a run that can be resumed"):
        reopen(tmp_path, None, None, {})


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"there is no .*gone"):
        reopen(tmp_path / "gone", None, None, {})


def test_the_folder_of_a_probe_is_refused_with_a_reason(
    catalog, fake_backbone, tmp_path, monkeypatch
):
    monkeypatch.setattr("ilk.evaluation.plots.save_figure", lambda *_: None)
    monkeypatch.setattr("ilk.evaluation.report.write", lambda *_, **__: None)
    run = ilk.train(catalog, runs=tmp_path, imgsz=8)
    with pytest.raises(UsageError, match=r"a probe takes seconds, so train it again"):
        ilk.train(resume=run.folder)


@pytest.mark.parametrize("damage", ["gone", "no recipe"])
def test_a_run_whose_recipe_is_lost_is_refused(run, damage):
    if damage == "gone":
        (run / "recipe.yaml").unlink()
    else:
        (run / "recipe.yaml").write_text("seed: [")
    with pytest.raises(UsageError, match="recipe"):
        reopen(run, None, None, {})


def test_arrays_must_be_given_again(run, scratch, colours):
    images, labels = colours(30)
    data = (images, labels)
    record_start(run, data, scratch, split(data), ENVIRONMENT)
    with pytest.raises(UsageError, match="was trained on arrays; pass them again"):
        reopen(run, None, None, {})
    again, _ = reopen(run, data, None, {})
    check_same_pictures(run, split(again))


def test_other_arrays_are_refused(run, scratch, colours):
    data = colours(30)
    record_start(run, data, scratch, split(data), ENVIRONMENT)
    images, labels = colours(30)
    images[7] = 255 - images[7]
    with pytest.raises(UsageError, match=r"\(changed: arrays/07\)"):
        check_same_pictures(run, split((images, labels)))


def test_a_run_folder_is_not_resumed_under_another_name(run):
    for options in ({"name": "other"}, {"exist_ok": True}):
        with pytest.raises(UsageError, match="drop --name and --exist-ok"):
            ilk.train(resume=run, **options)


def test_a_picture_that_is_gone_is_told_by_name(run, photos):
    (photos / "a" / "4.png").unlink()
    with pytest.raises(UsageError, match=r"missing: \S+/photos/a/4\.png[);].*Restore it"):
        check_same_pictures(run, split(photos))


def test_a_new_picture_is_told_by_name(run, photos, write_picture):
    write_picture(photos / "b" / "new.png", seed=99)
    with pytest.raises(UsageError, match=r"new: \S+/photos/b/new\.png[);]"):
        check_same_pictures(run, split(photos))


def test_a_picture_of_other_content_is_told_by_name(run, photos, write_picture):
    write_picture(photos / "a" / "4.png", seed=99)
    with pytest.raises(UsageError, match=r"changed: .*/photos/a/4\.png"):
        check_same_pictures(run, split(photos))


def test_a_picture_that_moved_to_another_class_is_gone_and_new(run, photos):
    (photos / "a" / "4.png").rename(photos / "b" / "4.png")
    with pytest.raises(UsageError, match=r"missing: \S+/a/4\.png; new: \S+/b/4\.png"):
        check_same_pictures(run, split(photos))


def test_many_differences_are_told_in_few_words(run, photos):
    for path in sorted(photos.rglob("*.png"))[:-2]:
        path.unlink()
    whole = open_catalog(photos).digested()
    with pytest.raises(UsageError, match=r"missing: .*and 7 more") as caught:
        check_same_pictures(run, whole)
    assert str(caught.value).count(".png") == 3


@pytest.mark.parametrize("changes", [{"label": "c"}, {"split": "val"}, {"digest": "00"}])
def test_another_label_split_or_content_is_noticed(run, photos, changes):
    catalog = split(photos)
    first = replace(catalog.pictures[0], **changes)
    with pytest.raises(UsageError, match=r"is not what the run .* started with"):
        check_same_pictures(run, replace(catalog, pictures=(first, *catalog.pictures[1:])))


def test_another_order_of_pictures_is_noticed(run, photos):
    catalog = split(photos)
    with pytest.raises(UsageError, match="the order of pictures"):
        check_same_pictures(run, replace(catalog, pictures=catalog.pictures[::-1]))


def test_pictures_that_were_left_out_afterwards_are_no_change(run, photos, scratch):
    """A run may be killed at its very end, when it has written which pictures it left out."""
    catalog = split(photos)
    left_out = catalog.without({catalog.pictures[3].path: "is broken"})
    left_out.save(run / "catalog.csv")
    check_same_pictures(run, catalog)


def test_odd_names_are_remembered_as_they_are(run, photos, scratch, write_picture):
    for name in ("größe.png", 'a,b\n"c".png', os.fsdecode(b"caf\xe9.png")):
        write_picture(photos / "a" / name, seed=len(name))
    record_start(run, photos, scratch, split(photos), ENVIRONMENT)
    check_same_pictures(run, split(photos))


def test_to_begin_removes_what_an_earlier_run_left_behind(run, scratch, photos):
    for name in ("checkpoints/step-1.safetensors", "tensorboard/events", "plots/curves.png",
                 "plots/confusion.png", "history.csv", ".model.safetensors.1.part"):  # fmt: skip
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    mark_finished(run)
    record_start(run, photos, scratch, split(photos), ENVIRONMENT)
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert left == {"plots/confusion.png", "recipe.yaml", "catalog.csv", "run.json"}
    reopen(run, None, None, {})


def test_a_probe_clears_what_could_be_resumed(run):
    clear(run)
    with pytest.raises(UsageError, match="not a run that can be resumed"):
        reopen(run, None, None, {})


def test_what_a_killed_process_left_half_written_is_swept_away(run):
    (run / "checkpoints").mkdir()
    kept = run / "checkpoints" / "step-1.safetensors"
    part = run / "checkpoints" / ".step-2.safetensors.99.part"
    for path in (kept, part):
        path.touch()
    remove_partial_files(run)
    assert kept.exists()
    assert not part.exists()


def test_the_beginning_says_exactly_what_will_run(run, scratch):
    assert yaml.safe_load((run / "recipe.yaml").read_text()) == scratch.applying()
    rows = (run / "catalog.csv").read_text().splitlines()
    assert len(rows) == 13


def test_a_folder_that_cannot_be_written_is_a_readable_error(run, scratch, photos, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    catalog = split(photos)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"):
        record_start(run, photos, scratch, catalog, ENVIRONMENT)


def test_every_refusal_is_one_line(run, photos):
    for changes in ({"seed": 3}, {"mode": "probe"}, {"bacth": 1}):
        with pytest.raises(IlkError) as caught:
            reopen(run, None, None, changes)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("what", "now"), [("processes", 2), ("device", "cuda"), ("precision", "bf16")]
)
def test_another_setting_is_refused_by_what_differs(run, what, now):
    check_same_environment(run, ENVIRONMENT)
    with pytest.raises(UsageError, match=f"started with {what} = .*; here it is {now}"):
        check_same_environment(run, {**ENVIRONMENT, what: now})


def test_other_threads_and_versions_are_told(run, caplog, monkeypatch):
    monkeypatch.setattr("ilk.training.resume.versions", lambda: {**versions(), "torch": "9.9"})
    check_same_environment(run, {**ENVIRONMENT, "threads": 8})
    [warning] = caplog.messages
    assert "threads 2 then, 8 now" in warning
    assert "9.9 now" in warning
    assert "may not be bit-identical" in warning


def test_pictures_that_moved_as_they_are_are_the_same(run, photos, tmp_path):
    photos.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match=r"no longer at .*photos\. Say where they are now"):
        reopen(run, None, None, {})
    data, _ = reopen(run, tmp_path / "moved", None, {})
    check_same_pictures(run, split(data))


def test_a_name_instead_of_a_folder_is_understood(run):
    with pytest.raises(UsageError, match=r"Give the folder of a run: .*runs/train"):
        reopen(Path("train"), None, None, {}, run.parent)


def test_what_failed_at_once_leaves_nothing(run):
    discard_start(run)
    assert list(run.iterdir()) == []


def test_what_failed_late_can_be_resumed(run):
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "step-1.safetensors").touch()
    discard_start(run)
    assert {"run.json", "recipe.yaml", "catalog.csv"} <= {path.name for path in run.iterdir()}


def test_an_earlier_model_is_left_without_a_recipe_that_is_not_its_own(run):
    (run / "model.safetensors").touch()
    discard_start(run)
    assert [path.name for path in run.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    "trace", ["history.csv", "tensorboard/events", "checkpoints/best.safetensors"]
)
def test_what_tells_how_a_training_went_is_kept(run, trace):
    (run / trace).parent.mkdir(exist_ok=True)
    (run / trace).touch()
    discard_start(run)
    assert (run / trace).exists()
    assert (run / "run.json").exists()


def test_pictures_that_moved_are_found_again_the_next_time(run, photos, tmp_path):
    photos.rename(tmp_path / "moved")
    record_data(run, tmp_path / "moved")
    assert reopen(run, None, None, {})[0] == str(tmp_path / "moved")


@pytest.fixture
def plan(run, photos, scratch):
    """Return ``plan(resume)``: that of the run."""

    def make(resume=True):
        return Plan(scratch, split(photos), run, Precision(torch.device("cpu"), "fp32"), resume)

    return make


def test_several_processes_resume_as_several(plan, photos, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    how = "torchrun --nproc-per-node=2 -m ilk train --resume"
    with pytest.raises(Interrupted, match=how), recorded(plan(), photos):
        raise KeyboardInterrupt


def test_an_interruption_says_how_to_resume(plan, photos):
    with pytest.raises(Interrupted, match=r"ilk train --resume .*train"), recorded(plan(), photos):
        raise KeyboardInterrupt


def test_a_run_that_fails_at_once_leaves_nothing(run, plan, photos):
    with pytest.raises(DataError), recorded(plan(resume=False), photos):
        assert (run / "run.json").is_file()
        raise DataError("too few")
    assert list(run.iterdir()) == []


def test_a_resumed_run_that_fails_can_be_resumed_again(run, plan, photos):
    with pytest.raises(DataError), recorded(plan(), photos):
        raise DataError("too few")
    assert (run / "run.json").is_file()


def test_a_run_of_an_early_version_is_resumed(run, scratch, photos):
    """Its recipe.yaml calls ``tta_views`` ``views``."""
    text = (run / "recipe.yaml").read_text()
    assert "tta_views: mirror-shift" in text
    (run / "recipe.yaml").write_text(text.replace("tta_views:", "views:"))
    assert reopen(run, None, None, {}) == (str(photos), scratch)
    assert reopen(run, None, None, {"views": "mirror-shift"})[1] == scratch
    with pytest.raises(UsageError, match="started with tta_views = mirror-shift"):
        reopen(run, None, None, {"views": "one"})


@pytest.mark.parametrize("file", ["catalog.csv", "recipe.yaml", "run.json"])
def test_what_a_run_is_resumed_from_is_flushed_before_it_gets_its_name(
    tmp_path, scratch, photos, monkeypatch, file
):
    """Or a power cut could leave an empty file of that name."""
    flushed, real = {}, os.fsync

    def fsync(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file():
            flushed[path.name.removeprefix(".").split(f".{os.getpid()}")[0]] = path.stat().st_size
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    record_start(tmp_path, photos, scratch, split(photos), ENVIRONMENT)
    assert flushed[file] == (tmp_path / file).stat().st_size > 0


def test_the_end_removes_what_could_be_resumed_from(run):
    kept, gone = ("best", "epoch-0001"), ("step-00000001", "step-00000002")
    (run / "checkpoints").mkdir()
    for name in kept + gone:
        (run / "checkpoints" / f"{name}.safetensors").touch()
    mark_finished(run)
    assert {path.stem for path in (run / "checkpoints").iterdir()} == set(kept)
