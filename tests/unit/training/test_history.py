from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import pytest

from ilk.text import duration
from ilk.training.history import Row, epoch_line, write_history

ROW = Row(
    epoch=3,
    step=300,
    seconds=12.345678901234567,
    lr=0.01,
    loss=0.41234,
    accuracy=0.861,
    val_loss=0.1 + 0.2,
    val_accuracy=0.88,
    val_macro_f1=1 / 3,
    pictures_per_second=1240.2,
)
WITHOUT_VAL = replace(ROW, val_loss=None, val_accuracy=None, val_macro_f1=None)


def test_a_row_of_an_early_version_is_read():
    record = {"rate" if key == "lr" else key: value for key, value in ROW.to_dict().items()}
    assert Row.from_dict(record) == ROW


@pytest.mark.parametrize("row", [ROW, WITHOUT_VAL])
def test_a_row_goes_through_json_unchanged(row):
    assert Row.from_dict(json.loads(json.dumps(row.to_dict()))) == row


def test_the_table_holds_every_number_in_full(tmp_path):
    file = tmp_path / "new" / "history.csv"
    write_history([ROW, WITHOUT_VAL], file)
    first, second = csv.DictReader(file.read_text().splitlines())
    assert {key: float(value) for key, value in first.items()} == ROW.to_dict()
    assert [key for key, value in second.items() if not value] == [
        "val_loss",
        "val_accuracy",
        "val_macro_f1",
    ]


def test_the_table_is_replaced_and_nothing_else_is_left(tmp_path):
    file = tmp_path / "history.csv"
    write_history([ROW], file)
    write_history([ROW, ROW, ROW], file)
    assert len(file.read_text().splitlines()) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_failed_write_leaves_the_table_of_before(tmp_path, monkeypatch):
    file = tmp_path / "history.csv"
    write_history([ROW], file)
    before = file.read_text()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_history([ROW, ROW], file)
    assert file.read_text() == before


def test_an_epoch_is_printed_as_a_line():
    assert epoch_line(ROW, 30, 125) == (
        "epoch  3/30   loss 0.412   accuracy  86.1 %   val loss 0.300   val accuracy  88.0 %   "
        "lr 0.0100      1,240 pictures/s   2 min left"
    )


@pytest.mark.parametrize("left", [None, 0, math.inf, math.nan])
def test_what_is_not_known_is_not_epoch_line(left):
    assert epoch_line(WITHOUT_VAL, 3, left) == (
        "epoch 3/3   loss 0.412   accuracy  86.1 %   lr 0.0100      1,240 pictures/s"
    )


def test_lines_form_a_table():
    others = [
        replace(ROW, epoch=100, loss=12.3456, accuracy=1, val_loss=99.996, lr=3.2e-5),
        replace(ROW, loss=math.nan, val_loss=math.inf, val_accuracy=0, lr=1, accuracy=0),
        replace(ROW, loss=1e9, val_loss=9.9996, lr=0.000123456, pictures_per_second=0.84),
        replace(ROW, loss=2345.6, val_loss=0, lr=0, pictures_per_second=98_765.4),
    ]
    lines = [epoch_line(row, 100, 60) for row in [ROW, *others]]
    assert len({len(line) for line in lines}) == 1, "\n".join(lines)
    for word in ("loss", "val loss", "lr", "pictures/s", "left"):
        assert len({line.rindex(word) for line in lines}) == 1, "\n".join(lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (59.6, "1 min"),
        (125, "2 min"),
        (3599, "1 h"),
        (3900, "1 h 5 min"),
        (100_000, "27 h 47 min"),
    ],
)
def test_a_duration_is_written_as_people_say_it(seconds, text):
    assert duration(seconds) == text
