"""Claim: ``ilk serve`` gets over whatever clients, files and its own threads do to it.

The tests of tests/e2e/test_serve.py in their long form: 10,000 hostile bodies, and 50 rolling
restarts under load. Every test is named, with what it did and how long it took.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from common import headline, scratch

ROOT = Path(__file__).parents[1]


def main() -> None:
    headline("Faults that a service gets over", "fastapi", "uvicorn")
    with scratch() as folder:
        file = folder / "results.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/e2e/test_serve.py", f"--junitxml={file}"],
            cwd=ROOT, env=os.environ | {"ILK_TEST_SLOW": "1"}, check=False,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        cases = ElementTree.parse(file).getroot().findall(".//testcase")
    print("| what happened | seconds | counted | outcome |\n|---|---|---|---|")
    for case in cases:
        name = case.get("name").removeprefix("test_").replace("_", " ")
        counted = ", ".join(
            f"{p.get('value')} {p.get('name')}" for p in case.findall("properties/property")
        )
        bad = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
        outcome = f"**{bad[0]}**" if bad else "passed"
        print(f"| {name} | {float(case.get('time')):.1f} | {counted} | {outcome} |")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
