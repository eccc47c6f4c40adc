"""Feedback: corrections of predictions, stored in one SQLite file, and exported as a catalog."""

from __future__ import annotations

import csv
import io
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ilk.data.catalog import digest_of
from ilk.data.decode import opened
from ilk.errors import DecodeError, OutputError, UsageError
from ilk.runtime import write_whole
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
OLDEST_FIRST = "select rowid from corrections order by time, rowid"
SELECT = "select picture, model, version, predicted, label from corrections where rowid = ?"
COLUMNS = ("path", "label", "predicted", "model")


@dataclass(frozen=True)
class Correction:
    """A picture, its prediction by a model, and its correct class."""

    content: bytes
    model: str
    version: str
    predicted: str
    label: str


class Feedback:
    """Corrections in a file. The last one for a picture and model counts.

    Parameters
    ----------
    path : Path
        An SQLite file; created if it does not exist.

    Raises
    ------
    OutputError
        It cannot be written, or is not an SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with _open(self._path) as database:
            database.execute(TABLE)

    def add(self, correction: Correction) -> int:
        """Store a correction, and return how many there are.

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


def read_corrections(path: Path) -> Iterator[Correction]:
    """Yield the corrections in a file, the oldest first; one at a time is in memory.

    Raises
    ------
    OutputError
        It is not a file of corrections.
    """
    with _open(path, "?mode=ro") as database:
        for row in database.execute(OLDEST_FIRST).fetchall():  # sorted without the pictures
            yield Correction(*database.execute(SELECT, row).fetchone())


@contextmanager
def _open(path: Path, query: str = "") -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}{query}"
    try:
        with closing(sqlite3.connect(uri, timeout=5, uri=True)) as database, database:
            yield database
    except sqlite3.Error as error:
        raise OutputError(
            f"{escaped(path)} cannot be used for corrections: {error}. Give another file."
        ) from None


def export_feedback(file: str | PathLike[str], output: str | PathLike[str] = "feedback") -> int:
    """Write the corrections that a service stored as a folder of pictures with a ``catalog.csv``.

    If a picture was corrected for several models, the last correction counts.

    Parameters
    ----------
    file : str or Path
        The SQLite file that ``serve(…, feedback=file)`` wrote.
    output : str or Path
        A new or empty folder.

    Returns
    -------
    int
        The number of pictures.

    Raises
    ------
    UsageError
        There is no such file, or the folder is not empty.
    OutputError
        The file holds no corrections, or the folder cannot be written.
    """
    file, output = Path(file), Path(output)
    if not file.is_file():
        raise UsageError(
            f"There is no file {escaped(file)}; 'ilk serve --feedback FILE' writes it."
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{escaped(output)} is not empty; give another --output.")
    rows: dict[str, tuple[str, ...]] = {}
    try:
        for correction in read_corrections(file):
            (output / "pictures").mkdir(parents=True, exist_ok=True)
            name = f"pictures/{digest_of(correction.content)}{_suffix(correction.content)}"
            (output / name).write_bytes(correction.content)
            model = f"{correction.model}@{correction.version}"
            rows[name] = (name, correction.label, correction.predicted, model)
        output.mkdir(parents=True, exist_ok=True)
        table = io.StringIO(newline="")
        csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows.values()])
        write_whole(output / "catalog.csv", table.getvalue().encode())
    except OSError as error:
        raise OutputError(f"{escaped(output)} cannot be written: {error.strerror}.") from None
    return len(rows)


def _suffix(content: bytes) -> str:
    try:
        with opened(content) as image:
            return f".{str(image.format).lower().replace('jpeg2000', 'jp2').replace('jpeg', 'jpg')}"
    except DecodeError:
        return ""
