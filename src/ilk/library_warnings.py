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


class _Router:
    """Stands in for `warnings.showwarning` while any thread is within `quiet_libraries`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active = 0
        self._before: Any = warnings.showwarning
        self._routed: Any = self._show  # one object, to be known again

    def enter(self) -> None:
        with self._lock:
            self._active += 1
            if self._active == 1:
                self._before = warnings.showwarning
                warnings.showwarning = self._routed

    def leave(self) -> None:
        with self._lock:
            self._active -= 1
            if self._active == 0 and warnings.showwarning is self._routed:
                warnings.showwarning = self._before

    def _show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if _is_library(filename):
            log.debug("%s: %s (%s:%d)", category.__name__, message, filename, lineno)
        else:
            self._before(message, category, filename, lineno, file, line)


_router = _Router()


def _is_library(filename: str) -> bool:
    """Return whether a file belongs to ilk, to an installed package or to Python itself."""
    if filename.startswith(("<frozen", OURS, STANDARD)):
        return True
    return not INSTALLED.isdisjoint(Path(filename).parts)
