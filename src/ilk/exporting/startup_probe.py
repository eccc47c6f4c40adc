"""Weigh: load a model and run it once, in a process of its own, to see what that takes.

Run as ``python -m ilk.exporting.startup_probe MODEL OPTIONS``, the latter as JSON;
prints as JSON the time of the first answer, and the most memory used until then, in bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from ilk.inference.loading import load


def main() -> None:
    """Do it."""
    model = load(sys.argv[1], **json.loads(sys.argv[2]))
    side = model.spec.preprocess.imgsz
    model.engine.run(np.zeros((1, side, side, 3), np.uint8))
    answered = time.time()
    print(json.dumps([answered, _peak()]))  # noqa: T201 -- the parent reads it


def _peak() -> int:
    """Return the most memory that this process has used, in bytes."""
    try:  # Linux counts what the parent had used before it started this process into ru_maxrss
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
