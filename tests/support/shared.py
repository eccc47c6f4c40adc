"""What many tests need and none may change: made once for a state of the source, then kept.

It lies beside what ``make setup`` fetched, so that the processes of one run, and the next run, find
it. A changed line of ``src`` makes it anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
HOME = Path(os.environ.get("ILK_TEST_CACHE") or Path(sys.prefix) / "cache" / "tests")
KEPT_SECONDS = 24 * 3600.0  # for other states of the source, such as those of other branches


@cache
def _key() -> str:
    """Digest the source, the versions it runs with, and what makes the shared things."""
    digest = hashlib.sha256(sys.version.encode())
    files = [ROOT / "constraints.txt", Path(__file__)]
    files += sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "src").rglob("*.yaml"))
    files += sorted((ROOT / "tests").rglob("conftest.py"))
    for file in files:
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of a name, which ``make`` fills if no process has done so before.

    Parameters
    ----------
    name : str
        Of the folder.
    make : callable
        Takes the folder, which is empty.
    """
    place = HOME / _key()
    place.mkdir(parents=True, exist_ok=True)
    os.utime(place)
    folder, complete = place / name, place / f"{name}.complete"
    with FileLock(place / f"{name}.lock"):
        if not complete.exists():
            _forget_others(place)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder


def _forget_others(place: Path) -> None:
    for other in HOME.iterdir():
        if other != place and time.time() - other.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
