"""Place: where an exported file goes, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ilk.engines.files import KINDS
from ilk.errors import IlkError, OutputError, UsageError
from ilk.exporting.formats import Format
from ilk.text import error_text, escaped

# What lies in the folders that are exported, and in no others.
FOLDERS = (
    {"model.xml", "model.bin"},
    {"Manifest.json", "Data"},
    {"index.html", "model.onnx", "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs",
     "ort-wasm-simd-threaded.wasm"},
)  # fmt: skip


def target_of(output: Path | None, model: Path, chosen: Format) -> Path:
    """Return where an exported file is to lie: beside its model, unless told otherwise.

    Raises
    ------
    UsageError
        The name is that of another kind of file, or of a folder that holds something else.
    """
    suffix = Path(f"m{chosen.ending}").suffix
    target = model.with_name(model.stem + chosen.ending) if output is None else output
    if target.suffix in {*KINDS, ".safetensors"} - {suffix}:
        raise UsageError(
            f"--output {escaped(target)} ends in {target.suffix}; {chosen.name} is "
            f"{'a file that ends in ' + suffix if suffix else 'a folder'}."
        )
    if target.name and not target.name.endswith(suffix) and not target.is_dir():
        target = target.with_name(target.name + suffix)
    ours = target.is_dir() and {entry.name for entry in target.iterdir()} in FOLDERS
    if target.is_dir() and not (ours and (suffix in {"", ".mlpackage"})):
        raise UsageError(f"{escaped(target)} is a folder of something else; give another --output.")
    return target


@contextmanager
def hidden_folder(parent: Path) -> Iterator[Path]:
    """Make a folder on the disk of what is to lie in ``parent``; in the end it is removed.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        made = TemporaryDirectory(dir=parent, prefix=".ilk-", ignore_cleanup_errors=True)
    with made as folder:
        yield Path(folder)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say that something cannot be written, whatever the library that writes it raises.

    Raises
    ------
    OutputError
        It cannot.
    """
    try:
        yield
    except IlkError:
        raise
    except Exception as error:  # a full disk is a RuntimeError to torch and OpenVINO
        reason = error.strerror if isinstance(error, OSError) else None
        raise OutputError(
            f"{escaped(path)} cannot be written: {reason or error_text(error)}. Choose another "
            "place with --output."
        ) from None


def put(part: Path, target: Path) -> None:
    """Give a finished file its name; a folder that it replaces is moved aside first."""
    if target.is_dir():
        target.rename(part.with_name(f"{part.name}.old"))  # goes with the hidden folder
    os.replace(part, target)  # noqa: PTH105 -- of folders too
