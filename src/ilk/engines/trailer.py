"""Trailer: metadata as a zip behind a file whose own format has no room for it.

A reader of flatbuffers never looks behind them, and one of zips begins at the end; TensorFlow Lite
keeps the files associated with a model in just this way.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

LARGEST = 100_000_000  # bytes of metadata, unpacked


def with_trailer(network: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a network with metadata behind them."""
    file = io.BytesIO()
    file.write(network)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name, text in metadata.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # ZipInfo: the same bytes at any time
    return file.getvalue()


def zipped_texts(path: Path) -> dict[str, str]:
    """Return the texts that begin with ``ilk.`` in a zip, or behind a file, by their last name.

    There are none if there is no whole zip, or if they are too large to be ours. Nothing else in
    it is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            ours = [info for info in archive.infolist() if _last(info).startswith("ilk.")]
            if sum(info.file_size for info in ours) > LARGEST:
                return {}
            return {_last(info): archive.read(info).decode() for info in ours}
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, OSError, EOFError, RuntimeError,
            NotImplementedError):  # fmt: skip
        return {}


def _last(info: zipfile.ZipInfo) -> str:
    return info.filename.rpartition("/")[2]
