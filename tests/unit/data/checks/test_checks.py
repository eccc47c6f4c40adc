from __future__ import annotations

import json

import numpy as np
import pytest

from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.checks import remarks, run_checks
from ilk.data.sources import open_catalog


def pictures(label, number, split=None, seed=0):
    rng = np.random.default_rng([seed, *label.encode()])
    return [
        Picture(f"{label}/{i}", label, split, content=rng.integers(0, 256, (4, 4, 3), np.uint8))
        for i in range(number)
    ]


@pytest.fixture
def clean():
    return (*pictures("cat", 12), *pictures("dog", 12))


def kinds(*pictures, left_out=()):
    found = run_checks(Catalog(tuple(pictures), tuple(left_out)))
    return [f.kind for f in found.findings]


def copy_of(picture, **changes):
    values = {"path": "copy", "label": picture.label, "split": picture.split}
    return Picture(**{**values, **changes}, content=picture.content)


def test_nothing_is_found_where_nothing_is_wrong(clean):
    found = run_checks(Catalog(clean))
    assert (found.n, found.findings, found.counts) == (24, (), {})


def test_the_same_file_twice(clean):
    found = run_checks(Catalog((*clean, copy_of(clean[0]), copy_of(clean[0], path="more"))))
    (finding,) = found.findings
    assert (finding.kind, finding.severity) == ("duplicate.exact", "warning")
    assert finding.paths == (clean[0].path, "copy", "more")
    assert finding.detail == "3 identical files"


def test_the_same_file_under_two_labels(clean):
    found = run_checks(Catalog((*clean, copy_of(clean[0], label="dog"))))
    (finding,) = found.findings
    assert (finding.kind, finding.severity) == ("duplicate.across_classes", "error")
    assert "cat, dog" in finding.detail


def test_the_same_file_in_two_splits():
    train = [*pictures("cat", 12, "train"), *pictures("dog", 12, "train")]
    found = run_checks(Catalog((*train, copy_of(train[0], split="test"))))
    (finding,) = found.findings
    assert (finding.kind, finding.severity) == ("duplicate.across_splits", "error")
    assert "test, train" in finding.detail


def test_a_file_that_cannot_be_decoded_or_opened(clean, tmp_path):
    bad = Picture("bad.jpg", "cat", content=b"\xff\xd8\xff garbage")
    missing = Picture(str(tmp_path / "missing.jpg"), "cat")
    found = run_checks(Catalog((*clean, bad, missing)))
    assert {f.paths[0] for f in found.findings} == {"bad.jpg", missing.path}
    assert {(f.kind, f.severity) for f in found.findings} == {("file.unreadable", "error")}
    assert all(f.detail and f.action for f in found.findings)
    assert found.n == 26


def test_files_left_out_before_are_told(clean):
    left = [LeftOut("notes.txt", "its ending", unreadable=False), LeftOut("x.jpg", "is not there")]
    found = run_checks(Catalog(clean, tuple(left)))
    assert [(f.kind, f.severity) for f in found.findings] == [
        ("file.unreadable", "error"),
        ("file.ignored", "info"),
    ]
    assert found.n == 26


@pytest.mark.parametrize(
    ("cats", "dogs", "expected"),
    [
        (10, 10, []),
        (10, 9, ["balance.few"]),
        (99, 10, []),
        (100, 10, ["balance.unequal"]),
        (40, 4, ["balance.few", "balance.unequal"]),
        (12, 0, ["balance.one_class"]),
        (0, 0, ["balance.one_class"]),
    ],
)
def test_the_balance_of_the_classes(cats, dogs, expected):
    assert kinds(*pictures("cat", cats), *pictures("dog", dogs)) == expected


def test_unreadable_files_do_not_count_for_the_balance():
    bad = [Picture(f"bad{i}", "dog", content=b"x" * (i + 1)) for i in range(10)]
    found = kinds(*pictures("cat", 12), *pictures("dog", 5), *bad)
    assert found == ["file.unreadable"] * 10 + ["balance.few"]


def test_findings_come_the_gravest_first(clean):
    left = [LeftOut("notes.txt", "its ending", unreadable=False)]
    bad = Picture("bad", "cat", content=b"x")
    found = run_checks(Catalog((*clean, copy_of(clean[0]), bad), tuple(left)))
    assert [f.severity for f in found.findings] == ["error", "warning", "info"]


def test_the_record_is_json_with_a_count_of_each_kind(clean):
    found = run_checks(Catalog((*clean, copy_of(clean[0]), copy_of(clean[1]))))
    record = json.loads(json.dumps(found.to_dict()))
    assert record["n"] == 26
    assert record["counts"] == {"duplicate.exact": 2}
    assert set(record["findings"][0]) == {"kind", "severity", "paths", "detail", "action"}


def test_progress_is_told_of_every_picture(clean, telling):
    told = []
    run_checks(Catalog((*clean, Picture("bad", "cat", content=b"x"))), progress=telling(told))
    assert sum(told) == 25


def test_a_folder_from_end_to_end(tmp_path, write_picture):
    for i in range(10):
        write_picture(tmp_path / "cat" / f"{i}.png", i)
        write_picture(tmp_path / "dog" / f"{i}.png", 100 + i)
    (tmp_path / "dog" / "0.png").write_bytes(b"")
    write_picture(tmp_path / "cat" / "copy.png", 3)
    (tmp_path / "cat" / "notes.txt").write_text("x")
    found = run_checks(open_catalog(tmp_path))
    assert found.counts == {
        "file.unreadable": 1,
        "duplicate.exact": 1,
        "balance.few": 1,
        "file.ignored": 1,
    }
    assert found.n == 22


def test_a_training_is_told_of_the_gravest_things_alone(clean):
    wrong = copy_of(clean[0], label="eel")
    told = remarks(Catalog((*clean, wrong)).digested())
    assert "1 pictures lie under more than one label" in told[0]
    assert told[1] == "Hardly any pictures of eel (1): do not trust it there"
    assert remarks(Catalog(clean).digested()) == []
