"""All checks together: what is found, in which order, and that little is found where little is."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
from PIL import Image

import ilk
from ilk.checking.check import find_all
from ilk.checking.findings.evidence import Evidence
from ilk.checking.findings.kinds import KINDS
from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.inspection.inspect import inspect
from ilk.data.inspection.near import near_pairs
from ilk.data.sources import open_catalog
from ilk.errors import OutputError, UsageError
from ilk.training.prepare_data import data_warnings


def picture(path, label, split=None, seed=0, side=48):
    """A picture of large soft spots, as no other seed gives it."""
    rng = np.random.default_rng([seed, *label.encode()])
    spots = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    smooth = np.asarray(spots.resize((side, side), Image.Resampling.BICUBIC)).astype(int)
    noisy = smooth + rng.integers(-12, 13, (side, side, 3))
    return Picture(path, label, split, content=noisy.clip(0, 255).astype(np.uint8))


def pictures(label, number, split=None):
    return [picture(f"{label}/{i}", label, split, seed=i) for i in range(number)]


@pytest.fixture
def clean():
    return (*pictures("cat", 12), *pictures("dog", 12))


def check(*pictures, left_out=(), missing=None):
    inspection = inspect(Catalog(tuple(pictures), tuple(left_out)))
    return find_all(Evidence(inspection), near_pairs(inspection), missing)


def copy_of(picture, **changes):
    values = {"path": "copy", "label": picture.label, "split": picture.split}
    return Picture(**{**values, **changes}, content=picture.content)


def test_nothing_is_found_where_nothing_is_wrong(clean):
    found = check(*clean)
    assert (found.n, found.findings, found.counts) == (24, (), {})


def test_findings_are_sorted_by_severity(clean):
    left = [LeftOut("notes.txt", "no picture", unreadable=False, kind="file.ignored")]
    bad = Picture("bad", "cat", content=b"x")
    found = check(*clean, copy_of(clean[0]), bad, left_out=left)
    assert [f.severity for f in found.findings] == ["error", "warning", "info"]
    assert found.n == 27


def test_every_kind_has_a_title(clean):
    found = check(*clean, copy_of(clean[0], label="dog"), Picture("bad", "cat", content=b""))
    assert {f.kind for f in found.findings} >= {"label.conflict", "file.empty"}
    assert {f.kind for f in found.findings} <= set(KINDS)
    assert all(f.detail and f.action for f in found.findings)


def test_the_record_is_json_with_a_count_of_each_kind(clean):
    found = check(*clean, copy_of(clean[0]), copy_of(clean[1], path="other"))
    record = json.loads(json.dumps(found.to_dict()))
    assert record["n"] == 26
    assert record["counts"] == {"duplicate.exact": 2}
    assert set(record["findings"][0]) == {"kind", "severity", "paths", "detail", "action"}


def test_kinds_that_cannot_be_looked_for_are_recorded(clean):
    told = check(*clean, missing={"outlier": "--quick"}).to_dict()["not_looked_for"]
    assert told == {"outlier": "--quick"}
    assert check(*clean).not_looked_for == {}


def test_a_folder_from_end_to_end(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(10):
            Image.fromarray(picture("", label, seed=i).content).save(tmp_path / label / f"{i}.png")
    (tmp_path / "dog" / "0.png").write_bytes(b"")
    (tmp_path / "cat" / "copy.png").write_bytes((tmp_path / "cat" / "3.png").read_bytes())
    (tmp_path / "cat" / "notes.txt").write_text("x")
    found = check(*(catalog := open_catalog(tmp_path)).pictures, left_out=catalog.left_out)
    assert found.counts == {
        "file.empty": 1,
        "duplicate.exact": 1,
        "balance.few": 1,
        "file.ignored": 1,
    }
    assert found.n == 22


def test_a_training_warns_of_the_gravest_findings_only(clean):
    wrong = copy_of(clean[0], label="eel")
    told = data_warnings(Catalog((*clean, wrong)).digested())
    assert "1 picture has more than one label" in told[0]
    assert told[1] == "Very few pictures of eel (1): expect poor results for these classes"
    assert data_warnings(Catalog(clean).digested()) == []


def test_a_check_writes_its_report_to_a_folder(clean, tmp_path):
    data = Catalog(clean)
    assert ilk.check(data, quick=True).folder is None
    found = ilk.check(data, quick=True, runs=tmp_path / "runs")
    assert found.folder == tmp_path / "runs" / "check"
    assert sorted(path.name for path in found.folder.iterdir()) == ["check.html", "check.json"]
    assert ilk.check(data, quick=True, runs=tmp_path / "runs").folder.name == "check-2"
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").touch()  # no report yet, so the folder may be used
    assert ilk.check(data, quick=True, out=out).folder == out
    with pytest.raises(OutputError, match="mine already exists"):
        ilk.check(data, quick=True, out=out)
    ilk.check(data, quick=True, out=out, exist_ok=True)
    with pytest.raises(UsageError, match="out or runs"):
        ilk.check(data, out=out, runs=tmp_path)
    with pytest.raises(UsageError, match="exist_ok does not apply without out"):
        ilk.check(data, quick=True, exist_ok=True)


@pytest.mark.parametrize("full", ["check.json", "check.html"])
def test_a_report_that_cannot_be_written_is_named_and_leaves_the_earlier_one(
    clean, tmp_path, monkeypatch, full
):
    out, fsync, left = tmp_path / "out", os.fsync, [0 if full == "check.json" else 2]
    ilk.check(Catalog(clean), quick=True, out=out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def failing(descriptor):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(OutputError, match="out cannot be written: No space left"):
        ilk.check(Catalog(clean[:2]), quick=True, out=out, exist_ok=True)
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert after[full] == before[full]
    assert after.keys() == before.keys()


def test_a_check_of_an_unknown_backbone_fails_before_anything_is_written(clean, tmp_path):
    with pytest.raises(UsageError, match="resnet"):
        ilk.check(Catalog(clean), model="resnett18", runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_quarantine_and_undo_from_python(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(3):
            image = Image.fromarray(picture("", label, seed=i).content)
            image.save(tmp_path / "data" / label / f"{i}.png")
    copy = tmp_path / "data" / "cat" / "copy.png"
    copy.write_bytes((tmp_path / "data" / "cat" / "0.png").read_bytes())
    found = ilk.check(tmp_path / "data", quick=True)
    nothing = ilk.quarantine(found, "leakage", tmp_path / "away")
    assert (nothing.manifest, nothing.files) == (None, ())
    assert not (tmp_path / "away").exists()
    with pytest.raises(UsageError, match="is not a kind of finding"):
        ilk.quarantine(found, "duplicates", tmp_path / "away")
    with pytest.raises(UsageError, match="is inside"):
        ilk.quarantine(found, "duplicate", tmp_path / "data" / "away")
    moved = ilk.quarantine(found, "duplicate", tmp_path / "away")
    assert len(moved.files) == 1
    assert len(list((tmp_path / "data" / "cat").iterdir())) == 3
    assert ilk.undo_quarantine(tmp_path / "away").files == moved.files
    assert copy.is_file()
