from __future__ import annotations

import os

import pytest

from ilk.checking.findings.records import Finding


def _finding(kind, *paths, severity="warning", detail="what is wrong", action="Do this."):
    return Finding(kind, severity, tuple(map(str, paths)), detail, action)


@pytest.fixture
def finding():
    """Return ``finding(kind, *paths, severity, detail, action)``."""
    return _finding


@pytest.fixture
def tree():
    """Return ``tree(folder)``: all that lies in a folder, with its content, time and rights."""

    def look(folder):
        found = {}
        for path in folder.rglob("*"):
            name, status = os.fsencode(path.relative_to(folder)), path.lstat()
            if path.is_symlink():
                found[name] = path.readlink()
            elif path.is_file():
                found[name] = (path.read_bytes(), status.st_mtime_ns, status.st_mode)
        return found

    return look
