"""Library warnings: those of other libraries do not reach users, who can do nothing about them."""

from __future__ import annotations

import logging
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

log = logging.getLogger("ilk")
OURS = str(Path(__file__).parent)  # where a library's warning ends up that names its caller
STANDARD = sysconfig.get_paths()["stdlib"]
INSTALLED = {"site-packages", "dist-packages"}


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Log the warnings of libraries at level DEBUG instead of showing them; also as a decorator.

    Filters stay as they are: what they turn into errors is raised. Warnings from files outside of
    the installed packages, such as the caller's own, are shown as before.
    """
    _router.enter()
    try:
        yield
    finally:
        _router.leave()


class _Route:
    """Stands in for `warnings.showwarning` while any thread is within `quiet_libraries`.

    Each has what was there before it, which never changes. So however late a caller puts one back,
    they cannot lead to each other in a circle.
    """

    def __init__(self, before: Any) -> None:
        self.before: Any = before.before if isinstance(before, _Route) else before

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if _router.active and _is_library(filename):
            log.debug("%s: %s (%s:%d)", category.__name__, message, filename, lineno)
        else:
            self.before(message, category, filename, lineno, file, line)


class _Router:
    """Puts a route in place when the first thread enters, and takes it away after the last."""

    def __init__(self) -> None:
        self.active = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.active += 1
            if self.active == 1:
                warnings.showwarning = _Route(warnings.showwarning)

    def leave(self) -> None:
        with self._lock:
            self.active -= 1
            if self.active == 0 and isinstance(warnings.showwarning, _Route):
                warnings.showwarning = warnings.showwarning.before


_router = _Router()


def _is_library(filename: str) -> bool:
    """Return whether a file belongs to ilk, to an installed package or to Python itself."""
    if filename.startswith(("<frozen", OURS, STANDARD)):
        return True
    return not INSTALLED.isdisjoint(Path(filename).parts)
