from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ilk.checking import marked
from ilk.checking.findings import Findings
from ilk.data.catalog import Catalog, LeftOut, Picture, from_arrays
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


def test_suspects_are_marked_with_what_was_found(checked, tmp_path):
    assert marked.write(tmp_path / "table.csv", checked) == 2
    table = rows(tmp_path / "table.csv")
    assert tuple(table["good.png"]) == marked.HEADER
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
    marked.write(tmp_path / "table.csv", checked)
    catalog = open_catalog(tmp_path / "table.csv")
    assert [Path(p.path).name for p in catalog.pictures] == [
        "good.png",
        "odd\udcff,\n.png",
        "turned.png",
    ]
    assert [x.unreadable for x in catalog.left_out] == [False, False]


def test_what_was_moved_away_gets_no_row(checked, tmp_path):
    marked.write(tmp_path / "table.csv", checked, [str(tmp_path / "cat" / "bad.png")])
    assert "bad.png" not in rows(tmp_path / "table.csv")


def test_a_table_that_is_there_or_no_csv_is_refused(checked, tmp_path):
    taken = tmp_path / "taken.csv"
    taken.write_text("precious")
    with pytest.raises(OutputError, match="is there already"):
        marked.refuse_table(taken)
    with pytest.raises(OutputError, match="cannot be written: File exists"):
        marked.write(taken, checked)
    assert taken.read_text() == "precious"
    with pytest.raises(UsageError, match=r"should end in \.csv"):
        marked.refuse_table(tmp_path / "table.parquet")
    marked.refuse_table(tmp_path / "new.CSV")


def test_pictures_in_memory_are_refused(noise):
    import numpy as np

    with pytest.raises(UsageError, match="--quarantine is for pictures in files; toys has none"):
        marked.refuse_memory(from_arrays([np.asarray(noise())], name="toys"), "--quarantine")
