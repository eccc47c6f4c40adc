from __future__ import annotations

import csv
from pathlib import Path

import pytest

import ilk
from ilk.checking.findings.records import Findings
from ilk.checking.quarantine.move import refuse_memory
from ilk.checking.write_catalog import refuse_table, write_catalog
from ilk.data.catalog import Catalog, LeftOut, Picture
from ilk.data.in_memory import from_arrays
from ilk.data.sources import open_catalog
from ilk.errors import OutputError, UsageError


@pytest.fixture
def checked(tmp_path, write_picture, finding):
    """Four pictures: a good one, a suspect, one that is turned, one that cannot be read."""
    names = ("good.png", "odd\udcff,\n.png", "turned.png", "bad.png")
    paths = [write_picture(tmp_path / "cat" / name, i) for i, name in enumerate(names)]
    good, suspect, turned, bad = map(str, paths)
    found = (
        finding("file.truncated", bad, severity="error", detail="ends too early"),
        finding("label.suspect", suspect, detail="looks like dog"),
        finding("duplicate.near", suspect, good),
        finding("file.rotated", turned, severity="info"),
    )
    catalog = Catalog(
        tuple(Picture(str(path), "cat", "train") for path in paths),
        (LeftOut(str(tmp_path / "notes.txt"), "its ending", unreadable=False),),
    )
    return Findings(5, found, catalog)


def rows(file):
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        return {Path(row["path"]).name: row for row in csv.DictReader(lines)}


def test_suspects_are_marked_with_their_findings(checked, tmp_path):
    assert write_catalog(checked, tmp_path / "table.csv") == 2
    table = rows(tmp_path / "table.csv")
    assert list(table["good.png"]) == ["path", "label", "split", "suspect", "why", "left_out"]
    assert table["good.png"]["suspect"] == "duplicate.near"
    odd = table["odd\udcff,\n.png"]
    assert odd["suspect"] == "label.suspect duplicate.near"
    assert odd["why"] == "looks like dog; what is wrong"
    assert (odd["label"], odd["split"], odd["left_out"]) == ("cat", "train", "")
    assert table["turned.png"]["suspect"] == ""
    assert table["bad.png"]["left_out"] == "ends too early"
    assert table["notes.txt"]["left_out"] == "its ending"


def test_the_table_is_one_that_a_training_takes(checked, tmp_path):
    (tmp_path / "notes.txt").touch()
    write_catalog(checked, tmp_path / "table.csv")
    catalog = open_catalog(tmp_path / "table.csv")
    assert [Path(p.path).name for p in catalog.pictures] == [
        "good.png",
        "odd\udcff,\n.png",
        "turned.png",
    ]
    assert [x.unreadable for x in catalog.left_out] == [False, False]


def test_the_columns_of_the_user_s_own_table_are_kept(tmp_path, write_picture, finding):
    good, bad = write_picture(tmp_path / "good.png", 1), tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    (tmp_path / "mine.csv").write_text(
        "path,label,site,suspect,why\n"
        f"{good},cat,north,label.suspect,old remark\n{bad},cat,south,,\n"
    )
    found = ilk.check(tmp_path / "mine.csv", quick=True)
    write_catalog(found, tmp_path / "table.csv")
    table = rows(tmp_path / "table.csv")
    header = ["path", "label", "split", "site", "suspect", "why", "left_out"]
    assert list(table["good.png"]) == header
    assert table["good.png"]["site"] == "north"
    assert "old remark" not in table["good.png"]["why"]
    assert table["bad.png"]["site"] == "south"
    assert open_catalog(tmp_path / "table.csv").pictures[0].columns["site"] == "north"


def test_files_that_were_moved_get_no_row(checked, tmp_path):
    write_catalog(checked, tmp_path / "table.csv", gone=[str(tmp_path / "cat" / "bad.png")])
    assert "bad.png" not in rows(tmp_path / "table.csv")


def test_an_existing_file_or_one_that_is_not_csv_is_refused(checked, tmp_path):
    taken = tmp_path / "taken.csv"
    taken.write_text("precious")
    with pytest.raises(OutputError, match="already exists"):
        refuse_table(taken)
    with pytest.raises(OutputError, match="already exists"):
        write_catalog(checked, taken)
    assert taken.read_text() == "precious"
    with pytest.raises(UsageError, match=r"should end in \.csv"):
        refuse_table(tmp_path / "table.parquet")
    refuse_table(tmp_path / "new.CSV")


def test_an_interrupted_table_leaves_no_file(checked, tmp_path, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("ilk.checking.write_catalog.place", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_catalog(checked, tmp_path / "table.csv", gone=["moved"])
    assert [p.name for p in tmp_path.iterdir()] == ["cat"]


def test_pictures_in_memory_are_refused(noise):
    import numpy as np

    with pytest.raises(UsageError, match="those of toys are in memory"):
        refuse_memory(from_arrays([np.asarray(noise())], name="toys"), "--quarantine")
