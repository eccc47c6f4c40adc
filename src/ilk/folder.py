"""Folders that ilk writes to: numbered names, whole or not at all, errors that name the path."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ilk.errors import OutputError, UsageError
from ilk.text import escaped


@contextmanager
def new_folder(
    parent: Path,
    name: str | None,
    exist_ok: bool,
    default: str = "train",
    flags: tuple[str, str] = ("--name", "--runs"),
) -> Iterator[Path]:
    """Make a run's folder before the work begins; take it away again if the work fails at once.

    ``flags`` are those by which people choose the name and the parent.

    Raises
    ------
    OutputError
        The folder is there already, or cannot be made.
    """
    if name is not None and (Path(name).name != name or name in {"", ".", ".."}):
        raise UsageError(
            f"{flags[0]} '{escaped(name)}' is no folder's name; {flags[1]} says where it lies."
        )
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
            with contextlib.suppress(OSError):  # not empty: there is something to keep
                folder.rmdir()
                if not parent_existed:
                    parent.rmdir()


def _make(folder: Path, exist_ok: bool, flag: str) -> Path:
    if folder.exists() and not (exist_ok and folder.is_dir()):
        raise OutputError(
            f"{escaped(folder)} is there already. Choose another {flag}, or pass --exist-ok to "
            "replace what it holds."
        )
    folder.mkdir(exist_ok=True)
    return folder


def _make_free(parent: Path, name: str) -> Path:
    """Make the first of name, name-2, name-3, … that is free, also if others do so meanwhile."""
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("there are always more numbers")


@contextmanager
def readable_errors(path: Path, flag: str = "--runs") -> Iterator[None]:
    """Turn an OSError into an OutputError that names where ilk wanted to write."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{escaped(path)} cannot be written: {error.strerror}. Choose another place with "
            f"{flag}."
        ) from None


def write_json(path: Path, record: Any) -> None:
    """Write a record as JSON that people can read too."""
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
