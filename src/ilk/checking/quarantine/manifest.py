"""Manifest: the record of where each file was, where it is now, and why."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ilk.errors import ManifestError
from ilk.runtime import versions, write_whole
from ilk.text import escaped

NAME = "manifest.json"
FILES = "files"  # the folder next to the manifest that files are moved to
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One file.

    Attributes
    ----------
    original : str
        Its absolute path before.
    now : str
        Its path in the quarantine, relative to the manifest.
    sha256 : str
        Digest of its content; for a link, of its target's path.
    size : int
        Bytes.
    mtime_ns : int
        Modification time, in nanoseconds since 1970.
    why : tuple of str
        What was found, as ``kind: detail``.
    """

    original: str
    now: str
    sha256: str
    size: int
    mtime_ns: int
    why: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What is in quarantine; ``root`` is the common folder of the original files."""

    root: str
    entries: tuple[Entry, ...]

    def save(self, folder: Path) -> Path:
        """Write the manifest atomically and flush it; return its path."""
        record = {
            "ilk_manifest": VERSION,
            "ilk": versions().get("ilk"),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "root": self.root,
            "files": [asdict(entry) for entry in self.entries],
        }
        path = folder / NAME
        write_whole(path, (json.dumps(record, indent=1) + "\n").encode())
        return path


def load(path: Path) -> Manifest:
    """Read a manifest; `conflict` checks its entries.

    Raises
    ------
    ManifestError
        It cannot be read, is not a manifest, is of a newer version, or is incomplete.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise ManifestError(f"{escaped(path)} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise ManifestError(
            f"{escaped(path)} is not JSON; give the {NAME} of a quarantine."
        ) from None
    version = record.get("ilk_manifest") if isinstance(record, dict) else None
    if not isinstance(version, int):
        raise ManifestError(f"{escaped(path)} is not a manifest; give the {NAME} of a quarantine.")
    if version > VERSION:
        raise ManifestError(f"{escaped(path)} was written by a newer version of ilk: update ilk.")
    try:
        return Manifest(_text(record["root"]), tuple(_entry(file) for file in record["files"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"{escaped(path)} is damaged or was edited: {error!r}.") from None


def _entry(record: dict[str, Any]) -> Entry:
    return Entry(
        original=_text(record["original"]),
        now=_text(record["now"]),
        sha256=_text(record["sha256"]),
        size=int(record["size"]),
        mtime_ns=int(record["mtime_ns"]),
        why=tuple(_text(why) for why in record["why"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(value)
    os.fsencode(value)  # an impossible file name raises UnicodeEncodeError, a ValueError
    return value


def conflict(entry: Entry, root: str) -> str:
    """Return why the paths of an entry are not safe to follow, or ''.

    A file is moved from ``files/X`` to ``root/X`` and nowhere else: an entry in which the two
    differ, or that leaves either folder, was edited.
    """
    original = Path(entry.original)
    plain = os.path.normpath(entry.original) == entry.original and original.is_absolute()
    if not plain or original == Path(root) or not original.is_relative_to(root):
        return f"the manifest was edited: {escaped(original)} is not inside {escaped(root)}"
    if entry.now != f"{FILES}/{original.relative_to(root)}":
        return f"the manifest was edited: {escaped(entry.now)} is not its place in the quarantine"
    return ""
