"""Publish: where an exported file goes, complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ilk import formats
from ilk.errors import IlkError, OutputError, UsageError
from ilk.exporting.receipt import Receipt
from ilk.folder import write_json
from ilk.formats.base import Format
from ilk.text import error_text, escaped


def output_path(output: Path | None, model: Path, form: Format) -> Path:
    """Return where an exported file will be: beside its model, unless ``output`` is given.

    Raises
    ------
    UsageError
        The name is that of another format, or of a folder that holds something else.
    """
    extension = form.extension
    target = model.with_name(model.stem + form.suffix) if output is None else output
    if target.suffix in (formats.extensions() | {".safetensors"}) - {extension}:
        raise UsageError(
            f"--output {escaped(target)} ends in {target.suffix}; {form.name} is "
            f"{'a file that ends in ' + extension if extension else 'a folder'}."
        )
    if target.name and not target.name.endswith(extension) and not target.is_dir():
        target = target.with_name(target.name + extension)
    if target.is_dir() and not (form.contents and _is_exported(target)):
        raise UsageError(
            f"{escaped(target)} is a folder with other contents; give another --output."
        )
    return target


def _is_exported(folder: Path) -> bool:
    """Say whether a folder holds an export of some format and nothing else."""
    found = {entry.name for entry in folder.iterdir()}
    return any(found == form.contents for form in formats.FORMATS if form.contents)


@contextmanager
def hidden_folder(parent: Path) -> Iterator[Path]:
    """Make a temporary folder on the same file system as ``parent``'s contents.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        temporary = TemporaryDirectory(dir=parent, prefix=".ilk-", ignore_cleanup_errors=True)
    with temporary as folder:
        yield Path(folder)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever a library raises when it cannot write into an OutputError.

    Raises
    ------
    OutputError
    """
    try:
        yield
    except IlkError:
        raise
    except Exception as error:  # to torch and OpenVINO, a full disk is a RuntimeError
        reason = error.strerror if isinstance(error, OSError) else None
        raise OutputError(
            f"{escaped(path)} cannot be written: {reason or error_text(error)}. Choose another "
            "location with --output."
        ) from None


def publish(receipt: Receipt, part: Path, target: Path) -> Receipt:
    """Move a verified file to its final name, with its receipt beside it."""
    receipt = replace(receipt, path=str(target))
    record = part.with_name("receipt.json")
    with writing(target):
        write_json(record, receipt.to_dict())
        replace_atomically(part, target)
        replace_atomically(record, target.with_name(f"{target.name}.receipt.json"))
    return receipt


def replace_atomically(part: Path, target: Path) -> None:
    """Rename a finished file or folder; an existing folder is first moved to the hidden one."""
    if target.is_dir():
        target.rename(part.with_name(f"{part.name}.old"))
    os.replace(part, target)  # noqa: PTH105 -- also for folders
