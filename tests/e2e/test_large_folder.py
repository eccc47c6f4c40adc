"""A folder with very many entries is listed lazily, read once, and reported in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

NUMBER = 50_000
MEASURED = """
import json, sys
from pathlib import Path
from ilk.checking.findings import files
from ilk.checking.findings.evidence import Evidence
from ilk.data.inspection.inspect import inspect
from ilk.data.sources import open_catalog

inspection = inspect(open_catalog(sys.argv[1]))
counts = {}
for finding in files.find(Evidence(inspection)):
    counts[finding.kind] = counts.get(finding.kind, 0) + 1
# Not ru_maxrss, which starts at what the process that starts this one holds.
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0])
print(json.dumps({"good": len(inspection.catalog), "counts": counts, "peak_mb": peak / 1e3}))
"""


@pytest.fixture
def many(tmp_path, tiny):
    """A class with very many entries: most are names of one empty file."""
    tiny.folder(tmp_path / "data", 10)
    place = next(p for p in sorted((tmp_path / "data").iterdir()) if p.is_dir())
    (tmp_path / "empty").touch()
    for i in range(NUMBER):
        os.link(tmp_path / "empty", place / f"{i:06d}.jpg")
    return tmp_path / "data"


def test_very_many_entries(many, environment):
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, many],
        check=True,
        env=environment,
        capture_output=True,
        timeout=120,
    )
    told = json.loads(done.stdout)
    assert (told["good"], told["counts"]) == (20, {"file.empty": NUMBER})
    assert told["peak_mb"] < 400
