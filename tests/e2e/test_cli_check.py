"""``ilk check``: the findings, the page, the gate, the quarantine and its undoing, the table."""

from __future__ import annotations

import csv
import json
import os
import shutil

import pytest


@pytest.fixture
def data(pictures, tmp_path):
    """The three classes with a broken file, a copy, and a copy under a wrong label."""
    root = shutil.copytree(pictures, tmp_path / "data")
    (root / "red" / "\x1b[2Jbad.png").write_text("no picture")
    shutil.copy(root / "red" / "red00.png", root / "red" / os.fsdecode(b"red00\xff.png"))
    shutil.copy(root / "blue" / "blue00.png", root / "red" / "stray.png")
    return root


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_check_reports_problems(ilk, data, tmp_path):
    done = ilk("check", "data", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert done.stderr in {"", "Preparing tf_efficientnet_lite0 for this machine (once)\n"}
    place = lines.index("error    1 x file.not_a_picture: Files that are not pictures")
    assert lines[place + 1].strip().startswith("Replace or delete it")
    assert lines[place + 2].strip().startswith(r"red/\x1b[2Jbad.png: is not a picture")
    assert "warning  1 x duplicate.exact: Exact copies" in lines
    assert lines[-2].startswith("27 files, 5 findings: 2 error, ")
    assert lines[-1] == "report  runs/check/check.html"
    page = (tmp_path / "runs" / "check" / "check.html").read_text()
    assert r"red/\x1b[2Jbad.png" in page

    done = ilk("check", "data", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert set(found) == {"n", "findings", "counts", "not_looked_for"}
    assert found["n"] == 27
    for finding in found["findings"]:
        assert set(finding) >= {"kind", "severity", "paths", "detail", "action"}
        assert finding["severity"] in {"error", "warning", "info"}
    assert sum(found["counts"].values()) == len(found["findings"]) == 5
    assert json.loads((tmp_path / "runs" / "check-2" / "check.json").read_text()) == found


def test_what_was_not_looked_for_is_reported(ilk, data, tmp_path):
    done = ilk("check", "data", "--quick", cwd=tmp_path)
    assert "not looked for: outlier, outliers of their class (--quick)" in (
        done.stdout.splitlines()
    )
    model = ("--model", "resnet18")  # whose weights are nowhere
    done = ilk("check", "data", *model, "--fail-on", "outlier", "--json", code=1, cwd=tmp_path)
    assert "could not look for outlier" in done.stderr
    assert json.loads(done.stdout)["not_looked_for"]["outlier"] == "resnet18 cannot be run here"


def test_clean_data_gives_a_short_report(tiny, ilk, tmp_path):
    for label in ("left", "right"):  # of one colour: else brightness alone would tell them
        for i in range(10):
            tiny.picture(tmp_path / "data" / label / f"{label}{i}.png", tiny.colours["red"])
    lines = ilk("check", "data", "--out", "here", cwd=tmp_path).stdout.splitlines()
    # The pictures are noise, so nobody can say whether their labels are right.
    guess = "a model does no better than guessing"
    unseen = f"not looked for: label.suspect, labels that are likely wrong ({guess})"
    assert lines == [unseen, "20 files, no findings", "report  here/check.html"]


def test_a_report_is_not_replaced_unless_asked_for(ilk, refused, pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    ilk("check", pictures, "--quick", "--out", "out", cwd=tmp_path)
    first = (tmp_path / "out" / "check.html").stat().st_mtime_ns
    message = refused("check", pictures, "--quick", "--out", "out", code=1, cwd=tmp_path)
    assert "out already exists. Choose another --out, or pass --exist-ok" in message
    assert (tmp_path / "out" / "check.html").stat().st_mtime_ns == first
    ilk("check", pictures, "--quick", "--out", "out", "--exist-ok", cwd=tmp_path)
    assert (tmp_path / "out" / "mine.txt").read_text() == "precious"
    ilk("check", pictures, "--quick", "--out", ".", cwd=tmp_path)
    assert (tmp_path / "check.html").is_file()


@pytest.mark.parametrize(
    ("kinds", "code"),
    [("leakage,unreadable", 3), ("duplicate.exact", 3), ("error", 3), ("leakage", 0)],
)
def test_the_gate(ilk, data, tmp_path, kinds, code):
    gate = ("--fail-on", kinds)
    done = ilk("check", "data", *gate, "--quick", "--json", code=code, cwd=tmp_path)
    assert json.loads(done.stdout)["n"] == 27
    assert done.stderr.startswith("--fail-on: " if code else "")


def test_quarantine_and_undo_restore_every_byte(ilk, data, tmp_path):
    before = content(data)
    kinds = ("--kinds", "unreadable", "--kinds", "duplicate.exact")
    done = ilk("check", "data", "--quick", "--quarantine", "away", *kinds, cwd=tmp_path)
    assert "Moved 2 files to away. To move them back: ilk check --undo away/manifest.json" in (
        done.stderr
    )
    gone = set(before) - set(content(data))
    assert len(gone) == 2
    assert content(tmp_path / "away" / "files").keys() == {p.relative_to("red") for p in gone}
    left = json.loads(ilk("check", "data", "--quick", "--json", cwd=tmp_path).stdout)["counts"]
    assert not {"file.unreadable", "duplicate.exact"} & set(left)

    done = ilk("check", "--undo", "away/manifest.json", cwd=tmp_path)
    assert done.stdout == "Moved 2 files back.\n"
    assert content(data) == before


def test_files_that_cannot_be_moved_back_are_reported(ilk, data, tmp_path):
    away = ("--quarantine", "away", "--kinds", "unreadable")
    ilk("check", "data", "--quick", *away, cwd=tmp_path)
    (data / "red" / "\x1b[2Jbad.png").write_text("new")
    done = ilk("check", "--undo", "away/manifest.json", code=1, cwd=tmp_path)
    assert done.stdout == "Moved 0 files back.\n"
    assert done.stderr.startswith("1 file could not be moved back:\n")
    assert "another file is there now" in done.stderr
    assert (data / "red" / "\x1b[2Jbad.png").read_text() == "new"


def test_nothing_to_move_makes_no_folder(ilk, data, tmp_path):
    away = ("--quarantine", "away", "--kinds", "leakage")
    done = ilk("check", "data", "--quick", *away, cwd=tmp_path)
    assert done.stderr == (
        "--quarantine: there is nothing to move.\n"
        "Errors that --kinds does not select remain: file.not_a_picture, label.conflict.\n"
    )
    assert not (tmp_path / "away").exists()


def test_train_takes_the_table_with_its_suspects(ilk, data, tmp_path):
    done = ilk("check", "data", "--write-catalog", "table.csv", cwd=tmp_path)
    assert "To train on it: ilk train table.csv" in done.stderr
    with (tmp_path / "table.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 27
    assert sum(bool(row["suspect"]) for row in rows) == 5
    done = ilk("train", "table.csv", "--name", "t", cwd=tmp_path)
    assert "Left out 1 file" in done.stderr
    assert (tmp_path / "runs" / "t" / "model.safetensors").is_file()


def test_what_check_refuses(refused, data, tmp_path):
    def refuse(*arguments, code=2):
        return refused("check", *arguments, code=code, cwd=tmp_path)

    assert "There is no nowhere" in refuse("nowhere", code=2)
    assert "Must be >= 1" in refuse("nowhere", "--workers", "-1")
    assert "Give DATA" in refuse()
    assert "Did you mean 'leakage'" in refuse("data", "--fail-on", "leakege")
    assert "--kinds '' is not a kind" in refuse("data", "--kinds", "", "--quarantine", "q")
    assert "go together" in refuse("data", "--quarantine", "q")
    assert "does not look for outlier" in refuse("data", "--quick", "--fail-on", "leakage,outlier")
    assert "runs no network" in refuse("data", "--quick", "--model", "resnet18")
    assert "go together" in refuse("data", "--kinds", "error")
    assert "--exist-ok does not apply without --out" in refuse("data", "--quick", "--exist-ok")
    assert "is inside data" in refuse("data", "--quarantine", "data/q", "--kinds", "error")
    assert "already exists" in refuse("data", "--quarantine", "data", "--kinds", "error", code=1)
    assert "should end in .csv" in refuse("data", "--write-catalog", "table.txt")
    assert "pictures in files" in refuse("digits", "--quick", "--write-catalog", "table.csv")
    assert "takes only a manifest" in refuse("data", "--undo", "manifest.json")
    assert "cannot be read: No such file" in refuse("--undo", "manifest.json", code=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]
