"""Feedback: people's corrections, kept in one SQLite file, and turned into a catalog."""

from __future__ import annotations

import csv
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ilk.data.catalog import digest_of
from ilk.data.decode import opened
from ilk.errors import DecodeError, OutputError, UsageError
from ilk.text import escaped

TABLE = """
create table if not exists corrections (
    digest text not null,
    model text not null,
    version text not null,
    predicted text not null,
    label text not null,
    time text not null default (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    picture blob not null,
    primary key (digest, model)
)"""
INSERT = """
insert into corrections (digest, model, version, predicted, label, picture)
values (?, ?, ?, ?, ?, ?)
on conflict (digest, model) do update set
    version = excluded.version, predicted = excluded.predicted, label = excluded.label,
    time = excluded.time
"""
COLUMNS = ("path", "label", "predicted", "model")


@dataclass(frozen=True)
class Correction:
    """A picture, what a model named it, and what it is."""

    content: bytes
    model: str
    version: str
    predicted: str
    label: str


class Feedback:
    """Corrections in a file. Of one picture under one model, the last counts.

    Parameters
    ----------
    path : Path
        An SQLite file; made if it is not there.

    Raises
    ------
    OutputError
        It cannot be written, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with _open(self._path) as database:
            database.execute(TABLE)

    def add(self, correction: Correction) -> int:
        """Keep a correction, and return how many there are.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        c = correction
        with self._lock, _open(self._path) as database:
            database.execute(
                INSERT,
                (digest_of(c.content), c.model, c.version, c.predicted, c.label, c.content),
            )
            return int(database.execute("select count(*) from corrections").fetchone()[0])


def corrections_in(path: Path) -> list[Correction]:
    """Return the corrections in a file, the oldest first.

    Raises
    ------
    OutputError
        There are none: the file is of another kind.
    """
    with _open(path, "?mode=ro") as database:
        rows = database.execute(
            "select picture, model, version, predicted, label from corrections order by time, rowid"
        )
        return [Correction(*row) for row in rows]


@contextmanager
def _open(path: Path, how: str = "") -> Iterator[sqlite3.Connection]:
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}{how}", timeout=5, uri=True)
        try:
            with database:
                yield database
        finally:
            database.close()
    except sqlite3.Error as error:
        raise OutputError(
            f"{escaped(path)} cannot hold corrections ({error}). Name another file."
        ) from None


def export_feedback(path: Path, output: Path) -> int:
    """Write corrections as a folder of pictures with a ``catalog.csv``; return how many.

    Of a picture that was corrected under several models, the last correction counts.

    Raises
    ------
    UsageError
        The file is not there, or the folder holds something already.
    OutputError
        The folder cannot be written.
    """
    if not path.is_file():
        raise UsageError(
            f"There is no file {escaped(path)}; 'ilk serve --feedback FILE' writes it."
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{escaped(output)} is not empty; give another --output.")
    corrections = corrections_in(path)
    rows: dict[str, tuple[str, ...]] = {}
    try:
        (output / "pictures").mkdir(parents=True, exist_ok=True)
        for correction in corrections:
            name = f"pictures/{digest_of(correction.content)[:32]}{_ending(correction.content)}"
            (output / name).write_bytes(correction.content)
            model = f"{correction.model}@{correction.version}"
            rows[name] = (name, correction.label, correction.predicted, model)
        with (output / "catalog.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows.values()])
    except OSError as error:
        raise OutputError(f"{escaped(output)} cannot be written: {error.strerror}.") from None
    return len(rows)


def _ending(content: bytes) -> str:
    try:
        with opened(content) as image:
            return f".{str(image.format).lower().replace('jpeg', 'jpg')}"
    except DecodeError:
        return ""
