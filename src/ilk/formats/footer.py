"""Footer: metadata as a zip appended to a file whose own format has no room for it.

Flatbuffer readers ignore what follows the buffer, and zip readers start at the end of the file.
TensorFlow Lite stores a model's associated files in the same way.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

MAX_BYTES = 100_000_000  # of metadata, unpacked


def with_footer(network: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a network, followed by its metadata."""
    file = io.BytesIO()
    file.write(network)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        for name, text in metadata.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # ZipInfo has no clock: same bytes always
    return file.getvalue()


def without_footer(path: Path) -> bytes:
    """Return the bytes before a file's footer."""
    with zipfile.ZipFile(path) as archive:
        start = min(info.header_offset for info in archive.infolist())
    with path.open("rb") as file:
        return file.read(start)


def zipped_metadata(path: Path) -> dict[str, str]:
    """Return the texts named ``ilk.*`` of a zip or a footer, by file name without folder.

    Returns an empty dict if there is no intact zip, or if the texts exceed 100 MB and so cannot be
    ilk's. No other entry is read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            ours = [info for info in archive.infolist() if _basename(info).startswith("ilk.")]
            if sum(info.file_size for info in ours) > MAX_BYTES:
                return {}
            return {_basename(info): archive.read(info).decode() for info in ours}
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, OSError, EOFError, RuntimeError,
            NotImplementedError):  # fmt: skip
        return {}


def _basename(info: zipfile.ZipInfo) -> str:
    return info.filename.rpartition("/")[2]
