"""Files and folders that ilk writes: numbered names, errors that name the path, sizes, digests."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ilk.errors import OutputError, UsageError
from ilk.runtime import write_whole
from ilk.text import escaped


@contextmanager
def new_folder(
    parent: Path,
    name: str | None,
    exist_ok: bool,
    default: str = "train",
    flags: tuple[str, str] = ("--name", "--runs"),
) -> Iterator[Path]:
    """Make a run's folder before the work begins; remove it again if nothing is written to it.

    Without a ``name`` it is ``default``, or the first of default-2, … that is free if that exists
    and ``exist_ok`` does not allow to replace it. ``flags`` are the command-line flags of the name
    and the parent, for messages.

    Raises
    ------
    OutputError
        The folder exists already or cannot be made.
    """
    if name is not None and (Path(name).name != name or name in {"", ".", ".."}):
        raise UsageError(
            f"{flags[0]} '{escaped(name)}' is not a valid name of a folder; {flags[1]} sets its "
            "parent."
        )
    if name is None and exist_ok:
        name = default
    existed = name is not None and (parent / name).is_dir()
    with readable_errors(parent, flags[1]):
        parent_existed = parent.exists()
        parent.mkdir(parents=True, exist_ok=True)
        if name is None:
            folder = _make_free(parent, default)
        else:
            folder = _make(parent / name, exist_ok, flags[0])
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    try:
        yield folder
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # not empty: keep it
                folder.rmdir()
                if not parent_existed:
                    parent.rmdir()


def _make(folder: Path, exist_ok: bool, flag: str) -> Path:
    if folder.exists() and not (exist_ok and folder.is_dir()):
        raise OutputError(
            f"{escaped(folder)} already exists. Choose another {flag}, or pass --exist-ok to "
            "replace its contents."
        )
    folder.mkdir(exist_ok=True)
    return folder


def _make_free(parent: Path, name: str) -> Path:
    """Make the first of name, name-2, name-3, … that is free, safely in several processes."""
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("unreachable: the numbers are endless")


@contextmanager
def readable_errors(path: Path, flag: str | None = "--runs") -> Iterator[None]:
    """Turn an OSError into an OutputError that names the path, and the flag that sets it."""
    try:
        yield
    except OSError as error:
        hint = f" Choose another folder with {flag}." if flag else ""
        raise OutputError(f"{escaped(path)} cannot be written: {error.strerror}.{hint}") from None


def put_in_place(part: Path, target: Path, is_whole: Callable[[], bool]) -> None:
    """Rename a finished folder, unless another process has made the same one meanwhile.

    Parameters
    ----------
    part : Path
        The finished folder, on the same file system.
    target : Path
        What it is to be called. If such a folder is there and not whole, it is replaced.
    is_whole : callable
        Says whether the folder at ``target`` is complete.
    """
    try:
        part.rename(target)
    except OSError:
        if is_whole():
            return
        shutil.rmtree(target, ignore_errors=True)
        try:
            part.rename(target)
        except OSError:
            if not is_whole():
                raise


def write_json(path: Path, record: Any) -> None:
    """Write a record as indented JSON, completely or not at all."""
    write_whole(path, (json.dumps(record, indent=2) + "\n").encode())


def write_csv(
    path: Path, header: Sequence[str], rows: Iterable[Iterable[object]], end: str = "\r\n"
) -> None:
    """Write a table, completely or not at all. None becomes an empty cell.

    Any file name that the system allows stays intact.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=end).writerows([header, *rows])
    write_whole(path, text.getvalue().encode(errors="surrogateescape"))


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file; for a folder, of its files' names and digests in order."""
    if not path.is_dir():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    hasher = hashlib.sha256()
    for file in _files(path):
        name = file.relative_to(path).as_posix()
        hasher.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return hasher.hexdigest()


def _files(path: Path) -> list[Path]:
    return sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
