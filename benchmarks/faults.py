"""Claim: ``ilk serve`` gets over whatever clients, files and its own threads do to it.

The tests of tests/e2e/test_serve.py in their long form: 10,000 hostile bodies, and 50 rolling
restarts under load. Every test is named, with what it did and how long it took.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from common import headline, scratch

FAULTS = ("failure", "error", "skipped")
ROOT = Path(__file__).parents[1]


def main() -> None:
    headline("Faults that a service gets over", "fastapi", "uvicorn")
    with scratch() as folder:
        file = folder / "results.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "tests/e2e/test_serve.py", f"--junitxml={file}",
             "-o", "junit_family=xunit1"],
            cwd=ROOT, env=os.environ | {"ILK_TEST_SLOW": "1"}, check=False,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        cases = ElementTree.parse(file).getroot().findall(".//testcase")
    print("| what happened | cases | seconds | counted | outcome |\n|---|---|---|---|---|")
    for name, group in groupby(cases, lambda case: case.get("name").partition("[")[0]):
        own = list(group)
        seconds = sum(float(case.get("time")) for case in own)
        counted = ", ".join(
            f"{p.get('value')} {p.get('name')}"
            for case in own
            for p in case.findall("properties/property")
        )
        bad = sum(case.find(kind) is not None for case in own for kind in FAULTS)
        outcome = f"**{bad} failed**" if bad else "passed"
        told = name.removeprefix("test_").replace("_", " ")
        print(f"| {told} | {len(own)} | {seconds:.1f} | {counted} | {outcome} |")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
