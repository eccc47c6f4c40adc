"""Niceness: threads that compute let the one that talks to clients go first.

Under load every core is busy. Were all threads equal, that one would get too small a share of them:
answers that are ready, and refusals, would wait.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
NICENESS = 5  # as in nice(1): a third of what others get of a core that all want
NICEST = 19


def be_nice() -> None:
    """Let this thread, and those that it starts, go after others; on Linux only."""
    if sys.platform != "linux":
        return
    with suppress(OSError):  # a sandbox may forbid it
        usual = os.getpriority(os.PRIO_PROCESS, os.getpid())  # the main thread's
        mine = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, mine, min(usual + NICENESS, NICEST))


def nicely(work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Run ``work`` in a thread that is nice, and return what comes of it."""
    with ThreadPoolExecutor(1, initializer=be_nice) as helper:
        return helper.submit(work, *args, **options).result()
