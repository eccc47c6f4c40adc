from __future__ import annotations

import csv
import dataclasses
import sqlite3
import tracemalloc
from contextlib import closing

import pytest

from ilk.data.sources import open_catalog
from ilk.errors import OutputError, UsageError
from ilk.serving.feedback import Correction, Feedback, export_feedback, read_corrections


def test_a_correction_is_stored_once_per_picture_and_becomes_a_catalog(ask, png, tmp_path):
    client = ask()

    def correct(seed, label, **more):
        return client.post("/feedback", files={"image": png(seed)}, data={"label": label, **more})

    assert correct(0, "dog", predicted="cat").json() == {"corrections": 1}
    assert correct(1, "eel").json() == {"corrections": 2}
    assert correct(0, "eel").json() == {"corrections": 2}  # on second thoughts
    assert correct(0, "cow").status_code == 422
    assert export_feedback(tmp_path / "corrections", tmp_path / "new") == 2
    catalog = open_catalog(tmp_path / "new" / "catalog.csv")
    assert [p.label for p in catalog.pictures] == ["eel", "eel"]
    assert {p.read() for p in catalog.pictures} == {png(0), png(1)}
    with pytest.raises(UsageError, match="is not empty"):
        export_feedback(tmp_path / "corrections", tmp_path / "new")


def test_what_is_not_a_correction_is_refused(client, png):
    cat = {"label": "cat"}
    assert client.post("/feedback", files={"image": png()}).status_code == 422
    assert client.post("/feedback", content=png()).status_code == 415
    assert client.post("/feedback", files={"image": png()[:100]}, data=cat).status_code == 422
    assert client.post("/feedback", files={"image": b"no"}, data=cat).status_code == 422
    two = [("image", png(0)), ("image", png(1))]
    assert client.post("/feedback", files=two, data=cat).status_code == 413


def test_without_a_file_corrections_are_not_accepted(ask, png):
    client = ask(store=False)
    found = client.post("/feedback", files={"image": png()}, data={"label": "cat"})
    assert found.status_code == 404
    assert not client.get("/about").json()["feedback"]


def test_other_files_cannot_be_used_for_corrections(tmp_path):
    (tmp_path / "notes.txt").write_text("notes, and nothing but notes" * 50)
    with pytest.raises(OutputError, match="cannot be used for corrections"):
        Feedback(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="There is no file"):
        export_feedback(tmp_path / "missing", tmp_path / "x")
    with pytest.raises(OutputError):
        Feedback(tmp_path / "no" / "folder")


def test_an_export_leaves_the_file_alone_and_has_one_label_per_picture(tmp_path, png):
    store = Feedback(tmp_path / "c")
    store.add(Correction(png(), "a", "1", "cat", "dog"))
    store.add(Correction(png(), "b", "1", "cat", "eel"))
    assert export_feedback(tmp_path / "c", tmp_path / "new") == 1
    assert [p.label for p in open_catalog(tmp_path / "new" / "catalog.csv").pictures] == ["eel"]
    with closing(sqlite3.connect(tmp_path / "other")) as database:
        database.execute("create table recipes (name text)")
    before = (tmp_path / "other").read_bytes()
    with pytest.raises(OutputError, match="cannot be used for corrections"):
        export_feedback(tmp_path / "other", tmp_path / "newer")
    assert (tmp_path / "other").read_bytes() == before
    assert not (tmp_path / "newer").exists()


def test_an_export_holds_one_picture_in_memory_at_a_time(tmp_path):
    store = Feedback(tmp_path / "c")
    size, number = 1_000_000, 20
    for i in range(number):
        store.add(Correction(bytes([i]) * size, "m", "1", "cat", "dog"))
    tracemalloc.start()
    try:
        assert export_feedback(tmp_path / "c", tmp_path / "new") == number
        assert tracemalloc.get_traced_memory()[1] < 5 * size
    finally:
        tracemalloc.stop()


def test_an_interrupted_export_leaves_no_catalog(tmp_path, monkeypatch):
    def interrupted(descriptor):
        raise KeyboardInterrupt

    Feedback(tmp_path / "c").add(Correction(b"x", "m", "1", "cat", "dog"))
    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_feedback(tmp_path / "c", tmp_path / "new")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["pictures"]


def test_corrections_are_exported_in_the_order_in_which_they_were_made(tmp_path):
    store = Feedback(tmp_path / "c")
    for content in (b"b", b"a"):
        store.add(Correction(content, "m", "1", "cat", content.decode()))
    export_feedback(tmp_path / "c", tmp_path / "new")
    with (tmp_path / "new" / "catalog.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["b", "a"]


def test_corrections_survive_the_service(tmp_path):
    Feedback(tmp_path / "c").add(Correction(b"x", "m", "1", "cat", "dog"))
    assert [dataclasses.astuple(c) for c in read_corrections(tmp_path / "c")] == [
        (b"x", "m", "1", "cat", "dog")
    ]
    with closing(sqlite3.connect(tmp_path / "c")) as database:
        assert database.execute("select count(*) from corrections").fetchone() == (1,)
