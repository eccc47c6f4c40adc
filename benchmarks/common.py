"""What the benchmarks share: the machine, cold processes, and how spread is told."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ilk.runtime import processor, versions


@dataclass(frozen=True)
class Finished:
    """A finished process: wall time in seconds, peak memory in GB, and what it printed."""

    seconds: float
    peak_gb: float
    stdout: str


def arguments(description: str, **defaults: int) -> argparse.Namespace:
    """Parse ``--data`` and the numbers that a benchmark can be given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("ILK_TEST_DATA"),
        required="ILK_TEST_DATA" not in os.environ,
        help="folder that holds cats_dogs, ants_bees and cifar10 (or set ILK_TEST_DATA)",
    )
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parsed = parser.parse_args()
    parsed.data = parsed.data.resolve()
    return parsed


def headline(title: str, *packages: str) -> None:
    """Print what ran, where, and with which versions, of ``packages`` too."""
    print(f"### {title}\n")
    print(f"`python {' '.join(['benchmarks/' + Path(sys.argv[0]).name, *_shown_arguments()])}`\n")
    found = ", ".join(f"{package} {version}" for package, version in versions(*packages).items())
    print(f"Machine: {processor()}, {memory()}. Versions: {found}.")
    print()


def _shown_arguments() -> list[str]:
    """Return the arguments less what is about this machine: where the data and programs lie."""
    kept = sys.argv[1:]
    for flag in ("--data", "--cleanvision"):
        if flag in kept:
            at = kept.index(flag)
            kept = kept[:at] + kept[at + 2 :]
    return kept


def memory() -> str:
    """Return how much memory the machine has."""
    return f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"


def run_process(command: Sequence[str], cache: Path | None = None) -> Finished:
    """Run a command in a process of its own and measure it.

    The peak is the largest sum of resident memory over the process and its descendants, read every
    50 ms; pages that they share are counted once for each.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if cache is not None:
        environment["ILK_CACHE"] = str(cache)
    began, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, env=environment)
        while True:
            try:
                code = process.wait(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                peak = max(peak, _resident(process.pid))
        seconds = time.perf_counter() - began
        out.seek(0)
        stdout = out.read()
    if code:
        raise SystemExit(f"{' '.join(command)} failed with exit code {code}")
    return Finished(seconds, peak / 1e9, stdout)


def _resident(pid: int) -> int:
    """Return the resident bytes of a process and its descendants."""
    process = Path(f"/proc/{pid}")
    try:
        pages = int((process / "statm").read_text().split()[1])
        children = [c for task in process.glob("task/*/children") for c in task.read_text().split()]
    except OSError:  # it has just ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(_resident(int(child)) for child in children)


def ilk(*words: str, cache: Path | None = None) -> Finished:
    """Run an ilk command in a cold process."""
    return run_process([sys.executable, "-m", "ilk", *words], cache)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ilk-bench-") as folder:
        yield Path(folder)


def spread(values: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """Tell the median, the range and the number of values."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return (
        f"median {middle:.{digits}f}{unit} "
        f"(range {low:.{digits}f} to {high:.{digits}f}, n = {len(values)})"
    )
