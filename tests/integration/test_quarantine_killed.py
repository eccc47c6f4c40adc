"""A quarantine that is killed, and its undoing that is killed: every file is still there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ilk.checking.quarantine.undo import undo_quarantine as undo

FILES = 1500
AWAY = """
import sys
from pathlib import Path
from ilk.checking.quarantine.plan import chosen_files
from ilk.checking.quarantine.move import move_files
from ilk.checking.findings.records import Finding
root, folder = map(Path, sys.argv[1:])
paths = tuple(str(p) for p in sorted(root.rglob("*.png")))
move_files(chosen_files([Finding("outlier", "info", paths, "", "")]), folder)
"""
BACK = """
import sys
from pathlib import Path
from ilk.checking.quarantine.undo import undo_quarantine as undo
undo(Path(sys.argv[2]) / "manifest.json")
"""


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def killed(script, root, away, begun):
    """Run a script and kill it as soon as it has begun to move; return whether it was killed."""
    process = subprocess.Popen([sys.executable, "-c", script, root, away])
    while process.poll() is None and not begun():
        time.sleep(0.0005)
    process.kill()
    return process.wait() != 0


@pytest.mark.parametrize("elsewhere", [False, True])
def test_killed_on_the_way_there_and_on_the_way_back(tmp_path, elsewhere):
    root = tmp_path / "data"
    for i in range(FILES):
        (root / str(i % 7)).mkdir(parents=True, exist_ok=True)
        (root / str(i % 7) / f"{i}.png").write_bytes(os.urandom(200))
    before = contents(root)
    folder = tmp_path
    if elsewhere:
        shm = Path("/dev/shm")
        if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no second file system here")
        folder = shm / f"ilk-test-{os.getpid()}"
    away = folder / "away"
    try:
        last = root / "0" / "1400.png"  # moved early: '0' is the first folder
        assert killed(AWAY, root, away, lambda: not last.exists())
        left = sum(1 for _ in root.rglob("*.png"))
        assert 0 < left < FILES
        killed(BACK, root, away, last.exists)
        assert undo(away / "manifest.json").failed == {}
        assert contents(root) == before
    finally:
        if elsewhere:
            subprocess.run(["rm", "-r", str(folder)], check=True)
