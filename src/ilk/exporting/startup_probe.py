"""Startup probe: load a model in a fresh process and run it once.

Run as ``python -m ilk.exporting.startup_probe MODEL OPTIONS``, with the options as JSON. Prints as
JSON the time of the first prediction, and the peak memory until then in bytes (null where the
system does not report it).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from ilk.inference.classifier import load

STATUS = Path("/proc/self/status")


def main() -> None:
    """Load the model, run one picture, and print time and peak memory."""
    model = load(sys.argv[1], **json.loads(sys.argv[2]))
    side = model.spec.preprocess.imgsz
    model.engine.run(np.zeros((1, side, side, 3), np.uint8))
    finished = time.time()
    print(json.dumps([finished, peak_memory()]))  # noqa: T201 -- the parent reads it


def peak_memory() -> int | None:
    """Return the peak memory of this process in bytes; None on systems that do not report it."""
    try:
        # First: on Linux, ru_maxrss includes the parent's memory from before this process started.
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # bytes on macOS, else kilobytes


if __name__ == "__main__":
    main()
